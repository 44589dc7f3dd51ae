"""Fast 3x3 convolutions: what they compute, and when they are left alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from lpnsr.networks.layers import winograd as module
from lpnsr.networks.layers.winograd import WinogradConv2d, available, use_winograd
from lpnsr.networks.placement import memory_format, settle

needed = pytest.mark.skipif(not available(), reason="needs NNPACK in PyTorch, and an x86 processor")


def convs(padding_mode: str = "zeros") -> tuple[nn.Conv2d, nn.Conv2d]:
    """The same convolution, 12 -> 20 channels, plain and fast."""
    torch.manual_seed(0)
    plain = nn.Conv2d(12, 20, 3, padding=1, padding_mode=padding_mode)
    fast = copy.deepcopy(plain)
    use_winograd(fast)
    return plain, fast


@needed
@pytest.mark.parametrize("padding_mode", ["zeros", "replicate"])
@pytest.mark.parametrize("size", [(24, 24), (25, 61), (1, 100), (97, 19)])
@torch.inference_mode()
def test_it_is_the_same_convolution(padding_mode: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    plain, fast = convs(padding_mode)
    used = []
    monkeypatch.setattr(module, "_nnpack", lambda *a, whole=module._nnpack: used.append(a) or whole(*a))
    x = torch.randn(2, 12, *size)
    expected, found = plain(x), fast(x)
    assert used
    assert (found - expected).abs().max() < 2e-4 * expected.std()


@needed
@torch.inference_mode()
def test_bands_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(1, 12, 67, 40)
    for padding_mode in ("zeros", "replicate"):
        fast = convs(padding_mode)[1]
        whole = fast(x)
        for tiles in (1, 3):
            monkeypatch.setattr(module, "_BAND_BYTES", tiles * 6 * 4 * 32 * 40 * 64 // 36)
            assert torch.equal(fast(x), whole)
        monkeypatch.undo()


@needed
def test_memory_of_large_maps_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(x: torch.Tensor, weight: torch.Tensor, bias: object, padding: list[int]) -> torch.Tensor:
        seen.append(x.numel() + len(weight) * (x.shape[2] - 2) * x.shape[3])
        return x.new_zeros(1, len(weight), x.shape[2] - 2, x.shape[3])

    monkeypatch.setattr(module, "_nnpack", record)
    module.winograd(torch.empty(1, 64, 1500, 1000), torch.empty(64, 64, 3, 3), None)
    assert len(seen) > 1
    assert max(seen) * 4 * 64 / 36 < 80 << 20


def test_training_and_other_arithmetic_are_left_alone() -> None:
    plain, fast = convs()
    assert type(fast) is WinogradConv2d
    assert fast.state_dict().keys() == plain.state_dict().keys()
    x = torch.randn(1, 12, 40, 40)
    assert torch.equal(fast(x), plain(x))
    fast(x).sum().backward()
    assert fast.weight.grad is not None
    with torch.inference_mode():
        assert torch.equal(fast(x[..., :8, :8]), plain(x[..., :8, :8]))  # too small to be worth it
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(fast(x), plain(x))


def test_only_plain_3x3_convolutions_are_replaced() -> None:
    others = nn.Sequential(
        nn.Conv2d(8, 8, 1),
        nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 8, 3),
        nn.Conv2d(8, 8, 3, padding=1, groups=2),
        nn.Conv2d(8, 8, 3, padding=2, dilation=2),
    )
    use_winograd(others)
    assert all(type(conv) is nn.Conv2d for conv in others)


@needed
@pytest.mark.parametrize("has_amx", [True, False])
def test_it_is_used_where_the_direct_sum_is_slower(has_amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: has_amx, raising=False)
    module.pays.cache_clear()
    try:
        net = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1))
        settle(net, torch.device("cpu"), torch.float32)
        assert isinstance(net[0], WinogradConv2d) is not has_amx
        assert (memory_format(torch.device("cpu"), torch.float32) is torch.channels_last) is has_amx
    finally:
        module.pays.cache_clear()
