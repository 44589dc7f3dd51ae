"""Losses on the result and its target, (B, 3, H, W) in [0, 1]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lpnsr.training.losses.base import Comparison, register_loss

_PERIODS = (4, 8)
_TAPS_COMPARED = 4
_WINDOWS = 4  # a side
_TRUE_SHARE = 0.7


@register_loss("l1")
def l1(seen: Comparison) -> Tensor:
    """Mean absolute error."""
    return F.l1_loss(seen.result, seen.target)


@register_loss("lpips")
def perceptual(seen: Comparison) -> Tensor:
    """LPIPS through a random view."""
    return seen.lpips.distance(*seen.taps).mean()


@register_loss("statistics")
def statistics(seen: Comparison) -> Tensor:
    """``window_statistics`` of the first feature maps of the LPIPS network through a random view."""
    return window_statistics(*(taps[:_TAPS_COMPARED] for taps in seen.taps))


@register_loss("lattice")
def weave(seen: Comparison) -> Tensor:
    """``lattice`` of periods 4 and 8, which pixel shuffles and strides leave."""
    return torch.stack([lattice(seen.result, seen.target, period) for period in _PERIODS]).mean()


@register_loss("excess")
def excess_detail(seen: Comparison) -> Tensor:
    """``excess`` of the result."""
    return excess(seen.result, seen.target)


@register_loss("symmetry", looks_at="mirrored")
def symmetry(seen: Comparison) -> Tensor:
    """Mean absolute difference between the result and that of the mirrored input."""
    assert seen.outcome.mirror is not None
    return F.l1_loss(seen.result, seen.outcome.mirror().float())


def window_statistics(fake: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Distance of the mean and the deviation of each channel in windows of a quarter of the side, in units of the
    channel's own deviation. Maps are (B, C, h, w)."""
    terms = []
    for x, y in zip(fake, real, strict=True):
        size = max(1, min(x.shape[-2:]) // _WINDOWS)
        (mean_x, std_x), (mean_y, std_y) = _moments(x.float(), size), _moments(y.float(), size)
        unit = y.float().std((0, 2, 3), keepdim=True) + 1e-3
        terms.append(((mean_x - mean_y).abs() / unit).mean() + ((std_x - std_y).abs() / unit).mean())
    return torch.stack(terms).mean() / 2


def _moments(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    mean = F.avg_pool2d(x, size)
    variance = F.avg_pool2d(x.square(), size) - mean.square()
    return mean, (variance.clamp_min(0) + 1e-4).sqrt()


def lattice(sr: Tensor, hr: Tensor, period: int) -> Tensor:
    """Mean absolute error that repeats with ``period``: sr - hr averaged over 4 x 4 cells, place by place in the cell.

    Errors of detail average out; a pattern locked to the cells, which perceptual losses like, stays.
    """
    folded = F.avg_pool2d(F.pixel_unshuffle(sr.float() - hr, period), 4)
    folded = folded.view(len(sr), 3, period**2, *folded.shape[2:])  # (B, 3, place, cells...)
    return (folded - folded.mean(2, keepdim=True)).abs().mean()


def excess(sr: Tensor, hr: Tensor) -> Tensor:
    """Return the fine detail of ``sr`` beyond most of that of ``hr``: the mean of max(0, s(sr) - 0.7 s(hr)).

    s is the root mean square, over 8 x 8 px, of the difference to a 5 x 5 px blur.

    A network that is rewarded for detail puts faint patterns on even areas, where they cost little of other errors;
    the noise of photographs would excuse them if all of it counted.
    """
    return (_fine_detail(sr.float()) - _TRUE_SHARE * _fine_detail(hr.float())).relu().mean()


def _fine_detail(image: Tensor) -> Tensor:
    detail = image - F.avg_pool2d(image, 5, stride=1, padding=2, count_include_pad=False)
    return (F.avg_pool2d(detail.square(), 8, stride=4) + 1e-6).sqrt()
