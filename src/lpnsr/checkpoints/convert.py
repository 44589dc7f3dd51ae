"""Released checkpoint files -> a model folder. State-dict names are kept, so converting is unwrapping."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from lpnsr import networks
from lpnsr.checkpoints.card import ABSENT
from lpnsr.checkpoints.fitting import NEEDED
from lpnsr.checkpoints.folder import check_target, save_folder
from lpnsr.checkpoints.foreign import load_upsampler
from lpnsr.checkpoints.infer import IMAGE_CHANNELS, Shapes, infer, trunk_channels, what_is
from lpnsr.checkpoints.registry import APACHE, LICENCE_NOTICE, OFFICIAL, S_LAB, Predictor, require_spandrel
from lpnsr.checkpoints.spec import PARTS, ChainSettings, ModelSpec, PartName, Say, SourceFile, silent
from lpnsr.errors import CheckpointError, LpnsrError, MissingExtraError
from lpnsr.networks.tensors import load_strict, named
from lpnsr.system.hashes import file_sha256
from lpnsr.system.tensor_files import read_state_dict

SUFFIXES = (".pth", ".safetensors", ".pt", ".ckpt")
OPTIONS = {part: "--" + part.replace("_", "-") for part in PARTS}

TRAINING_LEFTOVERS: dict[PartName, tuple[str, ...]] = {
    # The autoencoder was trained with a discriminator and LPIPS inside, and with an averaged copy of itself.
    "autoencoder": ("loss.", "model_ema.")
}
BOOKKEEPING = frozenset({"global_step", "epoch", "iteration", "step"})


def find_released(
    folder: Path | str, predictor: Predictor | None = None, given: Collection[PartName] = ()
) -> dict[PartName, Path]:
    """Return the released files in ``folder``, known by their names (``.pth``, or the same name as ``.safetensors``).

    With both noise predictors there and ``predictor`` None, the paper's is taken. Parts that are ``given`` are
    not looked for. Raises CheckpointError if there is no such folder, or if the autoencoder, the denoiser or
    the predictor asked for is not in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder")
    found: dict[PartName, Path] = {}
    for official in OFFICIAL:
        if official.part in given or (predictor and official.predictor not in (None, predictor)):
            continue
        stem = official.name.removesuffix(".pth")
        paths = [folder / (stem + suffix) for suffix in SUFFIXES if (folder / (stem + suffix)).is_file()]
        if paths and official.part not in found:
            found[official.part] = paths[0]
        needed = official.part in NEEDED or (official.predictor is not None and predictor is not None)
        if needed and not paths:
            raise CheckpointError(f"{folder} has no {official.name}, the released {official.part}")
    return found


def convert_released(
    files: Mapping[PartName, Path],
    output: Path | str,
    *,
    name: str | None = None,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
    say: Say = silent,
) -> ModelSpec:
    """Read released checkpoints of any wrapping and size, and write the model folder ``output``.

    Autoencoder and denoiser are needed. Networks of other sizes than the paper's are recognised by their
    tensors' shapes. Raises CheckpointError naming missing, unexpected and misshapen tensors, and saying so if
    two files are swapped; OutputError if ``output`` cannot be written.
    """
    for part in NEEDED:
        if part not in files:
            raise CheckpointError(
                f"the {part} is needed ({OPTIONS[part]} FILE); given: {', '.join(files) or 'nothing'}"
            )
    # What would fail at the end fails now, before gigabytes are read.
    check_target(Path(output).absolute(), overwrite)
    if "upsampler" in files:
        require_spandrel()
    nets: dict[PartName, nn.Module] = {}
    latent = 0
    for part in PARTS:
        if part not in files:
            say(ABSENT[part])
            continue
        say(f"reading the {part} from {files[part]}")
        nets[part] = read_released(part, files[part], latent, say)
        if part == "autoencoder":
            latent = int(nets[part].latent_channels)  # type: ignore[arg-type]
    spec = _spec(name or Path(output).absolute().name, files)
    return save_folder(output, spec, nets, dtype=dtype, overwrite=overwrite)


def _spec(name: str, files: Mapping[PartName, Path]) -> ModelSpec:
    sources = tuple(
        SourceFile(
            part=part, file=files[part].name, sha256=file_sha256(files[part]), licence=_licence(part, files[part])
        )
        for part in PARTS
        if part in files
    )
    return ModelSpec(
        name=name,
        licence="; ".join(f"{source.part}: {source.licence}" for source in sources),
        description="Converted from released checkpoints; the tensors are unchanged.\n\n" + LICENCE_NOTICE,
        parts={part: part for part in PARTS if part in files},
        chain=ChainSettings(),
        sources=sources,
    )


def _licence(part: PartName, path: Path) -> str:
    """Return the licence of the official file of that name; else that of the part's usual source, if known."""
    if part != "upsampler":
        return S_LAB
    official = any(path.stem == file.name.removesuffix(".pth") for file in OFFICIAL if file.part == part)
    return APACHE if official else "as its publisher says"


def read_released(part: PartName, path: Path, latent_channels: int, say: Say = silent) -> nn.Module:
    """Return the network in a released checkpoint file, in float32, its size inferred. Raises CheckpointError."""
    where = f"the {part} {path}"
    tensors = _without_leftovers(part, read_state_dict(path), say)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    _check_kind(part, shapes, latent_channels, where)
    try:
        if part == "upsampler":
            return load_upsampler(tensors)
        net = networks.build(infer(part, shapes))
    except MissingExtraError:
        raise
    except (LpnsrError, ValueError) as error:  # ValueError: widths that no network can be built of
        raise CheckpointError(f"{where} cannot be converted: {error}") from None
    load_strict(net, tensors, where)
    _check_masks(net, shapes, where)
    return net


def _without_leftovers(part: PartName, tensors: dict[str, Tensor], say: Say) -> dict[str, Tensor]:
    prefixes = TRAINING_LEFTOVERS.get(part, ())
    left = [name for name in tensors if name.startswith(prefixes) or name in BOOKKEEPING]
    if left:
        say(f"{part}: left out {named('tensors that only training needs', left)}")
    return {name: tensor for name, tensor in tensors.items() if name not in left}


def _check_kind(part: PartName, shapes: Shapes, latent: int, where: str) -> None:
    """Raise CheckpointError if the tensors are plainly those of another part: files are easily swapped."""
    kind, channels = what_is(shapes, latent), trunk_channels(shapes)
    if kind == part or (part == "upsampler" and kind is None and channels is None):
        return  # spandrel knows upsamplers of many other layouts
    if kind is not None:
        raise CheckpointError(
            f"{where} holds the {kind}{_channels(part, channels, latent)}. "
            f"Were the files for {OPTIONS[part]} and {OPTIONS[kind]} swapped?"
        )
    if channels and part in ("autoencoder", "upsampler"):
        raise CheckpointError(f"{where} holds a Swin-UNet: a denoiser or a noise predictor. Were files swapped?")
    if channels and part in ("denoiser", "noise_predictor"):
        given = latent if part == "denoiser" else 2 * latent
        raise CheckpointError(
            f"{where} takes {channels[0]} channels and gives {channels[1]}; with this autoencoder's {latent} latent "
            f"channels it has to take {given + IMAGE_CHANNELS} and give {given}"
        )
    raise CheckpointError(f"{where} does not look like one: " + named("tensors", list(shapes)))


def _channels(part: PartName, channels: tuple[int, int] | None, latent: int) -> str:
    if not channels or part not in ("denoiser", "noise_predictor"):
        return ""
    needed = (latent if part == "denoiser" else 2 * latent) + IMAGE_CHANNELS
    return f" (it takes {channels[0]} channels; the {part} takes {needed})"


def _check_masks(net: nn.Module, shapes: Shapes, where: str) -> None:
    """Check where the masks stand: they are not read, but show which windows shift."""
    ours = {name for name in net.state_dict() if name.endswith("attn_mask")}
    theirs = {name for name in shapes if name.endswith("attn_mask")}
    if theirs and ours != theirs:
        raise CheckpointError(
            f"{where} has attention masks in other places than the network of its size: "
            + "; ".join(
                filter(None, [named("missing", sorted(ours - theirs)), named("unexpected", sorted(theirs - ours))])
            )
        )
