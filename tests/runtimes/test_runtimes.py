"""Exported networks compute what PyTorch computes, at any size; exports are whole, checked, kept and replaced."""

from __future__ import annotations

import copy
import json
import shutil
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from lpnsr import Upscaler, networks
from lpnsr.apps.cli import app
from lpnsr.checkpoints import convert_released, load_folder, read_spec, save_folder
from lpnsr.errors import CheckpointError, ConfigError, LpnsrError, MissingExtraError, OutputError
from lpnsr.imaging import read
from lpnsr.networks.layers.padding import pad_to_size
from lpnsr.runtimes import calls, export, loading
from lpnsr.runtimes.manifest import model_digest, read_manifest, write_manifest
from lpnsr.runtimes.sessions import open_session
from lpnsr.upscaling.memory import bytes_per_pixel
from support.released import write_released
from support.tiny_model import GUIDED, tiny_upscaler

pytest.importorskip("onnx")
SIZES = [(1, 1, 1), (1, 7, 13), (3, 2, 65), (1, 64, 65)]  # batch, height, width of latents


@pytest.fixture(params=["onnx", "openvino"], scope="module")
def runtime(request):
    pytest.importorskip({"onnx": "onnxruntime"}.get(request.param, request.param))
    return request.param


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The folder of a model with the networks of ``lite``."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_upscaler().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def paper(tmp_path_factory):
    """The folder of a model with the networks of the paper, SwinIR among them."""
    pytest.importorskip("spandrel")
    folder = tmp_path_factory.mktemp("released")
    convert_released(write_released(folder), folder / "model", name="paper-tiny")
    return folder / "model"


@pytest.fixture(scope="module")
def guided(tmp_path_factory):
    """The folder of a model whose chain is guided by the features and the residual of its pre-upsampler."""
    folder = tmp_path_factory.mktemp("models") / "guided"
    chain = {
        name: GUIDED[name] | {"cond_channels": 18, "feature_channels": 11} for name in ("denoiser", "noise_predictor")
    }
    upsampler = GUIDED["upsampler"] | {"padding": "replicate", "residual_features": True}
    tiny_upscaler(networks=GUIDED | chain | {"upsampler": upsampler}).save_pretrained(folder)
    return folder


@pytest.fixture(params=["tiny", "guided", "paper"], scope="module")
def model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """model folder, runtime -> its export, made once."""

    @cache
    def made(model, runtime):
        folder = tmp_path_factory.mktemp("exported") / "graphs"
        if model.parent.name.startswith("released") and runtime == "openvino":  # large: it reads the other's graphs
            shutil.copytree(made(model, "onnx"), folder)
            write_manifest(folder, read_manifest(folder).model_copy(update={"runtime": runtime}))
        else:
            export.export_model(model, folder, runtime)
        return folder

    return made


class FakeRuntime:
    """onnxruntime and openvino with the devices ``found``; notes where a graph is put, and cannot compute."""

    __name__ = "fake"

    def __init__(self, found):
        self.found, self.used = found, None
        self.Core = self.SessionOptions = lambda: self
        self.available_devices = found

    def get_available_providers(self):
        return self.found

    def add_session_config_entry(self, *_):
        pass

    def InferenceSession(self, path, options, providers):  # noqa: N802 (its name there)
        self.used = providers
        return SimpleNamespace(get_inputs=list)

    def read_model(self, path):
        return path

    def compile_model(self, model, device, settings):
        self.used = [device, "INFERENCE_NUM_THREADS" in settings]


ONNX, VINO = ["CoreMLExecutionProvider", "DmlExecutionProvider", "CPUExecutionProvider"], ["CPU", "GPU.0", "GPU.1"]


@pytest.mark.parametrize(
    ("runtime", "device", "used"),
    [
        ("onnx", "auto", ["CPUExecutionProvider"]),
        ("onnx", "coreml", ["CoreMLExecutionProvider"]),
        ("onnx", "directml", ["DmlExecutionProvider"]),
        ("openvino", "cpu", ["CPU", True]),
        ("openvino", "gpu", ["GPU", False]),
    ],
)
def test_graphs_are_put_on_the_device(monkeypatch, runtime, device, used):
    fake = FakeRuntime(ONNX if runtime == "onnx" else VINO)
    monkeypatch.setitem(sys.modules, {"onnx": "onnxruntime", "openvino": "openvino"}[runtime], fake)
    place, *rest = loading.placed(runtime, device, "auto")
    assert rest == ["cpu", "float32"]
    open_session(runtime, Path("graph"), place)
    assert fake.used == used


@pytest.mark.parametrize(
    ("runtime", "device", "words"),
    [
        ("onnx", "npu", "with the runtime onnx choose auto, cpu, cuda, directml, coreml"),
        ("onnx", "cuda", "this build of onnxruntime has cpu, directml, coreml"),
        ("openvino", "npu", "OpenVINO finds cpu, gpu"),
    ],
)
def test_a_device_of_a_runtime_that_is_not_there(monkeypatch, runtime, device, words):
    fake = FakeRuntime(ONNX if runtime == "onnx" else VINO)
    monkeypatch.setitem(sys.modules, {"onnx": "onnxruntime", "openvino": "openvino"}[runtime], fake)
    with pytest.raises(ConfigError, match=words):
        loading.placed(runtime, device, "auto")


@pytest.fixture
def exported(graphs, model, runtime):
    """The export of ``model`` for ``runtime``."""
    return graphs(model, runtime)


def picture(height, width):
    return np.random.default_rng(height).random((height, width, 3), dtype=np.float32)


@torch.no_grad()
def test_every_call_agrees_with_pytorch_at_odd_sizes(model, exported, runtime):
    _, parts = loading.load(exported, runtime)
    originals = load_folder(model).parts
    for name, net in originals.items():
        assert isinstance(parts[name], loading.ExportedPart)
        for call in calls.calls_of(name, net, runtime):
            for seed, shape in enumerate(SIZES, 50):
                inputs = calls.example(net, call, originals["autoencoder"].latent_channels, shape, seed)
                exactly = [x.double() if x.is_floating_point() else x for x in inputs]
                runs = ((parts[name], inputs), (net, inputs), (copy.deepcopy(net).double(), exactly))
                results = [getattr(each, call.method)(*given) for each, given in runs]
                for one, other, exact in zip(*(x if isinstance(x, tuple) else (x,) for x in results), strict=True):
                    assert one.shape == other.shape
                    rounding = (other - exact).abs().max()  # large at one pixel, where norms divide by next to nothing
                    allowed = 1e-4 * exact.square().mean().sqrt() + 4 * rounding
                    assert (one - other).abs().max() <= allowed, (name, call, shape)


@pytest.mark.parametrize("kind", ["tiny", "guided"])
def test_images_agree_with_pytorch(kind, request, graphs, runtime):
    folder = request.getfixturevalue(kind)
    one, other = Upscaler.from_pretrained(folder, device="cpu"), Upscaler.from_pretrained(graphs(folder, runtime))
    for size, options in [
        ((1, 1), {}),
        ((7, 13), {"steps": 1, "noise": "mode", "fidelity": 0.8}),
        ((64, 65), {"steps": 3, "noise": "gaussian", "seed": 5, "start": "bicubic"}),
        ((12, 9), {"steps": 0, "fidelity": 1.0}),
        ((50, 70), {"tile": 32, "steps": 2, "fidelity": 0.0}),
        ((128, 192), {}),
    ]:
        found, expected = other(picture(*size), **options), one(picture(*size), **options)
        assert found.shape == (4 * size[0], 4 * size[1], 3)
        assert np.abs(found - expected).max() < 1e-4
        assert np.array_equal(other(picture(*size), **options), found)


def test_memory_is_planned_as_with_pytorch(model, graphs):
    pytest.importorskip("onnxruntime")
    one, other = (Upscaler.from_pretrained(folder, device="cpu") for folder in (model, graphs(model, "onnx")))
    assert bytes_per_pixel(other.restorer) == bytes_per_pixel(one.restorer)


def test_beyond_the_tolerance_nothing_is_exported(tiny, runtime, tmp_path):
    with pytest.raises(CheckpointError, match=r"autoencoder.encode is off by .* and 0.0e\+00 is allowed"):
        export.export_model(tiny, tmp_path / "graphs", runtime, tolerance=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["mask", "pad"])
def test_a_wrong_graph_is_found(tiny, tmp_path, monkeypatch, fault):
    pytest.importorskip("onnxruntime")
    if fault == "mask":  # of the traced size, at every size
        fixed = networks.layers.swin.window_mask(8, 8, 8, "full")
        monkeypatch.setattr(networks.layers.swin, "window_mask", lambda *arguments: fixed)
    else:

        def zeros(x, height, width):
            return nn.functional.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))

        monkeypatch.setattr(networks.layers.padding, "_looked_up", zeros)
    with pytest.raises((LpnsrError, RuntimeError)):
        export.export_model(tiny, tmp_path / "graphs")
    assert list(tmp_path.iterdir()) == []


def test_a_traced_pad_is_the_same_pad():
    for height, width, target in [(1, 1, 8), (3, 5, 8), (7, 8, 16), (2, 3, 16), (8, 8, 8)]:
        x = torch.rand(1, 2, height, width)
        traced = torch.jit.trace(lambda y, target=target: pad_to_size(y, target, target), x, check_trace=False)
        assert torch.equal(traced(x), pad_to_size(x, target, target))


def with_upsampler(folder, tiny, upsampler):
    """A model folder with ``upsampler``, and without a predictor."""
    parts = load_folder(tiny).parts
    chosen = {"autoencoder": parts["autoencoder"], "denoiser": parts["denoiser"], "upsampler": upsampler}
    save_folder(folder, read_spec(tiny).model_copy(update={"parts": {name: name for name in chosen}}), chosen)
    return folder


def test_a_foreign_network_that_cannot_be_exported_stays(tiny, paper, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")

    def refuse(*_arguments):
        raise ConfigError("only squares")

    upsampler = load_folder(paper).parts["upsampler"]
    model = with_upsampler(tmp_path / "model", tiny, upsampler)
    said = []
    with monkeypatch.context() as patched:
        patched.setattr(networks.SpandrelUpsampler, "_padded", refuse)
        manifest = export.export_model(model, tmp_path / "graphs", say=said.append)
    assert manifest.kept == {"upsampler": "it cannot be exported: only squares"}
    assert any("stays with PyTorch" in line for line in said)
    x = torch.rand(1, 3, 5, 6)
    assert torch.equal(loading.load(tmp_path / "graphs", "onnx")[1]["upsampler"](x), upsampler(x))


def test_a_model_without_pre_upsampler_and_predictor(tiny, tmp_path):
    pytest.importorskip("onnxruntime")
    model = with_upsampler(tmp_path / "model", tiny, networks.BicubicUpsampler())
    assert export.export_model(model, tmp_path / "graphs").kept == {"upsampler": "it has no weights"}
    one, other = (Upscaler.from_pretrained(tmp_path / name, device="cpu") for name in ("model", "graphs"))
    assert np.abs(one(picture(9, 12)) - other(picture(9, 12))).max() < 1e-4


def test_the_first_use_exports_and_later_ones_find_it(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(export, "_CHECKED", ((1, 4, 4),))
    made = []
    original = export.export_model
    monkeypatch.setattr(export, "export_model", lambda *a, **k: (made.append(a[1]), original(*a, **k)))
    model, kept = tmp_path / "model", {"runtime": "onnx", "cache_dir": tmp_path / "cache"}
    tiny_upscaler().save_pretrained(model)

    def use():
        return Upscaler.from_pretrained(model, **kept)(picture(5, 6))

    first = use()
    assert np.array_equal(use(), first)
    assert len(made) == 1
    graph = made[0] / "denoiser" / "forward.onnx"
    graph.write_bytes(graph.read_bytes()[:-100])
    assert np.array_equal(use(), first)
    assert len(made) == 2
    spec, parts = read_spec(model), load_folder(model).parts
    with torch.no_grad():
        parts["autoencoder"].decoder[-1].to_image.bias += 0.1
    save_folder(model, spec, parts, overwrite=True)
    assert not np.array_equal(use(), first)
    assert len(made) == 3
    assert made[2] != made[0]
    assert loading._is_sound(made[2])
    (made[2] / "export.json").write_text("{}")
    assert not loading._is_sound(made[2])


def test_what_is_refused(tiny, graphs, tmp_path):
    pytest.importorskip("onnxruntime")
    shutil.copytree(graphs(tiny, "onnx"), tmp_path / "graphs")
    load = Upscaler.from_pretrained
    with pytest.raises(ConfigError, match="exported for onnx, not for openvino"):
        load(tmp_path / "graphs", runtime="openvino")
    with pytest.raises(ConfigError, match="exported for onnx, not for torch"):
        load(tmp_path / "graphs", runtime="torch")
    with pytest.raises(ConfigError, match="choose auto, torch, onnx, openvino or ncnn"):
        load(tiny, runtime="tensorrt")
    with pytest.raises(ConfigError, match="computes in float32"):
        load(tiny, runtime="onnx", cache_dir=tmp_path, dtype="bfloat16")
    with pytest.raises(OutputError, match="exists already"):
        export.export_model(tiny, tmp_path / "graphs")
    with pytest.raises(CheckpointError, match="graphs and no weights"):
        load_folder(tmp_path / "graphs")
    with pytest.raises(ConfigError, match="exported model has no weights"):
        load(tmp_path / "graphs").save_pretrained(tmp_path / "saved")
    with pytest.raises(CheckpointError, match="exported already"):
        export.export_model(tmp_path / "graphs", tmp_path / "again")
    with pytest.raises(ConfigError, match="always quantises"):
        loading.load(tmp_path / "graphs", "onnx")[1]["autoencoder"].decode(torch.zeros(1, 4, 2, 2), quantise=False)
    config = (tmp_path / "graphs" / "denoiser" / "config.json").read_text()
    (tmp_path / "graphs" / "autoencoder" / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match="the autoencoder is a swin_unet, which is a network for the denoiser"):
        load(tmp_path / "graphs")
    shutil.copy(tiny / "autoencoder" / "config.json", tmp_path / "graphs" / "autoencoder")
    (tmp_path / "graphs" / "denoiser" / "forward.onnx").write_bytes(b"no graph")
    with pytest.raises(CheckpointError, match=r"forward.onnx is missing or damaged; export the model again"):
        load(tmp_path / "graphs")
    with pytest.raises(CheckpointError, match="cannot be loaded by onnxruntime"):
        open_session("onnx", tmp_path / "graphs" / "denoiser" / "forward.onnx")
    manifest = json.loads((tmp_path / "graphs" / "export.json").read_text())
    manifest["graphs"] = [graph for graph in manifest["graphs"] if graph["part"] != "denoiser"]
    (tmp_path / "graphs" / "export.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="no graph for forward of the denoiser; export the model again"):
        load(tmp_path / "graphs")


@pytest.mark.parametrize(("name", "absent"), [("onnx", "onnxruntime"), ("openvino", "openvino"), ("onnx", "onnx")])
def test_a_missing_extra_is_named(tiny, tmp_path, monkeypatch, name, absent):
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'lpnsr\[{name}\]'"):
        Upscaler.from_pretrained(tiny, runtime=name, cache_dir=tmp_path)


def test_running_out_of_memory_is_known(tiny, graphs):
    pytest.importorskip("onnxruntime")
    session = open_session("onnx", graphs(tiny, "onnx") / "denoiser" / "forward.onnx")
    huge = np.lib.stride_tricks.as_strided(np.zeros(1, np.float32), (1, 4, 1 << 17, 1 << 17), (0,) * 4)
    with pytest.raises(MemoryError):
        session([huge, np.ones(1, np.int64), huge])


def test_from_the_command_line(tiny, runtime, tmp_path, monkeypatch):
    from lpnsr.imaging import Photo, write

    monkeypatch.chdir(tmp_path)
    write(Photo(np.random.default_rng(0).integers(0, 256, (17, 33, 3), dtype=np.uint8)), Path("photo.png"))

    def run(*arguments):
        result = CliRunner().invoke(app, [*map(str, arguments)], prog_name="lpnsr")
        assert result.exit_code == 0, result.output
        return result

    result = run("export", "--model", tiny, "-o", "graphs", "--runtime", runtime, "--json")
    manifest = json.loads(result.stdout)
    assert manifest["digest"] == model_digest(tiny)
    assert read_manifest(Path("graphs")).model_dump(mode="json") == manifest
    assert "denoiser.forward: within " in result.stderr
    run("upscale", "photo.png", "-o", "a.png", "-n", "graphs")
    run("upscale", "photo.png", "-o", "b.png", "-n", tiny)
    a, b = (read(f"{name}.png").pixels.astype(int) for name in "ab")
    assert a.shape == (68, 132, 3)
    assert np.abs(a - b).max() <= 1
