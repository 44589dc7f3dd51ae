"""``Roofline``: the measured limits of a machine. ``Work``: the demands of a computation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import conv_flop_count, flop_registry

_BYTES = 256 << 20
_TRIES = 5


@dataclass(frozen=True)
class Roofline:
    """flops: the best of a large matrix product and a 3x3 convolution, FLOP/s. bandwidth: of a copy, bytes/s."""

    flops: float
    bandwidth: float

    def seconds(self, work: Work) -> float:
        """Return the least time for ``work``: of each operation its arithmetic's or its memory's, whichever is more."""
        return sum(max(flop / self.flops, size / self.bandwidth) for flop, size in work.operations)


@dataclass(frozen=True)
class Work:
    """(FLOP, bytes read and written) of every convolution, matrix product and attention; two FLOP a multiply-add."""

    operations: tuple[tuple[int, int], ...]

    @property
    def flop(self) -> int:
        return sum(flop for flop, _ in self.operations)


class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that collects the operations within it in ``work``. Winograd's method counts as the direct sum."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._operations: list[tuple[int, int]] = []

    @property
    def work(self) -> Work:
        return Work(tuple(self._operations))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._overloadpacket
        if name not in flop_registry:
            with self:  # under inference mode, what is made of other operations arrives whole
                out = func.decompose(*args, **kwargs)
            if out is not NotImplemented:
                return out
        out = func(*args, **kwargs)
        flop = 0
        if name.__name__ == "_nnpack_spatial_convolution":
            flop = conv_flop_count(list(args[0].shape), list(args[1].shape), list(out.shape))
        elif name in flop_registry:
            flop = flop_registry[name](*args, **kwargs, out_val=out)
        if flop:
            tensors = (leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, Tensor))
            self._operations.append((int(flop), sum(t.numel() * t.element_size() for t in tensors)))
        return out


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def best_time(run: Callable[[], object], device: torch.device, tries: int = _TRIES) -> float:
    """Return the seconds of the fastest of ``tries`` calls, after one to warm up."""
    run()
    times = []
    for _ in range(tries):
        synchronize(device)
        begun = time.perf_counter()
        run()
        synchronize(device)
        times.append(time.perf_counter() - begun)
    return min(times)


@torch.inference_mode()
def calibrate(device: torch.device, dtype: torch.dtype) -> Roofline:
    """Measure ``device`` in ``dtype``: a few seconds."""
    small = device.type == "cpu"
    side = 1024 if small else 8192
    matrix = torch.randn(side, side, device=device, dtype=dtype)
    product = 2 * side**3 / best_time(lambda: matrix @ matrix, device)
    batch, channels, size = (1, 256, 64) if small else (16, 512, 128)
    x = torch.randn(batch, channels, size, size, device=device, dtype=dtype)
    x = x.contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 3, 3, device=device, dtype=dtype) / channels
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    convolution = 2 * 9 * batch * (channels * size) ** 2 / best_time(lambda: F.conv2d(x, kernel, padding=1), device)
    source = torch.ones(_BYTES // 4, device=device)
    target = torch.empty_like(source)
    return Roofline(max(product, convolution), 2 * _BYTES / best_time(lambda: target.copy_(source), device))
