"""Speed of a model: time, pixels, memory and arithmetic of whole calls of an ``Upscaler``."""

from __future__ import annotations

import statistics
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lpnsr.evaluation.roofline import Counter, Roofline, Work, synchronize
from lpnsr.system.memory import peak_memory
from lpnsr.upscaling.upscaler import Upscaler


@dataclass(frozen=True)
class Speed:
    """Measurements at one size. seconds: of every call. peak: bytes, None where the system does not tell."""

    width: int
    height: int
    seconds: tuple[float, ...]
    work: Work
    peak: int | None

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def summary(self, roofline: Roofline) -> dict[str, object]:
        """Return the figures for JSON."""
        return {
            "width": self.width,
            "height": self.height,
            "seconds": self.median,
            "fastest": min(self.seconds),
            "slowest": max(self.seconds),
            "repetitions": len(self.seconds),
            "lr_megapixels_per_second": self.width * self.height / 1e6 / self.median,
            "gflop": self.work.flop / 1e9,
            "gflop_per_second": self.work.flop / 1e9 / self.median,
            "share_of_roofline": roofline.seconds(self.work) / self.median,
            "peak_bytes": self.peak,
        }


def picture(width: int, height: int) -> Tensor:
    """Return an image in [0, 1], (3, height, width), always the same: smooth shapes under noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0]
    return smooth.lerp(torch.rand(3, height, width, generator=generator), 0.1).clamp(0, 1)


def measure(
    up: Upscaler, width: int, height: int, repetitions: int, *, counted: Upscaler | None = None, **options: Any
) -> Speed:
    """Upscale a width x height image ``repetitions`` times with the colour fix, after one call to warm up.

    The arithmetic is that of the first call, of ``counted`` where it is given: the same model in PyTorch.
    """
    image = picture(width, height)
    counted = counted or up
    counted(picture(16, 16), **options)  # what is measured once for all images is no part of the work
    with Counter() as counter:
        counted(image, **options)
    if counted is not up:
        up(image, **options)
    _forget_peak(up.device)
    seconds = []
    for _ in range(repetitions):
        synchronize(up.device)
        begun = time.perf_counter()
        up(image, **options)
        synchronize(up.device)
        seconds.append(time.perf_counter() - begun)
    return Speed(width, height, tuple(seconds), counter.work, peak_memory(up.device))


def _forget_peak(device: torch.device) -> None:
    """Reset the peak of memory, where the system can (Linux, CUDA)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
