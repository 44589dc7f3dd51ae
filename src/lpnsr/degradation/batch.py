"""Plans carried out on a batch, in torch, on any device.

After the first resize the samples differ in size. They lie at the top left of a common canvas; what is right of them
and below is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lpnsr.degradation.jpeg import codec, encode_decode, has_codec
from lpnsr.degradation.noise import noisy
from lpnsr.degradation.plan import DegradationStage, Kernel, Mode, Noise, Plan, Resize

Size = tuple[int, int]
_Index = NDArray[np.int64]
_Law = Callable[[_Index, int], _Index]
_BUCKETS = (7, 13, 21)  # kernels are padded to one of these sizes, so that small ones do not pay for the largest
_MCU = 16  # pixels of a JPEG block with its halved chroma
_NOTHING = DegradationStage(None, None, None, None)


@dataclass(frozen=True)
class Canvas:
    """x: (B, 3, H, W); sizes: the height and width that each sample has in it."""

    x: Tensor
    sizes: tuple[Size, ...]


def degrade_batch(hr: Tensor, plans: Sequence[Plan]) -> Tensor:
    """Degrade (B, 3, H, W) in [0, 1] to (B, 3, h, w), not yet rounded, on the same device."""
    canvas = Canvas(hr, ((hr.shape[2], hr.shape[3]),) * len(hr))
    generators = [torch.Generator(hr.device).manual_seed(plan.seed) for plan in plans]
    for step in range(max(len(plan.stages) for plan in plans)):
        stages = [plan.stages[step] if step < len(plan.stages) else _NOTHING for plan in plans]
        canvas = blur(canvas, [stage.blur for stage in stages])
        canvas = resize(canvas, [stage.resize for stage in stages])
        canvas = add_noise(canvas, [stage.noise for stage in stages], generators)
        canvas = jpeg(canvas, [stage.quality for stage in stages])
    canvas = jpeg(canvas, [plan.quality if plan.jpeg_first else None for plan in plans])
    canvas = blur(resize(canvas, [plan.resize for plan in plans]), [plan.sinc for plan in plans])
    return jpeg(canvas, [None if plan.jpeg_first else plan.quality for plan in plans]).x


def blur(canvas: Canvas, kernels: Sequence[Kernel | None]) -> Canvas:
    """Correlate every channel with its sample's kernel, borders by reflection: one grouped convolution a bucket."""
    out = canvas.x.clone()
    for bucket, rows in _bucketed(kernels).items():
        weight = np.zeros((len(rows), bucket, bucket), np.float32)
        for place, row in enumerate(rows):
            taps = kernels[row].taps()  # type: ignore[union-attr]  # rows have one
            edge = (bucket - len(taps)) // 2
            weight[place, edge : edge + len(taps), edge : edge + len(taps)] = taps
        height, width = canvas.x.shape[2:]
        padded = _continued(canvas, rows, bucket // 2, (height + bucket - 1, width + bucket - 1), _reflected)
        per_channel = torch.from_numpy(weight).to(out).repeat_interleave(3, 0)[:, None]
        blurred = F.conv2d(padded.reshape(1, -1, *padded.shape[2:]), per_channel, groups=len(per_channel))
        out[rows] = blurred.reshape(len(rows), 3, height, width)
    return Canvas(out, canvas.sizes)


def resize(canvas: Canvas, to: Sequence[Resize | None]) -> Canvas:
    """Resize every sample by the product with a matrix for its rows and one for its columns."""
    sizes = tuple(size if want is None else want.size for want, size in zip(to, canvas.sizes, strict=True))
    if sizes == canvas.sizes:
        return canvas
    rows, columns = (_matrices(canvas, sizes, to, axis) for axis in (0, 1))
    return Canvas(rows[:, None] @ canvas.x @ columns[:, None].mT, sizes)


def add_noise(canvas: Canvas, noise: Sequence[Noise | None], generators: Sequence[torch.Generator]) -> Canvas:
    """Add noise, see ``noisy``; each sample has its own generator, so the draws are a loop."""
    out = canvas.x.clone()
    for row, (wanted, (height, width), generator) in enumerate(zip(noise, canvas.sizes, generators, strict=True)):
        if wanted is not None:
            part = out[row, :, :height, :width]
            part.copy_(noisy(part, wanted, generator))
    return Canvas(out, canvas.sizes)


def jpeg(canvas: Canvas, qualities: Sequence[int | None]) -> Canvas:
    """Code as JPEG and back: by kornia's codec on a GPU where it is installed, else one sample at a time."""
    rows = [row for row, quality in enumerate(qualities) if quality is not None]
    if not rows:
        return canvas
    chosen = [quality for quality in qualities if quality is not None]
    coded = coded_at_once if canvas.x.device.type != "cpu" and has_codec() else _coded_in_turn
    out = canvas.x.clone()
    out[rows] = coded(canvas, rows, chosen)
    return Canvas(out, canvas.sizes)


def coded_at_once(canvas: Canvas, rows: list[int], qualities: Sequence[int]) -> Tensor:
    """Code samples that repeat their border up to the canvas's: blocks do not depend on each other."""
    height, width = canvas.x.shape[2:]
    whole = (-(-height // _MCU) * _MCU, -(-width // _MCU) * _MCU)
    return codec(_continued(canvas, rows, 0, whole, _repeated), qualities)[..., :height, :width]


def _coded_in_turn(canvas: Canvas, rows: list[int], qualities: Sequence[int]) -> Tensor:
    out = canvas.x[rows]
    for place, (row, quality) in enumerate(zip(rows, qualities, strict=True)):
        height, width = canvas.sizes[row]
        part = out[place, :, :height, :width]
        part.copy_(torch.from_numpy(encode_decode(part.cpu().numpy(), quality)))
    return out


def _bucketed(kernels: Sequence[Kernel | None]) -> dict[int, list[int]]:
    buckets: dict[int, list[int]] = {}
    for row, kernel in enumerate(kernels):
        if kernel is not None:
            buckets.setdefault(next((b for b in _BUCKETS if kernel.size <= b), kernel.size), []).append(row)
    return buckets


def _reflected(index: _Index, length: int) -> _Index:
    """Return ... 2 1 0 1 2 ... n-2 n-1 n-2 ..., as often as it takes."""
    turned = index % max(1, 2 * (length - 1))
    return np.minimum(turned, 2 * (length - 1) - turned)


def _repeated(index: _Index, length: int) -> _Index:
    return index.clip(0, length - 1)


def _continued(canvas: Canvas, rows: list[int], before: int, whole: Size, law: _Law) -> Tensor:
    """Continue the samples of ``rows`` by ``law`` to (b, 3, *whole), ``before`` pixels of it at the top and left."""
    x = canvas.x[rows]
    for axis in (0, 1):
        index = np.stack([law(np.arange(whole[axis]) - before, canvas.sizes[row][axis]) for row in rows])
        view = torch.from_numpy(index).to(x.device)
        view = view[:, None, :, None] if axis == 0 else view[:, None, None, :]
        shape = list(x.shape)
        shape[2 + axis] = whole[axis]
        x = x.gather(2 + axis, view.expand(shape))
    return x


def _matrices(canvas: Canvas, sizes: Sequence[Size], to: Sequence[Resize | None], axis: int) -> Tensor:
    """Return (B, largest target, canvas) weights along one axis; a sample that keeps its size has the identity."""
    length = canvas.x.shape[2 + axis]
    out = canvas.x.new_zeros(len(sizes), max(size[axis] for size in sizes), length)
    kinds: dict[tuple[Mode, bool], list[int]] = {}
    for row, want in enumerate(to):
        kinds.setdefault((want.mode, want.antialias) if want else ("area", False), []).append(row)
    for (mode, antialias), rows in kinds.items():
        source, target = ([s[row][axis] for row in rows] for s in (canvas.sizes, sizes))
        part = resampling_matrices(source, target, length, mode, antialias, out.device)
        out[rows, : part.shape[1]] = part.to(out.dtype)
    return out


def resampling_matrices(
    source: Sequence[int], target: Sequence[int], columns: int, mode: Mode, antialias: bool, device: torch.device
) -> Tensor:
    """Make (B, max(target), columns): row i of matrix b weighs the source pixels that make target pixel i.

    They are those of torch's interpolate: cubic with a = -1/2 where antialiased, else -3/4; pixels beyond the border
    count as the border where not antialiased, and not at all where they are.
    """
    n, m = (torch.tensor(v, device=device)[:, None, None] for v in (source, target))
    i = torch.arange(max(target), device=device)[None, :, None]
    j = torch.arange(-2, columns + 2, device=device)[None, None, :]
    if mode == "area":
        w = ((j >= i * n // m) & (j < -(-(i + 1) * n // m))).float()
    else:
        stretch = (n / m).clamp_min(1) if antialias else 1
        distance = ((j - ((i + 0.5) * (n / m) - 0.5)) / stretch).abs()
        w = _cubic(distance, -0.5 if antialias else -0.75) if mode == "bicubic" else (1 - distance).clamp_min(0)
        if antialias:
            w = w * ((j >= 0) & (j < n))
    w = w * (i < m) / w.sum(-1, keepdim=True).where(i < m, 1)
    folded = w.new_zeros(len(source), max(target), columns)
    return folded.scatter_add_(2, torch.minimum(j.clamp_min(0), n - 1).expand(w.shape), w)


def _cubic(t: Tensor, a: float) -> Tensor:
    """Return the cubic convolution kernel (Keys 1981) at distance t >= 0."""
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = ((a * t - 5 * a) * t + 8 * a) * t - 4 * a
    return torch.where(t <= 1, near, torch.where(t < 2, far, 0))
