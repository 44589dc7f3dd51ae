"""The paper's networks on a CPU, ours against the method written down plainly: python benchmarks/paper_size.py

Same random weights, same noise, float32. Every measurement has a process of its own, whose peak memory is watched from
outside; ours and the plain one take turns. Each also times a fixed workload (one pass of the plain trunk at 64 x 64)
before and after, so that a machine that is busy with something else shows; the time of the cores is told as well,
which a busy machine hardly changes (set OMP_WAIT_POLICY=PASSIVE, or waiting counts too).

Outputs are compared where both compute on the same pixels: at multiples of 64, and elsewhere with the plain one's
padding switched off (--compare: one more run). --tiny takes narrow networks, to try it out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from paper_parts import make
from plain import STRIDE, TILE, PlainPipeline, released_pixels, trunk

from lpnsr.checkpoints import ModelSpec
from lpnsr.diffusion import NoiseField, Schedule
from lpnsr.system.machine import machine_of
from lpnsr.upscaling.memory import bytes_per_pixel, usual_tile
from lpnsr.upscaling.planning import plan_model_tiles
from lpnsr.upscaling.restorer import Restorer
from lpnsr.upscaling.upscaler import Upscaler

NAMES = ("autoencoder", "denoiser", "noise_predictor", "upsampler")
BARS = {"64x64": 1.3, "100x75": 4.0}


def load(tiny: bool) -> dict[str, Any]:
    return {name: make(name, tiny) for name in NAMES}


def upscaler(parts: dict[str, Any]) -> Upscaler:
    spec = ModelSpec(name="paper", licence="none", parts={name: name for name in parts})
    return Upscaler(spec, Restorer(Schedule.geometric(), **parts), "cpu", "float32")


def plain(parts: dict[str, Any], multiple: int = 64) -> PlainPipeline:
    tensors = {name: parts[name].state_dict() for name in NAMES if name != "upsampler"}
    return PlainPipeline(tensors, parts["upsampler"], multiple)


@torch.inference_mode()
def calibrate(parts: dict[str, Any]) -> float:
    weights = parts["denoiser"].state_dict()
    x = torch.zeros(1, 6, 64, 64)
    begun = time.perf_counter()
    trunk(weights, x, 0)
    return time.perf_counter() - begun


def measure(kind: str, width: int, height: int, tiny: bool, out: Path) -> None:
    """In a process of its own: run once, print the times, save the image."""
    parts = load(tiny)
    lr = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    run: Callable[[torch.Tensor], torch.Tensor]
    if kind == "ours":
        run = partial(upscaler(parts), colour_fix="none")
    else:
        run = partial(plain(parts, 64 if kind == "plain" else 1), draw=NoiseField(0).draw())
    run(lr[..., :16, :16].contiguous())  # what is done once only
    before = calibrate(parts)
    begun, cpu = time.perf_counter(), time.process_time()
    sr = run(lr)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    torch.save(sr, out)
    print(json.dumps({"seconds": seconds, "cpu": cpu, "calibration": min(before, calibrate(parts))}))


def child(arguments: argparse.Namespace, kind: str, size: str, out: Path) -> dict[str, float]:
    """``measure`` in a new process; with its peak memory in bytes."""
    command = [sys.executable, __file__, "--measure", kind, "--size", size, "--threads", str(arguments.threads)]
    command += ["--out", str(out)] + (["--tiny"] if arguments.tiny else [])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        peak = max([peak, *(int(li.split()[1]) * 1024 for li in status.splitlines() if li.startswith("VmHWM"))])
        time.sleep(0.05)
    text, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{kind} at {size}: exit code {process.returncode}")
    return json.loads(text.splitlines()[-1]) | {"peak": peak}


def deviation(found: torch.Tensor, expected: torch.Tensor) -> str:
    error = (found - expected).square().mean()
    psnr = f"{float(-10 * torch.log10(error)):.1f} dB" if error else "equal"
    return f"PSNR {psnr}, largest difference {float((found - expected).abs().max()):.1e}"


def compare(arguments: argparse.Namespace, size: str, folder: Path) -> dict[str, Any]:
    width, height = map(int, size.split("x"))
    runs: dict[str, list[dict[str, float]]] = {"ours": [], "plain": []}
    for _ in range(arguments.repetitions):
        for kind, done in runs.items():
            done.append(child(arguments, kind, size, folder / kind))
    best = {kind: min(done, key=lambda run: run["seconds"]) for kind, done in runs.items()}
    same = "plain"
    if (width % 64 or height % 64) and arguments.compare:
        same = "unpadded"
        child(arguments, same, size, folder / same)
    found, expected = torch.load(folder / "ours"), torch.load(folder / same)
    ratio, cpu = (best["plain"][unit] / best["ours"][unit] for unit in ("seconds", "cpu"))
    bar = f" (bar: {BARS[size]})" if size in BARS else ""
    print(f"{size}: {ratio:.2f} times faster{bar}, with {cpu:.2f} times less of the processor")
    for kind, run in best.items():
        in_units = f"{run['seconds'] / run['calibration']:.1f} trunk passes"
        used = f"{run['cpu']:.1f} s of cores, peak {run['peak'] / 1e9:.2f} GB"
        print(f"  {kind:6s} {run['seconds']:7.2f} s = {in_units}, {used}")
    whole = same == "unpadded" or not (width % 64 or height % 64)
    note = "" if whole else " (the plain one also sees its padding)"
    print(f"  ours and {same}: {deviation(found, expected)}{note}", flush=True)
    return {"size": size, "ratio": ratio, "cpu_ratio": cpu, "runs": runs, "deviation": deviation(found, expected)}


def pixels(arguments: argparse.Namespace, width: int, height: int) -> dict[str, float]:
    """Computed over own pixels of a width x height image."""
    up = upscaler(load(arguments.tiny))
    tile = usual_tile(bytes_per_pixel(up.restorer))
    plan = plan_model_tiles(height, width, tile, up.spec.inference)
    ours = plan.pixels / (width * height)
    released = released_pixels(height, width) / (width * height)
    print(f"{width}x{height}: computes {ours:.2f} times its pixels in tiles of {plan.columns.size}x{plan.rows.size}")
    print(f"  released tiling ({TILE} px at stride {STRIDE}): {released:.2f}")
    return {"ours": ours, "released": released}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="LR width x height; default 64x64 and 100x75")
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--json", type=Path, help="also write the results there")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = arguments.size or ["64x64", "100x75"]
    if arguments.measure:
        width, height = map(int, sizes[0].split("x"))
        measure(arguments.measure, width, height, arguments.tiny, arguments.out)
        return
    print(machine_of(torch.device("cpu")))
    with tempfile.TemporaryDirectory() as folder:
        results = [compare(arguments, size, Path(folder)) for size in sizes]
    tiling = pixels(arguments, 1280, 720)
    if arguments.json:
        machine = machine_of(torch.device("cpu"))
        arguments.json.write_text(json.dumps({"machine": machine, "sizes": results, "720p": tiling}, indent=1))


if __name__ == "__main__":
    main()
