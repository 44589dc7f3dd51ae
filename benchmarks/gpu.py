"""All that is measured on a GPU: python benchmarks/gpu.py

    python benchmarks/gpu.py --device cpu --sizes 32 --tile 32 --models lite tiny   # the same on a processor, to try it

For each model: float32, bfloat16 and float16 at each size (time, the difference of the results, and the time against
the least that the measured rate and bandwidth allow for convolutions and products), channels_last against contiguous
tensors, batches of tiles, the denoiser compiled and in CUDA graphs, whether the chain waits for the device, and a
profile by kernel (--profile FOLDER writes it). What does not fit into --minutes is left out and named.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from paper_parts import make
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from lpnsr import Upscaler
from lpnsr.checkpoints import ModelSpec
from lpnsr.diffusion import NoiseField, Schedule
from lpnsr.evaluation.roofline import Counter, calibrate, synchronize
from lpnsr.evaluation.speed import picture
from lpnsr.system.machine import machine_of
from lpnsr.upscaling.restorer import Restorer

_begun = time.perf_counter()


def paper(device: str, tiny: bool) -> Upscaler:
    names = ("autoencoder", "denoiser", "noise_predictor")  # with a bicubic start: the pre-upsampler is not ours
    parts = {name: make(name, tiny) for name in names}
    spec = ModelSpec(name="paper", licence="none", parts={name: name for name in names})
    return Upscaler(spec, Restorer(Schedule.geometric(), **parts), device)


def seconds(run: Callable[[], object], device: torch.device, least: float = 1.0) -> float:
    """Median of calls for about ``least`` seconds, after two to warm up; measured on the host around a wait."""
    times: list[float] = []
    for _ in range(2):
        run()
    synchronize(device)
    while sum(times) < least or len(times) < 3:
        begun = time.perf_counter()
        run()
        synchronize(device)
        times.append(time.perf_counter() - begun)
    return sorted(times)[len(times) // 2]


def precision(device: torch.device, dtype: torch.dtype) -> Any:
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype)


class Bench:
    def __init__(self, up: Upscaler, sizes: list[int], tile: int, folder: Path | None) -> None:
        self.up, self.device, self.sizes, self.tile, self.folder = up, up.device, sizes, tile, folder

    def say(self, text: str) -> None:
        print(f"[{time.perf_counter() - _begun:4.0f} s] {self.up.spec.name}: {text}", flush=True)

    def lr(self, batch: int, size: int) -> Tensor:
        image = picture(size, size).repeat(batch, 1, 1, 1).to(self.device)
        return image.contiguous(memory_format=torch.channels_last)

    def restore(self, lr: Tensor, dtype: torch.dtype) -> Tensor:
        draw = NoiseField(0).draw([(0, 0)] * len(lr))
        with precision(self.device, dtype):
            return self.up.restorer.restore(lr, draw)

    def precisions(self) -> None:
        dtypes = [torch.float32, torch.bfloat16] + [torch.float16] * (self.device.type == "cuda")
        for dtype in dtypes:
            roof = calibrate(self.device, dtype)
            rates = f"{roof.flops / 1e12:.1f} TFLOP/s and {roof.bandwidth / 1e9:,.0f} GB/s"
            self.say(f"{str(dtype)[6:]}: measured {rates}")
            for size in self.sizes:
                lr = self.lr(1, size)
                exact, found = self.restore(lr, torch.float32).float(), self.restore(lr, dtype).float()
                with Counter() as counter:
                    self.restore(lr, dtype)
                spent = seconds(lambda lr=lr, dtype=dtype: self.restore(lr, dtype), self.device, 0.5)  # type: ignore[misc]
                bound = roof.seconds(counter.work)
                self.say(
                    f"  {size} px: {spent * 1e3:.1f} ms, {counter.work.flop / 1e9 / spent:,.0f} GFLOP/s, "
                    f"{spent / bound:.2f} times the least time; {float((found - exact).abs().mean()) * 255:.2f} levels "
                    "from float32"
                )

    def layouts(self) -> None:
        for name, layout in (("contiguous", torch.contiguous_format), ("channels_last", torch.channels_last)):
            self.up.restorer.to(memory_format=layout)
            lr = self.lr(1, self.tile).contiguous(memory_format=layout)
            spent = seconds(lambda lr=lr: self.restore(lr, self.dtype), self.device, 0.5)  # type: ignore[misc]
            self.say(f"{self.tile} px, {name}: {spent * 1e3:.1f} ms")

    def batches(self) -> None:
        for batch in (1, 2, 4, 8, 16) if self.device.type == "cuda" else (1, 2):
            lr = self.lr(batch, self.tile)
            try:
                spent = seconds(lambda lr=lr: self.restore(lr, self.dtype), self.device, 0.5)  # type: ignore[misc]
            except torch.OutOfMemoryError:
                self.say(f"{batch} tiles of {self.tile} px: out of memory")
                return
            rate = batch * self.tile**2 / 1e6 / spent
            self.say(
                f"{batch:2d} tiles of {self.tile} px at once: {spent * 1e3:.1f} ms, {rate:.2f} LR megapixels a second"
            )

    @property
    def dtype(self) -> torch.dtype:
        return torch.bfloat16 if self.device.type == "cuda" else torch.float32

    def compiled(self) -> None:
        restorer, lr = self.up.restorer, self.lr(1, self.tile)
        _, guide = restorer.start(lr)
        y0, condition = guide.y0, restorer.denoiser.condition(guide)
        step = torch.zeros(1, dtype=torch.long, device=self.device)
        variants: dict[str, Any] = {"eager": restorer.denoiser}
        backend = "inductor" if self.device.type == "cuda" else "aot_eager"  # which needs no minutes
        variants[f"torch.compile, {backend}"] = torch.compile(restorer.denoiser, dynamic=False, backend=backend)
        if self.device.type == "cuda":
            variants["torch.compile, CUDA graphs"] = torch.compile(
                restorer.denoiser, dynamic=False, mode="reduce-overhead"
            )
        with precision(self.device, self.dtype):
            for name, net in variants.items():
                begun = time.perf_counter()
                net(y0, step, condition)
                synchronize(self.device)
                first = time.perf_counter() - begun
                spent = seconds(lambda net=net: net(y0, step, condition), self.device, 0.5)  # type: ignore[misc]
                self.say(f"denoiser at {self.tile} px, {name}: {spent * 1e3:.2f} ms; {first:.1f} s for the first call")

    def waits(self) -> None:
        """Fails if the chain waits for the device."""
        if self.device.type != "cuda":
            return self.say("waiting for the device can only be seen on a GPU")
        restorer, lr = self.up.restorer, self.lr(1, self.tile)
        with precision(self.device, self.dtype):
            _, guide = restorer.start(lr)
            noise = {step: torch.randn_like(guide.y0) for step in range(restorer.schedule.steps + 1)}
            restorer.sample(guide, lambda step, shape: noise[step])
            torch.cuda.set_sync_debug_mode("error")
            try:
                restorer.sample(guide, lambda step, shape: noise[step])
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return self.say("the chain does not wait for the device")

    def profiled(self) -> None:
        lr = self.lr(1, self.sizes[-1])
        activities = [ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        with profile(activities=activities) as record:
            self.restore(lr, self.dtype)
            synchronize(self.device)
        key = f"self_{self.device.type}_time_total"
        table = record.key_averages().table(sort_by=key, row_limit=25, max_name_column_width=60)
        if self.folder is None:
            print(table, flush=True)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"profile-{self.up.spec.name}.txt").write_text(table)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 256, 512])
    parser.add_argument("--tile", type=int, default=128, help="side of the tiles that are put into batches")
    models = ("lite", "base", "paper", "tiny")
    parser.add_argument("--models", nargs="+", choices=models, default=models[:3])
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--profile", type=Path, help="folder for the profiles")
    arguments = parser.parse_args()
    print(machine_of(torch.device(arguments.device)))
    for number, name in enumerate(arguments.models, 1):
        if name in ("paper", "tiny"):
            up = paper(arguments.device, name == "tiny")
        else:
            up = Upscaler.from_pretrained(name, device=arguments.device)
        bench = Bench(up, arguments.sizes, arguments.tile, arguments.profile)
        end = arguments.minutes * 60 * number / len(arguments.models)
        for part in (bench.precisions, bench.layouts, bench.batches, bench.waits, bench.profiled, bench.compiled):
            if time.perf_counter() - _begun > end - 30 * (arguments.device == "cuda"):
                bench.say(f"no time is left for {part.__name__}")
                continue
            part()


if __name__ == "__main__":
    main()
