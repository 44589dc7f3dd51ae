"""The pre-upsampler in ncnn computes what PyTorch computes; when it is chosen, on which device, and what is refused."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr import Upscaler, runtimes
from lpnsr.checkpoints import load_folder
from lpnsr.errors import CheckpointError, ConfigError, LpnsrWarning, MissingExtraError
from lpnsr.runtimes import choose, loading, placed
from lpnsr.runtimes.export import export_model
from lpnsr.runtimes.manifest import read_manifest
from lpnsr.runtimes.ncnn_files import write_ncnn
from lpnsr.runtimes.sessions import Place, RuntimeName, open_session, vulkan_gpu
from support.tiny_model import GUIDED, tiny_upscaler

VARIANTS = {
    "zeros": {"margin": 2},
    "replicate": {"padding": "replicate", "residual_features": True},
}
SIZES = [(1, 1, 1), (1, 7, 13), (2, 2, 65), (1, 40, 33)]  # batch, height, width


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Two on busy cores wait for each other at every layer, of which there are many and small ones here."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=VARIANTS, scope="module")
def guided(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model whose chain is guided by the features of its pre-upsampler."""
    folder = tmp_path_factory.mktemp("models") / "guided"
    features = 11 if request.param == "replicate" else 8
    chain = {
        name: GUIDED[name] | {"cond_channels": features + 7, "feature_channels": features}
        for name in ("denoiser", "noise_predictor")
    }
    upsampler = GUIDED["upsampler"] | VARIANTS[request.param]
    tiny_upscaler(networks=GUIDED | chain | {"upsampler": upsampler}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def exported(guided: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ncnn")
    folder = tmp_path_factory.mktemp("exported") / "graphs"
    export_model(guided, folder, "ncnn")
    return folder


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).random((height, width, 3), dtype=np.float32)


@pytest.mark.parametrize("band", [1, 40, 1 << 20])
@torch.no_grad()
def test_image_and_features_agree_with_pytorch(
    guided: Path, exported: Path, band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_BAND_PIXELS", band)
    parts, originals = loading.load(exported, "ncnn")[1], load_folder(guided).parts
    assert [name for name, part in parts.items() if isinstance(part, loading.ExportedPart)] == ["upsampler"]
    for shape in SIZES:
        lr = torch.rand(shape[0], 3, *shape[1:], generator=torch.Generator().manual_seed(shape[1]))
        for found, expected in zip(parts["upsampler"].upsample(lr), originals["upsampler"].upsample(lr), strict=True):
            assert found.shape == expected.shape
            assert (found - expected).abs().max() < 1e-4 * expected.square().mean().sqrt()
        assert torch.equal(parts["upsampler"](lr), parts["upsampler"].upsample(lr)[0])


def test_whole_pictures_agree_with_pytorch(guided: Path, exported: Path) -> None:
    one = Upscaler.from_pretrained(guided, device="cpu", dtype="float32", runtime="torch")
    other = Upscaler.from_pretrained(exported, device="cpu", dtype="float32")
    assert (one.runtime, other.runtime) == ("torch", "ncnn")
    for size, options in [((9, 12), {"steps": 0}), ((24, 40), {"tile": 32}), ((31, 33), {"start": "bicubic"})]:
        found, expected = other(picture(*size), **options), one(picture(*size), **options)
        assert np.abs(found - expected).max() < 1e-3


def test_half_precision_stays_close(guided: Path, exported: Path) -> None:
    lr = torch.rand(1, 3, 24, 40)
    with torch.no_grad():
        full = load_folder(guided).parts["upsampler"](lr)
        half = loading.load(exported, "ncnn", place=Place(half=True))[1]["upsampler"](lr)
    assert 0 < (half - full).abs().mean() < 1 / 255


def test_it_is_kept_and_made_anew_when_damaged(guided: Path, tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    kept = loading.cached_export(guided, "ncnn", tmp_path)
    weights = kept / "upsampler" / "enlarge.bin"
    whole = weights.read_bytes()
    assert loading.cached_export(guided, "ncnn", tmp_path) == kept
    weights.write_bytes(whole[:-8])
    with pytest.raises(CheckpointError, match=r"enlarge.param is missing or damaged"):
        read_manifest(kept)
    assert loading.cached_export(guided, "ncnn", tmp_path) == kept
    assert weights.read_bytes() == whole


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    (tmp_path / "net.param").write_text("no layers\n")
    with pytest.raises(CheckpointError, match=r"net.param cannot be loaded by ncnn: .*damaged"):
        open_session("ncnn", tmp_path / "net.param")


class Doubtful(nn.Module):
    def __init__(self, operation: object) -> None:
        super().__init__()
        self.operation = operation

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.operation(x),)


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        (lambda x: torch.exp(x), "no layer for exp"),
        (lambda x: F.conv2d(x, torch.zeros(1, 3, 3, 3), stride=(2, 2)), "stride"),
    ],
)
def test_an_operation_without_a_layer_is_told(operation: object, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        write_ncnn(Doubtful(operation), 1, tmp_path / "net.param")


@torch.no_grad()
def test_every_layer_computes_what_pytorch_does(tmp_path: Path) -> None:
    pytest.importorskip("ncnn")
    weight, bias = torch.randn(8, 3, 3, 3), torch.randn(8)

    def several(x: Tensor) -> Tensor:
        wide = F.conv2d(F.pad(x, (1, 2, 0, 3), mode="replicate"), weight, bias, padding=1)
        raw = F.leaky_relu(wide, 0.1)
        wide = torch.add(F.silu(wide), raw, alpha=0.3)
        joined = torch.cat([wide, raw], 1) if isinstance(x, Tensor) else torch.cat([wide, raw])
        narrow = F.conv2d(joined, torch.linspace(-1, 1, 4 * 16).view(4, 16, 1, 1))
        return F.interpolate(F.pixel_shuffle(narrow, 2), scale_factor=2.0, mode="bilinear")

    write_ncnn(Doubtful(several), 1, tmp_path / "net.param")
    x = torch.rand(1, 3, 9, 14)
    (found,) = open_session("ncnn", tmp_path / "net.param")([x.numpy()])
    assert np.abs(found - several(x).numpy()).max() < 1e-4


def test_a_model_without_such_a_part_is_refused(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ncnn")
    monkeypatch.setattr(loading, "find_spec", lambda name: name == "ncnn")
    with pytest.raises(ConfigError, match="ncnn computes no part of tiny"):
        Upscaler.from_pretrained(tiny_model, runtime="ncnn", device="cpu", cache_dir=tmp_path)
    assert choose(tiny_model, "auto", "cpu", "float32") is None


def test_auto_takes_it_on_the_cpu_in_float32(guided: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(guided, "auto", "cpu", "float32") is None  # where it is not installed
    monkeypatch.setattr(loading, "find_spec", lambda name: name == "ncnn")
    assert choose(guided, "auto", "cpu", "float32") == "ncnn"
    assert choose(guided, "auto", "cpu", "bfloat16") is None
    assert choose(guided, "torch", "cpu", "float32") is None
    monkeypatch.setattr(loading, "pick_device", torch.device)
    assert choose(guided, "auto", "cuda", "float32") is None


def test_auto_stays_on_the_cpu(guided: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was chosen for the CPU, whatever GPU Vulkan finds; who names the runtime gets the GPU."""
    pytest.importorskip("ncnn")
    monkeypatch.setattr(loading, "find_spec", lambda name: name == "ncnn")
    asked: list[str] = []

    def watched(runtime: RuntimeName, device: str, dtype: str) -> tuple[Place, str, str]:
        asked.append(device)
        return placed(runtime, "cpu", dtype)

    monkeypatch.setattr(runtimes, "placed", watched)
    for runtime in ("auto", "ncnn"):
        Upscaler.from_pretrained(guided, runtime=runtime, dtype="float32", cache_dir=tmp_path)
    assert asked == ["cpu", "auto"]


def test_auto_goes_on_without_it(guided: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ncnn")
    monkeypatch.setattr(loading, "find_spec", lambda name: name == "ncnn")
    (tmp_path / "exports").write_text("no folder")
    load = {"device": "cpu", "dtype": "float32", "cache_dir": tmp_path}
    with pytest.warns(LpnsrWarning, match="continuing without ncnn"):
        assert Upscaler.from_pretrained(guided, **load).runtime == "torch"
    with pytest.raises(Exception, match="choose another --cache-dir"):
        Upscaler.from_pretrained(guided, **load, runtime="ncnn")


class Gpus(types.ModuleType):
    """A module ``ncnn`` that finds GPUs of these kinds; 3 is a processor with Vulkan in software."""

    __version__ = "1.0.20990101"

    def __init__(self, *kinds: int) -> None:
        super().__init__("ncnn")
        self.kinds = kinds

    def get_gpu_count(self) -> int:
        return len(self.kinds)

    def get_gpu_info(self, number: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(type=lambda: self.kinds[number])


@pytest.mark.parametrize(
    ("kinds", "device", "expected"),
    [
        ((), "auto", None),
        ((3,), "auto", None),
        ((3, 1, 0), "auto", 1),
        ((3, 1, 0), "cpu", None),
        ((3,), "vulkan", 0),
        ((1, 0), "vulkan:1", 1),
    ],
)
def test_the_gpu(kinds: tuple[int, ...], device: str, expected: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", Gpus(*kinds))
    assert vulkan_gpu(device) == expected
    place, where, dtype = placed("ncnn", device, "float32")
    assert (place, where, dtype) == (Place(expected, half=False), "cpu", "float32")
    assert placed("ncnn", device, "bfloat16")[0].half


def test_gpus_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", Gpus(0))
    with pytest.raises(ConfigError, match="'vulkan:1': Vulkan finds this many GPUs here: 1; install a driver"):
        placed("ncnn", "vulkan:1", "auto")
    with pytest.raises(ConfigError, match="'cuda': with the runtime ncnn choose auto, cpu, vulkan"):
        placed("ncnn", "cuda", "auto")
    with pytest.raises(ConfigError, match="with the runtime onnx choose auto, cpu"):
        placed("onnx", "vulkan", "auto")


class FailingNet:
    """A network on a GPU that stops with -100."""

    def __init__(self) -> None:
        self.opt = types.SimpleNamespace(use_vulkan_compute=False)
        self.device: int | None = None
        made.append(self)

    def set_vulkan_device(self, number: int) -> None:
        self.device = number

    def load_param(self, path: str) -> int:
        return 0

    load_model = load_param

    def input_names(self) -> list[str]:
        return ["0"]

    output_names = input_names

    def create_extractor(self) -> types.SimpleNamespace:
        def nothing(*_: object) -> None:
            return None

        calls = dict.fromkeys(("set_blob_allocator", "set_workspace_allocator", "input", "clear"), nothing)
        return types.SimpleNamespace(extract=lambda name: (-100, None), **calls)


made: list[FailingNet] = []


def test_what_a_gpu_does_not_finish_is_lack_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = Gpus(3, 0)
    module.Net = FailingNet
    module.Mat = lambda array: types.SimpleNamespace(clone=array.copy)
    module.PoolAllocator = module.UnlockedPoolAllocator = lambda: types.SimpleNamespace(
        set_size_compare_ratio=lambda ratio: None
    )
    monkeypatch.setitem(sys.modules, "ncnn", module)
    graph = open_session("ncnn", tmp_path / "net.param", Place(gpu=1, half=True))
    assert (made[-1].device, made[-1].opt.use_vulkan_compute, made[-1].opt.use_fp16_storage) == (1, True, True)
    assert not made[-1].opt.use_bf16_storage
    with pytest.raises(MemoryError, match="-100"):
        graph([np.zeros((1, 3, 4, 4), np.float32)])


def test_a_missing_extra_is_named(guided: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lpnsr\[ncnn\]'"):
        Upscaler.from_pretrained(guided, runtime="ncnn", device="cpu", cache_dir=tmp_path)


def test_the_manifest_says_what_stays(exported: Path) -> None:
    manifest = json.loads((exported / "export.json").read_text())
    assert [graph["method"] for graph in manifest["graphs"]] == ["extract", "enlarge"]
    assert sorted(manifest["kept"]) == ["autoencoder", "denoiser", "noise_predictor"]
