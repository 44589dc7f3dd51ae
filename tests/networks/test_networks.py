"""What every network guarantees: any size, any batch, gradients, and a description that rebuilds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lpnsr.errors import ConfigError, InputError
from lpnsr.networks import build, describe, vq_autoencoder
from lpnsr.networks.compact import convolve_enlarged
from lpnsr.networks.layers import basic as layers
from lpnsr.networks.layers import swin
from lpnsr.networks.layers.basic import EdgeConv2d, convolve_to_shuffle, make_norm, pixel_shuffle, pixel_unshuffle
from lpnsr.networks.layers.padding import pad_to_multiple, pad_to_size
from lpnsr.networks.layers.swin import window_mask
from lpnsr.networks.layers.winograd import use_winograd

TRUNK = {
    "model_channels": 8,
    "channel_mult": [1, 2],
    "num_res_blocks": 1,
    "swin_embed_dim": 8,
    "num_head_channels": 4,
    "window_size": 4,
    "mlp_ratio": 2.0,
    "image_size": 16,
}
PIXEL = {**TRUNK, "norm": "pixel", "window_mask": "full"}
AUTOENCODER = {"type": "vq_autoencoder", "width": 8, "num_res_blocks": 1, "codebook_size": 16}
TRUNKS = {
    "plain": TRUNK,
    "pixel": PIXEL,
    "patch": {**PIXEL, "patch_size": 2, "attention_levels": [1]},
    "convolutional": {**TRUNK, "attention_levels": []},
}


def make(config: dict[str, Any]) -> nn.Module:
    """A network with nothing left at its zero initialisation."""
    torch.manual_seed(0)
    net = build(config)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3) if parameter.ndim == 1 else nn.init.xavier_normal_(parameter)
    return net.eval()


def unet(options: dict[str, Any]) -> nn.Module:
    return make({"type": "swin_unet", **options})


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20), down=st.integers(0, 40), right=st.integers(0, 40))
def test_padding_mirrors_then_repeats(height: int, width: int, down: int, right: int) -> None:
    x = random(1, 2, height, width)
    padded = pad_to_size(x, height + down, width + right)

    def source(size: int, extra: int) -> Tensor:
        mirrored = [*range(size), *range(size - 2, -1, -1)][: size + extra]
        return torch.tensor(mirrored + [mirrored[-1]] * (size + extra - len(mirrored)))

    assert torch.equal(padded, x[:, :, source(height, down)][..., source(width, right)])


@pytest.mark.parametrize(("size", "padded"), [(1, 8), (7, 8), (8, 8), (9, 16)])
def test_padding_to_a_multiple(size: int, padded: int) -> None:
    x = random(1, 2, size, 3)
    found, original = pad_to_multiple(x, 8)
    assert found.shape == (1, 2, padded, 8)
    assert original == (size, 3)
    with pytest.raises(InputError, match="empty"):
        pad_to_multiple(x[:, :, :0], 8)


@settings(deadline=None, max_examples=10)
@given(height=st.integers(1, 40), width=st.integers(1, 40), kind=st.sampled_from(sorted(TRUNKS)))
@torch.no_grad()
def test_any_size_and_any_batch(height: int, width: int, kind: str) -> None:
    net = unet(TRUNKS[kind])
    x, cond, t = random(3, 3, height, width), random(3, 3, height, width, seed=1), torch.tensor([0, 3, 2])
    together = net(x, t, cond)
    assert together.shape == x.shape
    for i in range(3):
        alone = net(x[i : i + 1], t[i : i + 1], cond[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", TRUNKS)
@torch.no_grad()
def test_condition_and_time_matter(kind: str) -> None:
    net, x, t = unet(TRUNKS[kind]), random(1, 3, 16, 16), torch.tensor([1])
    base = net(x, t, x)
    assert not torch.allclose(base, net(x, t, -x), atol=1e-3)
    assert not torch.allclose(base, net(x, t + 1, x), atol=1e-3)


@torch.no_grad()
def test_layout_in_memory_is_free() -> None:
    net, x, t = unet(TRUNK), random(2, 3, 16, 24), torch.tensor([1, 2])
    expected = net(x, t, x)
    found = net.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last), t, x)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_autocast_is_close() -> None:
    net, x, t = unet(PIXEL), random(1, 3, 16, 16), torch.tensor([1])
    expected = net(x, t, x)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(x, t, x)
    assert (found.float() - expected).std() < 0.03 * expected.std()
    assert net.to(torch.bfloat16)(x.bfloat16(), t, x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_with_checkpointing_and_after_inference(batch: int) -> None:
    net, x, t = unet(TRUNK), random(batch, 3, 16, 16), torch.arange(batch)
    swin._cached_mask.cache_clear()
    with torch.inference_mode():  # what it leaves behind must not stop a training step
        net(x, t, x)

    def gradients(forward: Any) -> list[Tensor]:
        loss = forward(x, t, x).square().mean()
        return list(torch.autograd.grad(loss, list(net.parameters())))

    plain = gradients(net)
    assert all(bool(gradient.any()) for gradient in plain)
    again = gradients(lambda *inputs: checkpoint(net, *inputs, use_reentrant=False))
    for first, second in zip(plain, again, strict=True):
        torch.testing.assert_close(first, second)


@torch.no_grad()
def test_untrained_networks_start_neutral() -> None:
    x, t = random(1, 3, 9, 9), torch.tensor([2])
    assert not build({"type": "swin_unet", **TRUNK})(x, t, x).any()
    mean, log_variance = build({"type": "noise_predictor", **TRUNK})(x, x, x, t)
    assert not mean.any()
    assert not log_variance.any()


def test_a_configuration_of_0_1_may_say_that_nothing_is_carried() -> None:
    assert describe(build({"type": "swin_unet", **TRUNK, "carry": False})) == describe(unet(TRUNK))
    with pytest.raises(ConfigError, match="unknown key 'carry'"):
        build({"type": "swin_unet", **TRUNK, "carry": True})


@torch.no_grad()
def test_log_variance_is_clamped() -> None:
    net = make({"type": "noise_predictor", **TRUNK})
    net.out[2].weight.mul_(1e4)  # type: ignore[index,union-attr,operator]
    x = random(1, 3, 8, 8)
    mean, log_variance = net(x, x, x, torch.tensor([1]))
    assert mean.shape == log_variance.shape == x.shape
    assert mean.abs().max() > 30
    assert log_variance.min() == -30
    assert log_variance.max() == 20


def test_sizes_have_to_agree() -> None:
    net = unet(TRUNK)
    with pytest.raises(InputError, match="differ"):
        net(random(1, 3, 8, 8), torch.tensor([0]), random(1, 3, 8, 9))


def touched(net: nn.Module, pixel: tuple[int, int], size: int) -> Tensor:
    """Which positions of a Swin block's output see ``pixel`` of its input: bool (size, size)."""
    x = random(1, 8, size, size).requires_grad_()
    seen = torch.zeros(size, size, dtype=torch.bool)
    out = net(x)
    for row in range(size):
        for column in range(size):
            (gradient,) = torch.autograd.grad(out[0, :, row, column].sum(), x, retain_graph=True)
            seen[row, column] = gradient[0, :, pixel[0], pixel[1]].abs().sum() > 1e-12
    return seen


@pytest.mark.parametrize("kind", ["full", "released"])
def test_shifted_windows(kind: swin.MaskKind) -> None:
    shape = swin.SwinShape(8, 2, 4, 4, 2.0, "pixel", kind)
    torch.manual_seed(0)
    block = swin.SwinBlock(shape, resolution=8, shifted=True)
    middle = torch.zeros(8, 8, dtype=torch.bool)
    middle[2:6, 2:6] = True
    assert torch.equal(touched(block, (3, 4), 8), middle)
    corner = torch.zeros(8, 8, dtype=torch.bool)
    if kind == "full":
        corner[:2, :2] = True
    else:  # the seam between the edges is open; the halves of the last row of windows are parted
        corner[[0, 1, 6, 7], :2] = True
    assert torch.equal(touched(block, (0, 0), 8), corner)


def test_mask_is_computed_once_a_size() -> None:
    swin._cached_mask.cache_clear()
    net, x = unet(TRUNK), random(1, 3, 16, 16)
    for _ in range(3):
        net(x, torch.tensor([1]), x)
    assert swin._cached_mask.cache_info().misses == 2  # one for each level


def test_stored_mask_is_the_one_in_use() -> None:
    net = unet({**TRUNK, "swin_depth": 2})
    stored = net.state_dict()["input_blocks.1.1.blocks.1.attn_mask"]
    assert torch.equal(stored, window_mask(16, 16, 4, "released"))
    assert "middle_block.1.blocks.1.attn_mask" in net.state_dict()
    small = unet({**TRUNK, "image_size": 8})
    assert "middle_block.1.blocks.1.attn_mask" not in small.state_dict()


@torch.no_grad()
def test_pixel_normalisation_is_local() -> None:
    net = unet({**PIXEL, "attention_levels": []})
    x, t = random(1, 3, 8, 96), torch.tensor([1])
    changed = x.clone()
    changed[..., -1] += 5
    far = (net(x, t, x) - net(changed, t, changed))[..., :40]
    assert not far.any()
    norm = make_norm("pixel", 8)
    assert torch.allclose(norm(random(1, 8, 4, 4)).mean(1), torch.zeros(()), atol=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pixel_normalisation_in_either_layout(layout: torch.memory_format) -> None:
    norm = make_norm("pixel", 12, eps=1e-3)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = (3 + 5 * random(2, 12, 9, 7)).contiguous(memory_format=layout)
    before, expected = x.clone(), norm(x)
    with torch.inference_mode():
        torch.testing.assert_close(norm(x), expected)
    assert torch.equal(x, before)


@pytest.mark.parametrize("kind", ["pixel", "group"])
def test_without_gradients_the_outputs_and_the_inputs_stay(kind: str) -> None:
    """Some layers then work in the place of what nothing else needs."""
    net = unet({**(PIXEL if kind == "pixel" else TRUNK), "image_size": 16})
    torch.nn.init.normal_(net.out[2].weight, std=0.1)
    x, cond, t = random(1, 3, 16, 16), random(1, 3, 16, 16), torch.tensor([1])
    before, expected = (x.clone(), cond.clone()), net(x, t, cond).detach()
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            torch.testing.assert_close(net(x, t, cond), expected)
    assert torch.equal(x, before[0])
    assert torch.equal(cond, before[1])


def test_manifests(data: Path) -> None:
    """Names, shapes and order of the released checkpoints at paper size."""
    tensors = json.loads((data / "manifest_full.json").read_text())["tensors"]
    for component, kind in {
        "unet": "swin_unet",
        "noise_predictor": "noise_predictor",
        "autoencoder": "vq_autoencoder",
    }.items():
        with torch.device("meta"):
            state = build({"type": kind}).state_dict()
        assert [(name, list(tensor.shape)) for name, tensor in state.items()] == [*tensors[component].items()]


@settings(deadline=None, max_examples=15)
@given(height=st.integers(1, 30), width=st.integers(1, 30))
@torch.no_grad()
def test_autoencoder_sizes(height: int, width: int) -> None:
    net = make(AUTOENCODER)
    z = net.encode(random(2, 3, height, width))
    assert z.shape == (2, net.latent_channels, -(-height // 4), -(-width // 4))
    assert net.decode(z).shape == (2, 3, 4 * z.shape[2], 4 * z.shape[3])


@torch.no_grad()
def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    net, image = make(AUTOENCODER), random(2, 3, 40, 24)
    z = net.encode(image)
    expected = net.decode(z)
    monkeypatch.setattr(vq_autoencoder, "PAIRS_AT_ONCE", 100)
    torch.testing.assert_close(net.encode(image), z)
    torch.testing.assert_close(net.decode(z), expected)


def test_codebook_takes_the_nearest_and_passes_gradients() -> None:
    codebook, z = make(AUTOENCODER).quantize, random(2, 3, 5, 7).requires_grad_()
    codes = codebook.embedding.weight
    distances = (z.permute(0, 2, 3, 1)[..., None, :] - codes).square().sum(-1)
    found = codebook(z)
    assert torch.equal(codebook.nearest(z), distances.argmin(-1))
    torch.testing.assert_close(found, codes[distances.argmin(-1)].permute(0, 3, 1, 2))
    weight = random(*z.shape, seed=1)
    (gradient,) = torch.autograd.grad((found * weight).sum(), z)
    torch.testing.assert_close(gradient, weight)


@torch.no_grad()
def test_bicubic_reproduces_flat_and_interpolates() -> None:
    net = build({"type": "bicubic"})
    flat = torch.full((2, 3, 5, 1), 0.3)
    torch.testing.assert_close(net(flat), torch.full((2, 3, 20, 4), 0.3))
    image = random(1, 3, 6, 7)
    expected = F.interpolate(image, size=(24, 28), mode="bicubic")
    torch.testing.assert_close(net(image), expected)


@pytest.mark.parametrize(
    "config",
    [
        {"type": "swin_unet", **TRUNKS["patch"]},
        {"type": "noise_predictor", **TRUNK, "latent_channels": 4},
        AUTOENCODER,
        {"type": "lite_autoencoder"},
        {"type": "compact"},
        {"type": "bicubic"},
    ],
    ids=lambda config: config["type"],
)
def test_description_rebuilds(config: dict[str, Any]) -> None:
    net = build(config)
    described = json.loads(json.dumps(describe(net)))
    assert config.items() <= described.items()
    again = build(described)
    assert describe(again) == described
    again.load_state_dict(net.state_dict(), strict=True)


def test_wrong_configurations() -> None:
    with pytest.raises(ConfigError, match="did you mean 'swin_unet'"):
        build({"type": "swin_uent"})
    with pytest.raises(ConfigError, match="allowed: swin_unet"):
        build({})
    with pytest.raises(ConfigError, match="did you mean 'window_size'"):
        build({"type": "swin_unet", "windowsize": 8})
    with pytest.raises(ConfigError, match="num_head_channels"):
        build({"type": "swin_unet", "swin_embed_dim": 100})
    with pytest.raises(ConfigError, match="attention_levels"):
        build({"type": "swin_unet", "attention_levels": [4]})
    with pytest.raises(ConfigError, match="in_channels 4 and out_channels 3 have to agree"):
        build({"type": "swin_unet", "in_channels": 4})
    for kind in ("swin_unet", "noise_predictor"):
        with pytest.raises(ConfigError, match=r"cond_channels 8; allowed are 4 .* and 7"):
            build({"type": kind, "cond_channels": 8, "feature_channels": 1})
    with pytest.raises(ConfigError, match="image_channels = 1: should be 3"):
        build({"type": "vq_autoencoder", "image_channels": 1})
    with pytest.raises(ConfigError, match="no registered network"):
        describe(nn.Linear(1, 1))


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 9)])
def test_convolution_of_an_enlargement_that_is_never_made(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(6, 5, 3, padding=1, padding_mode="replicate").double()
    x = torch.randn(2, 6, *size, dtype=torch.double)
    plain = conv(F.interpolate(x, scale_factor=2, mode="bilinear"))
    torch.testing.assert_close(convolve_enlarged(conv, x), plain)


@torch.inference_mode()
def test_it_is_the_same_by_winograd() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(16, 8, 3, padding=1, padding_mode="replicate")
    x = torch.randn(1, 16, 40, 52)
    plain = conv(F.interpolate(x, scale_factor=2, mode="bilinear"))
    use_winograd(conv)
    torch.testing.assert_close(convolve_enlarged(conv, x), plain, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_pixels_move_into_channels_and_back_as_in_pytorch() -> None:
    x = torch.rand(2, 5, 12, 18)
    packed = pixel_unshuffle(x, 3)
    assert torch.equal(packed, F.pixel_unshuffle(x, 3))
    assert torch.equal(pixel_shuffle(packed, 3), x)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@torch.inference_mode()
def test_shuffling_what_a_convolution_makes(
    layout: torch.memory_format, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if layout == torch.channels_last:
        monkeypatch.delattr(layers, "pixel_shuffle")  # it has a way of its own
    conv = EdgeConv2d(8, 20, 3, padding=1, padding_mode="replicate", bias=bias).to(memory_format=layout)
    x = torch.randn(2, 8, 7, 5).to(memory_format=layout)
    shuffled = convolve_to_shuffle(conv, x, conv.weight, conv.bias)
    assert shuffled.is_contiguous(memory_format=layout)
    torch.testing.assert_close(shuffled, F.pixel_shuffle(conv(x), 2))


@pytest.mark.parametrize("mode", ["zeros", "replicate", "reflect"])
def test_padding_edges_under_autocast(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = nn.Conv2d(4, 6, 3, padding=(1, 2), stride=2, padding_mode=mode)
    edges = EdgeConv2d(4, 6, 3, padding=(1, 2), stride=2, padding_mode=mode)
    edges.load_state_dict(plain.state_dict())
    x = torch.randn(2, 4, 9, 8)
    assert torch.equal(edges(x), plain(x))
    padded, pad = [], F.pad
    monkeypatch.setattr(F, "pad", lambda *given, **named: padded.append(pad(*given, **named)) or padded[-1])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(edges(x.bfloat16()), plain(x.bfloat16()))
    assert [p.dtype for p in padded] == ([] if mode == "zeros" else [torch.bfloat16, torch.float32])
