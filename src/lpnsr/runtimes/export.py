"""A model folder -> an exported folder: graphs of any size, checked in the runtime.

The graphs are made by the networks' own forward. PyTorch's tracing exporter follows their sizes within a second;
the newer one reasons about them for minutes. ncnn gets its own files, of the parts that it computes faster.
"""

from __future__ import annotations

import secrets
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lpnsr.checkpoints import LoadedModel, PartName, check_parts, load_folder
from lpnsr.checkpoints.folder import CARD, CONFIG, SPEC, WEIGHTS, check_target, put_in_place
from lpnsr.checkpoints.spec import Say, silent
from lpnsr.errors import CheckpointError, ConfigError, LpnsrError, OutputError
from lpnsr.networks import SpandrelUpsampler
from lpnsr.runtimes.calls import Call, Method, calls_of, example, takes_batches
from lpnsr.runtimes.manifest import GraphRecord, Manifest, graph_sha256, is_exported, model_digest, write_manifest
from lpnsr.runtimes.ncnn_files import write_ncnn
from lpnsr.runtimes.sessions import RuntimeName, Session, import_package, open_session, runtime_version
from lpnsr.system.atomic import refusal

OPSET = 17  # the first with layer normalisation
TOLERANCE = 1e-4
_TRACED = (9, 13)
_FOREIGN_TRACED = (21, 29)  # above their smallest sizes and of no multiple: what pads is in the graph
_CHECKED = ((1, 1, 1), (1, 17, 33), (2, 24, 40), (1, 2, 65))  # batch, height and width of latents


def export_model(
    folder: Path,
    target: Path,
    runtime: RuntimeName = "onnx",
    *,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
    say: Say = silent,
) -> Manifest:
    """Export the model in ``folder`` for ``runtime`` into the new folder ``target``, which appears whole or not at all.

    Every graph is compared with PyTorch at odd sizes; ``say`` is told the deviation. A foreign pre-upsampler that
    cannot be exported stays with PyTorch, which ``say`` is told too. Raises CheckpointError beyond ``tolerance``
    (largest deviation, in root mean squares of the output), OutputError, MissingExtraError.
    """
    if runtime != "ncnn":
        import_package("onnx", runtime)  # with which PyTorch writes graphs
    version = runtime_version(runtime)
    target = target.absolute()
    check_target(target, overwrite)
    if is_exported(folder):
        raise CheckpointError(f"{folder} is exported already; give the model that it was made from")
    model, digest = load_folder(folder), model_digest(folder)
    check_parts(model.parts, str(folder))
    work = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work.mkdir()
        shutil.copyfile(folder / SPEC, work / SPEC)
        if (folder / CARD).is_file():
            shutil.copyfile(folder / CARD, work / CARD)
        graphs: list[GraphRecord] = []
        kept: dict[PartName, str] = {}
        for name, place in model.spec.parts.items():
            (work / place).mkdir()
            shutil.copyfile(folder / place / CONFIG, work / place / CONFIG)
            reason = _export_part(model, name, work, runtime, tolerance, graphs, say)
            if reason:
                kept[name] = reason
                shutil.copyfile(folder / place / WEIGHTS, work / place / WEIGHTS)
                say(f"{name}: stays with PyTorch: {reason}")
        if not graphs:
            raise ConfigError(f"{runtime} computes no part of {model.spec.name} faster than PyTorch; use torch")
        manifest = Manifest(
            model=model.spec.name,
            digest=digest,
            torch=str(torch.__version__),
            opset=None if runtime == "ncnn" else OPSET,
            runtime=runtime,
            runtime_version=version,
            tolerance=tolerance,
            graphs=tuple(graphs),
            kept=kept,
        )
        write_manifest(work, manifest)
        put_in_place(work, target)
    except OSError as error:
        if isinstance(error, LpnsrError):
            raise
        raise OutputError(f"the graphs cannot be written to {target}: {refusal(error, target) or error}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return manifest


def _export_part(
    model: LoadedModel,
    name: PartName,
    work: Path,
    runtime: RuntimeName,
    tolerance: float,
    graphs: list[GraphRecord],
    say: Say,
) -> str | None:
    """Write the part's graphs and add their records, or return the reason why it stays with PyTorch."""
    net, place = model.parts[name], model.spec.parts[name]
    autoencoder: Any = model.parts["autoencoder"]
    latent = int(autoencoder.latent_channels)
    if not any(True for _ in net.parameters()):
        return "it has no weights"
    calls, batches = calls_of(name, net, runtime), takes_batches(net, runtime)
    if not calls:
        return "it is faster there"
    for call in calls:
        file = f"{place}/{call.method}.{'param' if runtime == 'ncnn' else 'onnx'}"
        try:
            if runtime == "ncnn":
                write_ncnn(Method(net, call.method), len(call.inputs), work / file)
            else:
                _trace(net, call, latent, work / file, batches)
            error = _deviation(net, call, latent, open_session(runtime, work / file), batches)
        except Exception as failure:
            if not isinstance(net, SpandrelUpsampler):
                raise
            return f"it cannot be exported: {' '.join(str(failure).split())[:200]}"
        if not error <= tolerance:
            if isinstance(net, SpandrelUpsampler):
                return f"{runtime} computes something else from its graph (off by {error:.1e})"
            raise CheckpointError(
                f"{name}.{call.method} is off by {error:.1e} in {runtime}, and {tolerance:.1e} is allowed: nothing was "
                "exported; try another version of the runtime, or a larger --tolerance"
            )
        say(f"{name}.{call.method}: within {error:.1e} of PyTorch")
        graphs.append(
            GraphRecord(
                part=name,
                method=call.method,
                file=file,
                sha256=graph_sha256(work / file),
                inputs=call.inputs,
                outputs=call.outputs,
                batches=batches,
                error=error,
            )
        )
    return None


@torch.no_grad()
def _trace(net: nn.Module, call: Call, latent: int, path: Path, batches: bool) -> None:
    inputs = example(net, call, latent, (2, *_TRACED) if batches else (1, *_FOREIGN_TRACED))
    batch = {0: "batch"} if batches else {}
    shapes = {
        name: batch if value.ndim == 1 else {**batch, 2: "height", 3: "width"}
        for name, value in zip(call.inputs, inputs, strict=True)
    }
    shapes |= {name: {**batch, 2: f"{name}_height", 3: f"{name}_width"} for name in call.outputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sizes are traced is the point; that the exporter is the older one too
        torch.onnx.export(
            Method(net, call.method).eval(),
            inputs,
            str(path),
            input_names=list(call.inputs),
            output_names=list(call.outputs),
            dynamic_axes=shapes,
            opset_version=OPSET,
            dynamo=False,
        )


@torch.no_grad()
def _deviation(net: nn.Module, call: Call, latent: int, session: Session, batches: bool) -> float:
    """Return the largest difference from PyTorch at the checked sizes, in root mean squares of the output."""
    errors: list[float] = []
    for seed, (batch, height, width) in enumerate(_CHECKED):
        inputs = example(net, call, latent, (batch if batches else 1, height, width), seed)
        found = session([value.numpy() for value in inputs])
        errors += map(_relative, map(torch.from_numpy, found), Method(net, call.method)(*inputs))
    return max(errors)


def _relative(found: Tensor, expected: Tensor) -> float:
    if found.shape != expected.shape or not bool(torch.isfinite(found).all()):
        return float("inf")
    scale = expected.square().mean().sqrt().clamp(min=1e-6)
    return float((found - expected).abs().max() / scale)
