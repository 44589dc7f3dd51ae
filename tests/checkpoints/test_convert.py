"""Released checkpoint files become a model folder with the same tensors, whatever their size and wrapping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lpnsr import networks
from lpnsr.checkpoints import load_folder, read_spec
from lpnsr.checkpoints.convert import convert_released, find_released, read_released
from lpnsr.checkpoints.infer import infer
from lpnsr.errors import CheckpointError, LpnsrError
from lpnsr.system.hashes import file_sha256
from support.released import NAMES, released, shapes, write_released
from support.weights import BUFFERS

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")  # spandrel's
LATENT = 3


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_released(tmp_path_factory.mktemp("released"))


@pytest.fixture(scope="module")
def converted(sources: dict[str, Path]) -> Path:
    output = sources["denoiser"].parent / "converted"
    convert_released(find_released(output.parent), output)
    return output


def saved(path: Path, state: dict[str, Any]) -> Path:
    torch.save(state, path)
    return path


def test_all_tensors_are_those_of_the_files(converted: Path) -> None:
    loaded = load_folder(converted)
    assert set(loaded.parts) == set(NAMES)
    for part, net in loaded.parts.items():
        state, expected = net.state_dict(), released(part)
        assert list(state) == list(shapes(part))
        for name, tensor in expected.items():
            assert torch.equal(state[name], tensor), name


def test_converted_networks_compute_what_the_released_ones_do(converted: Path, data: Path) -> None:
    golden, parts = load_file(data / "golden_tiny_a.safetensors"), load_folder(converted).parts
    t = torch.tensor([3])
    with torch.inference_mode():
        mean, _ = parts["noise_predictor"](golden["x"], golden["x0"], golden["lq"], t)
        found = {
            "unet_t3": parts["denoiser"](golden["x"], t, golden["lq"]),
            "predictor_mean_t3": mean,
            "swinir": parts["upsampler"](golden["lr01"].float()),
        }
    for name, tensor in found.items():
        expected = golden[name].float()
        # Images are stored as float16.
        tolerance = 1e-3 if golden[name].dtype == torch.float16 else 1e-3 * expected.std().item()
        assert (tensor - expected).abs().max() < tolerance, name


def test_the_card_and_the_specification_name_the_sources(converted: Path, sources: dict[str, Path]) -> None:
    card, spec = (converted / "README.md").read_text(encoding="utf-8"), read_spec(converted)
    assert {source.part: source.sha256 for source in spec.sources} == {p: file_sha256(f) for p, f in sources.items()}
    for source in spec.sources:
        assert source.file in card
        assert source.sha256 in card
        assert ("Apache" if source.part == "upsampler" else "non-commercial") in source.licence
    assert "S-Lab" in card
    assert spec.chain.model_dump() == {
        "steps": 4, "kappa": 2.0, "min_noise_level": 0.2, "etas_end": 0.99, "power": 0.3,
    }  # fmt: skip


@pytest.mark.parametrize("part", ["autoencoder", "denoiser", "noise_predictor", "upsampler"])
@pytest.mark.parametrize("buffers", ["absent", "some", "of another size"])
def test_computed_buffers_do_not_matter(part: str, buffers: str, tmp_path: Path) -> None:
    state = released(part, buffers=buffers != "absent")
    if buffers == "some":
        state = {n: v for n, v in state.items() if not n.endswith("index") or "blocks.0" in n}
    if buffers == "of another size":  # masks for 32 x 32 where the layout is otherwise that of 64 x 64
        small = {64: 16, 16: 4, 4: 1}
        cut = {n: v[: small[len(v)]] for n, v in state.items() if n.endswith("attn_mask")}
        state = {**state, **cut}
        if part in ("denoiser", "noise_predictor"):  # a map of one window has no shift, so no mask
            state = {n: v for n, v in state.items() if not (n.endswith("attn_mask") and len(v) == 1)}
    net = read_released(part, saved(tmp_path / "a.pth", state), LATENT)  # type: ignore[arg-type]
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in released(part).items())
    if part in ("denoiser", "noise_predictor"):
        assert net.config.image_size == (32 if buffers == "of another size" else 64)  # type: ignore[union-attr]


def test_masks_in_impossible_places_are_refused(tmp_path: Path) -> None:
    state = released("denoiser", buffers=True)
    gone = next(name for name in reversed(state) if name.endswith("attn_mask"))
    del state[gone]
    with pytest.raises(CheckpointError, match=f"masks.*missing: {gone}"):
        read_released("denoiser", saved(tmp_path / "a.pth", state), LATENT)


CONFIGS: list[dict[str, Any]] = [
    {"type": "swin_unet", "model_channels": 64, "channel_mult": [1, 2], "num_res_blocks": 1, "swin_embed_dim": 64},
    {"type": "swin_unet", "channel_mult": [2, 3, 1], "swin_depth": 3, "num_head_channels": 16, "attention_levels": [0]},
    {"type": "swin_unet", "window_size": 4, "image_size": 16, "mlp_ratio": 2.0, "attention_levels": [1]},
    {"type": "swin_unet", "in_channels": 4, "out_channels": 4, "image_size": 32, "num_res_blocks": 3},
    {"type": "noise_predictor", "latent_channels": 4, "swin_depth": 1, "channel_mult": [1, 2, 4]},
    {"type": "vq_autoencoder", "width": 64, "channel_mult": [1, 1, 2], "num_res_blocks": 1, "codebook_size": 50},
    {"type": "vq_autoencoder", "width": 32, "z_channels": 4, "embed_dim": 4, "channel_mult": [2, 1, 3]},
]
SMALL = {"model_channels": 32, "channel_mult": [1, 1], "num_res_blocks": 1, "swin_embed_dim": 32}


@pytest.mark.parametrize("config", CONFIGS)
def test_the_size_of_a_network_is_read_off_its_tensors(config: dict[str, Any], tmp_path: Path) -> None:
    net = networks.build(config if config["type"] == "vq_autoencoder" else {**SMALL, **config})
    state = net.state_dict()
    part: Any = {"swin_unet": "denoiser", "vq_autoencoder": "autoencoder"}.get(config["type"], config["type"])
    rebuilt = networks.build(infer(part, {name: tuple(tensor.shape) for name, tensor in state.items()}))
    assert networks.describe(rebuilt) == networks.describe(net)
    latent = config.get("in_channels", config.get("latent_channels", LATENT))
    again = read_released(part, saved(tmp_path / "a.pth", {"params": state}), latent)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_half_precision_files_become_float32(tmp_path: Path, name: str) -> None:
    state = {key: tensor.half() for key, tensor in released("denoiser").items()}
    (save_file if name.endswith("s") else torch.save)(state, tmp_path / name)  # type: ignore[operator]
    net = read_released("denoiser", tmp_path / name, LATENT)
    assert all(torch.equal(net.state_dict()[key], tensor.float()) for key, tensor in state.items())


@pytest.mark.parametrize("part", ["autoencoder", "denoiser", "noise_predictor", "upsampler"])
@pytest.mark.parametrize("damage", ["missing", "unexpected", "misshapen"])
def test_tensors_that_do_not_fit_are_named(part: str, damage: str, tmp_path: Path) -> None:
    state = released(part)
    name = {"autoencoder": "decoder.norm_out.bias", "upsampler": "norm.bias"}.get(part, "out.0.bias")
    if damage == "missing":
        del state[name]
    elif damage == "unexpected":
        name = "surplus.weight"
        state[name] = torch.ones(3)
    else:
        state[name] = torch.ones(7)
    with pytest.raises(CheckpointError, match=f"(?si){part}.*{'' if damage == 'misshapen' else damage}.*{name}"):
        read_released(part, saved(tmp_path / "a.pth", state), LATENT)  # type: ignore[arg-type]


def test_what_only_training_needed_is_left_out_and_told(tmp_path: Path) -> None:
    extra = {
        "loss.discriminator.main.0.weight": torch.ones(2),
        "model_ema.decay": torch.ones(()),
        "epoch": torch.ones(1),
    }
    told: list[str] = []
    read_released("autoencoder", saved(tmp_path / "a.pth", {**released("autoencoder"), **extra}), 0, told.append)
    assert "3 tensors that only training needs: loss.discriminator.main.0.weight" in told[0]
    with pytest.raises(CheckpointError, match=r"unexpected: loss\.x"):
        read_released("denoiser", saved(tmp_path / "b.pth", {**released("denoiser"), "loss.x": torch.ones(2)}), LATENT)


def test_swapped_files_are_recognised(sources: dict[str, Path], tmp_path: Path) -> None:
    files: dict[Any, Path] = dict(sources)
    files["denoiser"], files["noise_predictor"] = files["noise_predictor"], files["denoiser"]
    with pytest.raises(CheckpointError, match=r"takes 9 channels; the denoiser takes 6.*--noise-predictor swapped"):
        convert_released(files, tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"holds the denoiser.*takes 6 channels; the noise_predictor takes 9"):
        convert_released({**sources, "noise_predictor": sources["denoiser"]}, tmp_path / "m")  # type: ignore[dict-item]
    with pytest.raises(CheckpointError, match=r"the autoencoder .* holds a Swin-UNet: a denoiser or a noise predictor"):
        convert_released({**sources, "autoencoder": sources["denoiser"]}, tmp_path / "m")  # type: ignore[dict-item]
    with pytest.raises(CheckpointError, match=r"the upsampler .* holds the autoencoder"):
        convert_released({**sources, "upsampler": sources["autoencoder"]}, tmp_path / "m")  # type: ignore[dict-item]
    assert list(tmp_path.iterdir()) == []


def test_latents_of_another_width_are_explained(tmp_path: Path) -> None:
    state = networks.build({**SMALL, "type": "swin_unet", "in_channels": 4, "out_channels": 4}).state_dict()
    with pytest.raises(CheckpointError, match=r"takes 7 channels and gives 4.*3 latent channels.*take 6 and give 3"):
        read_released("denoiser", saved(tmp_path / "a.pth", state), LATENT)


def test_something_else_altogether_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", {"fc.weight": torch.ones(2, 2)})
    for part in NAMES:
        with pytest.raises(CheckpointError, match=part):
            read_released(part, path, LATENT)  # type: ignore[arg-type]


def test_predictor_and_upsampler_may_be_left_out(sources: dict[str, Path], tmp_path: Path) -> None:
    told: list[str] = []
    files: dict[Any, Path] = {part: sources[part] for part in ("autoencoder", "denoiser")}
    convert_released(files, tmp_path / "resshift", say=told.append)
    assert set(load_folder(tmp_path / "resshift").parts) == {"autoencoder", "denoiser"}
    assert any("Gaussian noise" in text for text in told)
    assert any("bicubic" in text for text in told)
    assert "Gaussian noise" in (tmp_path / "resshift" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("part", ["autoencoder", "denoiser"])
def test_autoencoder_and_denoiser_are_needed(sources: dict[str, Path], tmp_path: Path, part: str) -> None:
    files: dict[Any, Path] = {name: path for name, path in sources.items() if name != part}
    with pytest.raises(CheckpointError, match=f"the {part} is needed"):
        convert_released(files, tmp_path / "m")
    sources[part].rename(tmp_path / "elsewhere")
    try:
        with pytest.raises(CheckpointError, match=NAMES[part]):
            find_released(sources["upsampler"].parent)
    finally:
        (tmp_path / "elsewhere").rename(sources[part])


def test_files_are_found_by_their_released_names(tmp_path: Path) -> None:
    for name in NAMES.values():
        (tmp_path / name).touch()
    (tmp_path / "notes.pth").touch()
    assert find_released(tmp_path) == {part: tmp_path / name for part, name in NAMES.items()}
    with pytest.raises(CheckpointError, match=r"noise_predictor_v2\.pth"):
        find_released(tmp_path, "v2")
    (tmp_path / "noise_predictor_v2.safetensors").touch()
    assert find_released(tmp_path, "v2")["noise_predictor"].name == "noise_predictor_v2.safetensors"
    assert find_released(tmp_path)["noise_predictor"].name == "noise_predictor.pth"
    (tmp_path / "noise_predictor.pth").unlink()
    assert find_released(tmp_path)["noise_predictor"].name == "noise_predictor_v2.safetensors"
    with pytest.raises(LpnsrError, match="no folder"):
        find_released(tmp_path / "nowhere")


def test_other_upsamplers_that_spandrel_knows_are_taken(tmp_path: Path) -> None:
    """SwinIR is the released one; its buffers are made where they are absent, and left alone elsewhere."""
    spandrel = pytest.importorskip("spandrel.architectures.ESRGAN")
    net = spandrel.ESRGAN(num_filters=8, num_blocks=1, scale=4)
    state: dict[str, Tensor] = net.state_dict()
    upsampler = read_released("upsampler", saved(tmp_path / "a.pth", {"params_ema": state}), LATENT)
    assert upsampler(torch.rand(1, 3, 5, 7)).shape == (1, 3, 20, 28)
    assert not any(name.endswith(BUFFERS) for name in upsampler.state_dict())
