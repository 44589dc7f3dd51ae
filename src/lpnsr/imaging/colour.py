"""Colour fixes: a restored image takes over the colours of the image it was made from.

Both work on whole images of any size, with a few rows of working memory, and give the same result bit for bit
whatever the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lpnsr.errors import InputError

Rows = Callable[[int, int], Tensor]
"""Of (start, stop), the rows [start, stop) of an image (B, C, H, W): (B, C, stop - start, W)."""


def wavelet_colour_fix(
    sr: Tensor, reference: Tensor | Rows, levels: int = 5, *, out: Tensor | None = None, rows: int = 256
) -> Tensor:
    """High frequencies of ``sr`` on the low frequencies of ``reference``.

    sr, reference: (B, 3, H, W), any range, best [0, 1]; the result has the same range but is not clipped. Instead of
    the whole reference, a function that gives its rows will do. The
    low frequencies L(x) are ``levels`` blurs in a row with the kernel [1 2 1; 2 4 2; 1 2 1]/16, the i-th
    dilated by 2^i, edges repeated. L is linear, so  sr - L(sr) + L(reference) = sr + L(reference - sr).
    out: where to put the result; ``sr`` itself is allowed. Raises InputError for unequal shapes.
    """
    if isinstance(reference, Tensor) and sr.shape != reference.shape:
        raise InputError(f"colour fix of {tuple(sr.shape)} by {tuple(reference.shape)}: equal shapes are needed")
    out = torch.empty_like(sr) if out is None else out
    halo = 2**levels - 1
    height = sr.shape[-2]
    above = sr[..., :0, :]  # rows just above the strip, as they were before ``out`` (perhaps sr) was written
    for top in range(0, height, rows):
        bottom = min(height, top + rows)
        start, stop = top - above.shape[-2], min(height, bottom + halo)
        window = torch.cat([above, sr[..., top:stop, :]], -2)
        target = reference[..., start:stop, :] if isinstance(reference, Tensor) else reference(start, stop)
        low = target - window
        for level in range(levels):
            low = _blur(_blur(low, 2**level, -1), 2**level, -2)
        above = window[..., max(0, bottom - halo - start) : bottom - start, :]
        torch.add(
            window[..., top - start : bottom - start, :],
            low[..., top - start : bottom - start, :],
            out=out[..., top:bottom, :],
        )
    return out


def _blur(x: Tensor, distance: int, dim: int) -> Tensor:
    """[1 2 1]/4 along ``dim`` with taps ``distance`` apart. Slices, not a convolution: rows must not
    influence each other's rounding.
    """
    size = x.shape[dim]
    index = torch.arange(size, device=x.device)
    before = x.index_select(dim, (index - distance).clamp_(min=0))
    after = x.index_select(dim, (index + distance).clamp_(max=size - 1))
    return before.add_(after).mul_(0.25).add_(x, alpha=0.5)


def adain_colour_fix(sr: Tensor, reference: Tensor, *, out: Tensor | None = None, eps: float = 1e-5) -> Tensor:
    """Give every channel of ``sr`` the mean and standard deviation of the same channel of ``reference``.

    sr (B, C, H, W), reference (B, C, h, w) of any size, best in [0, 1]; not clipped.
    (sr - mean(sr)) / std(sr) * std(reference) + mean(reference), with eps added to both variances.
    out: as in ``wavelet_colour_fix``. Raises InputError if batch or channels differ.
    """
    if sr.shape[:2] != reference.shape[:2]:
        raise InputError(f"colour fix of {tuple(sr.shape)} by {tuple(reference.shape)}: batch and channels differ")
    var, mean = torch.var_mean(sr, dim=(2, 3), correction=0, keepdim=True)
    ref_var, ref_mean = torch.var_mean(reference, dim=(2, 3), correction=0, keepdim=True)
    gain = ((ref_var + eps) / (var + eps)).sqrt()
    out = torch.empty_like(sr) if out is None else out
    torch.mul(sr, gain, out=out)
    return out.add_(ref_mean - mean * gain)
