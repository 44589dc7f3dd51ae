"""Crops of 256 px degraded per second, and the share of each step: python benchmarks/degradation.py --processes 2

The crops are synthetic and made beforehand: nothing is decoded.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import cv2
import torch
import torch.nn.functional as F

from lpnsr.degradation import PRESETS, degrade

STEPS = ("blur", "resize", "add_noise", "jpeg")


def crops(count: int) -> torch.Tensor:
    """(count, 3, 256, 256), with edges and with smooth parts."""
    generator = torch.Generator().manual_seed(0)
    coarse, fine = (torch.rand(count, 3, side, side, generator=generator) for side in (8, 64))
    return F.interpolate(coarse, 256, mode="bicubic").lerp(F.interpolate(fine, 256, mode="bicubic"), 0.3).clamp(0, 1)


def timed(step: Callable[..., Any], name: str, spent: dict[str, float]) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        start = time.perf_counter()
        result = step(*arguments)
        spent[name] += time.perf_counter() - start
        return result

    return run


def work(count: int, preset: str, threads: int, first: int) -> tuple[float, float, dict[str, float]]:
    """Degrade ``count`` crops one by one: wall seconds, CPU seconds, seconds in each step."""
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    spent = dict.fromkeys(STEPS, 0.0)
    module = sys.modules[degrade.__module__]
    for name in STEPS:
        setattr(module, name, timed(getattr(module, name), name, spent))
    hr = crops(16)
    degrade(hr, PRESETS[preset], range(16))
    spent.update(dict.fromkeys(STEPS, 0.0))
    start, cpu = time.perf_counter(), time.process_time()
    for seed in range(first, first + count):
        degrade(hr[seed % 16][None], PRESETS[preset], [seed])
    return time.perf_counter() - start, time.process_time() - cpu, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--crops", type=int, default=400)
    parser.add_argument("--preset", choices=PRESETS, default="real")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    args = parser.parse_args()
    each = args.crops // args.processes
    with ProcessPoolExecutor(args.processes, get_context("spawn")) as executor:
        jobs = [executor.submit(work, each, args.preset, args.threads, i * each) for i in range(args.processes)]
        results = [job.result() for job in jobs]
    wall, cpu = max(r[0] for r in results), sum(r[1] for r in results)
    done = each * args.processes
    print(f"{done / wall:.0f} crops/s in {args.processes} processes, {cpu / done * 1e3:.1f} ms of a core each")
    for name in STEPS:
        print(f"  {name:10s} {sum(r[2][name] for r in results) / sum(r[0] for r in results):5.0%}")


if __name__ == "__main__":
    main()
