"""The networks and the whole chain compute what the released ones were recorded to compute."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lpnsr.diffusion import Schedule
from lpnsr.networks import build
from lpnsr.networks.layers.swin import relative_position_index, window_mask
from lpnsr.networks.layers.winograd import available, use_winograd
from lpnsr.networks.spandrel_upsampler import SpandrelUpsampler
from lpnsr.upscaling.restorer import NoiseKind, Restorer
from support.weights import fill_like, load_filled, normal

TRUNK = {"tiny": {"model_channels": 32, "swin_embed_dim": 64}, "full": {}}
AUTOENCODER = {"tiny": {"width": 32, "codebook_size": 128}, "full": {}}
CASES = [
    "tiny-a",
    "tiny-b",
    pytest.param("full-a", marks=[pytest.mark.shared, pytest.mark.slow]),
]


@dataclass
class Reference:
    """One recorded case: its tensors, and the networks of its size, made on first use."""

    name: str
    golden: dict[str, Tensor]
    part: Callable[[str], nn.Module]


@pytest.fixture(scope="session")
def make_part(data: Path) -> Callable[[str, str], nn.Module]:
    made: dict[tuple[str, str], nn.Module] = {}

    def make(size: str, component: str) -> nn.Module:
        shapes = json.loads((data / f"manifest_{size}.json").read_text())["tensors"][component]
        if component == "swinir":
            return swinir(shapes)
        kinds = {"unet": "swin_unet", "noise_predictor": "noise_predictor", "autoencoder": "vq_autoencoder"}
        options = AUTOENCODER if component == "autoencoder" else TRUNK
        return load_filled(build({"type": kinds[component], **options[size]}), component, shapes)

    def part(size: str, component: str) -> nn.Module:
        if (size, component) not in made:
            made[size, component] = make(size, component)
            use_winograd(made[size, component])
        return made[size, component]

    return part


def swinir(shapes: dict[str, list[int]]) -> nn.Module:
    """The released pre-upsampler with the rule's weights, by way of spandrel."""
    pytest.importorskip("spandrel")
    buffers = {
        name: relative_position_index(8) if name.endswith("index") else window_mask(64, 64, 8, "full")
        for name in shapes
        if name.endswith(("relative_position_index", "attn_mask"))
    }
    net = SpandrelUpsampler.from_state_dict({**fill_like("swinir", shapes), **buffers}).eval()
    assert list(net.state_dict()) == list(shapes)
    return net


@pytest.fixture(params=CASES)
def reference(request: pytest.FixtureRequest, data: Path, make_part: Callable[..., nn.Module]) -> Reference:
    size, case = request.param.split("-")
    folder = data if size == "tiny" else request.getfixturevalue("shared") / "reference"
    golden = load_file(folder / f"golden_{size}_{case}.safetensors")
    floats = {name: tensor.float() for name, tensor in golden.items()}
    return Reference(f"{size}-{case}", floats, lambda component: make_part(size, component))


@pytest.fixture(autouse=True, params=["direct", "winograd"])
def _convolutions(request: pytest.FixtureRequest) -> Iterator[None]:
    """The two ways that 3x3 convolutions are computed in; the faster one under inference mode only."""
    if request.param == "winograd" and not available():
        pytest.skip("needs NNPACK in PyTorch, and an x86 processor")
    with torch.no_grad() if request.param == "direct" else torch.inference_mode():
        yield


def deviation(found: Tensor, expected: Tensor) -> float:
    """Largest difference, in standard deviations of what is expected."""
    return float((found - expected).abs().max() / expected.std())


def psnr(found: Tensor, expected: Tensor) -> float:
    """Peak signal-to-noise ratio of images in [-1, 1], in dB."""
    return float(10 * torch.log10(4 / (found - expected).square().mean()))


@pytest.mark.parametrize("t", [0, 3])
def test_denoiser(reference: Reference, t: int) -> None:
    golden = reference.golden
    found = reference.part("unet")(golden["x"], torch.tensor([t]), golden["lq"])
    assert deviation(found, golden[f"unet_t{t}"]) < 1e-4


@pytest.mark.parametrize("t", [0, 3])
def test_noise_predictor(reference: Reference, t: int) -> None:
    golden = reference.golden
    found = reference.part("noise_predictor")(golden["x"], golden["x0"], golden["lq"], torch.tensor([t]))
    assert deviation(found[0], golden[f"predictor_mean_t{t}"]) < 1e-4
    assert deviation(found[1], golden[f"predictor_logvar_t{t}"]) < 1e-4


@pytest.mark.parametrize("reference", [CASES[0], CASES[2]], indirect=True)
def test_autoencoder(reference: Reference) -> None:
    golden, net = reference.golden, reference.part("autoencoder")
    latent = golden["latent"]
    assert deviation(net.encode(golden["image"]), latent) < 1e-4
    assert (net.decode(latent, quantise=False) - golden["decoded_continuous"]).abs().max() < 5e-4
    assert (net.decode(latent) - golden["decoded_quantized"]).abs().max() < 5e-4


@pytest.mark.parametrize("reference", [CASES[0], CASES[2]], indirect=True)
def test_pre_upsampler(reference: Reference) -> None:
    found = reference.part("swinir")(reference.golden["lr01"])
    assert (found - reference.golden["swinir"]).abs().max() < 5e-4


@pytest.mark.parametrize(
    ("reference", "start", "noise"),
    [
        *itertools.product([CASES[0]], ["bicubic", "swinir"], ["predicted", "random"]),
        (CASES[1], "swinir", "predicted"),
        *(
            pytest.param("full-a", start, noise, marks=[pytest.mark.shared, pytest.mark.slow])
            for start, noise in itertools.product(["bicubic", "swinir"], ["predicted", "random"])
        ),
    ],
    indirect=["reference"],
)
def test_chain(reference: Reference, start: str, noise: str) -> None:
    lr, expected = reference.golden["lr01"], reference.golden[f"chain_{start}_{noise}"]
    autoencoder, denoiser, predictor = map(reference.part, ("autoencoder", "unet", "noise_predictor"))
    upsampler = None if start == "bicubic" else reference.part("swinir")
    restorer = Restorer(Schedule.geometric(), autoencoder, denoiser, upsampler, predictor)

    def draw(step: int, shape: tuple[int, ...]) -> Tensor:
        index = 0 if step == 4 else 4 - step
        return torch.from_numpy(normal(f"chain{reference.name[-1]}.{index}", shape)).float()

    kind: NoiseKind = "gaussian" if noise == "random" else "predicted"
    restored = restorer.restore(lr, draw, noise=kind) * 2 - 1
    assert psnr(restored, expected) > 45
