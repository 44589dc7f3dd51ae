"""Speed of a model: time, pixels, memory and arithmetic of whole calls of an ``Upscaler``."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lpnsr.evaluation.roofline import Counter, Roofline, Work, synchronize
from lpnsr.networks.roles import methods_of
from lpnsr.system.memory import peak_memory
from lpnsr.upscaling.upscaler import Upscaler


@dataclass(frozen=True)
class Speed:
    """Measurements at one size. seconds: of every call. peak: bytes, None where the system does not tell.

    parts: seconds of one call and FLOP, by part and method, such as "autoencoder.decode".
    """

    width: int
    height: int
    seconds: tuple[float, ...]
    work: Work
    peak: int | None
    parts: Mapping[str, tuple[float, float]]

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
            "parts": {
                name: {
                    "seconds": seconds,
                    "gflop": flop / 1e9,
                    "gflop_per_second": flop / 1e9 / seconds,
                    "share_of_peak": flop / seconds / roofline.flops,
                }
                for name, (seconds, flop) in self.parts.items()
            },
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
    counter = Counter()
    with _by_part(counted, lambda: counter.work.flop) as flop, counter:
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
    peak = peak_memory(up.device)
    with _by_part(up, partial(_now, up.device)) as spent:
        up(image, **options)
    parts = {name: (spent[name], flop[name]) for name in spent}
    return Speed(width, height, tuple(seconds), counter.work, peak, parts)


def _now(device: torch.device) -> float:
    synchronize(device)
    return time.perf_counter()


@contextmanager
def _by_part(up: Upscaler, meter: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Sum up by how much ``meter`` rises in the calls of each method of the parts."""
    sums: dict[str, float] = {}

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            before = meter()
            result = call(*arguments)
            sums[name] = sums.get(name, 0) + meter() - before
            return result

        return run

    methods = [(role, net, method) for role, net in up.parts.items() for method in methods_of(role)]
    methods = [each for each in methods if each[2] != "error_scale"]  # of training
    for role, net, method in methods:
        setattr(net, method, watched(f"{role}.{method}", getattr(net, method)))
    try:
        yield sums
    finally:
        for _, net, method in methods:
            delattr(net, method)


def _forget_peak(device: torch.device) -> None:
    """Reset the peak of memory, where the system can (Linux, CUDA)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
