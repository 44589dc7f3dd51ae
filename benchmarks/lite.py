"""The bundled models against what people use on a CPU today: python benchmarks/lite.py

`lite` is compared with a convolutional network of Upscayl Lite's cost, a plain stack of 3x3 convolutions at LR
resolution with a pixel shuffle at its end, 2.42 MFLOP a pixel. Its stand-in here has the same arithmetic and random
weights: 64 channels, 34 convolutions, 48 channels out. It runs in PyTorch and, where ``pip install ncnn`` was done, in
ncnn, which is what Upscayl uses, on the CPU. `base` (``--model base``) is compared with RealESRGAN_x4plus in ncnn. The
models are timed as a user calls them, colour fix and all: as they are by default, in four steps and in one, and in
float32 in ncnn; with ``--all`` in every runtime that is installed. All take turns, so that a busy machine slows all of
them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr import Upscaler
from lpnsr.errors import LpnsrError
from lpnsr.evaluation.speed import picture
from lpnsr.system.machine import machine_of

CHANNELS, INNER, OUT = 64, 32, 48
BARS = {"lite": {4: 6.5, 1: 4.0}, "base": {4: 1.25}}
UNITS = {"lite": "stand-in, ncnn", "base": "x4plus, ncnn"}


class StandIn(nn.Module):
    """lr (1, 3, h, w) in [0, 1] -> (1, 3, 4h, 4w)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, CHANNELS, 3, padding=1), nn.PReLU(CHANNELS)]
        for _ in range(INNER):
            layers += [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.PReLU(CHANNELS)]
        self.body = nn.Sequential(*layers, nn.Conv2d(CHANNELS, OUT, 3, padding=1))

    def forward(self, lr: Tensor) -> Tensor:
        return F.pixel_shuffle(self.body(lr), 4) + F.interpolate(lr, scale_factor=4.0)

    def flop_per_pixel(self) -> int:
        return sum(2 * 9 * m.in_channels * m.out_channels for m in self.modules() if isinstance(m, nn.Conv2d))


class InNcnn:
    """The stand-in in ncnn, by its text format and raw weights."""

    def __init__(self, net: StandIn, threads: int, folder: Path) -> None:
        import ncnn

        lines, weights, blob = ["Input in 0 1 0"], [], 0
        for layer in net.body:
            if isinstance(layer, nn.Conv2d):
                size = layer.weight.numel()
                parameters = f"0={layer.out_channels} 1=3 4=1 5=1 6={size}"
                lines.append(f"Convolution c{blob} 1 1 {blob} {blob + 1} {parameters}")
                weights += [np.zeros(1, np.uint32), layer.weight.detach().numpy(), layer.bias.detach().numpy()]
            else:
                lines.append(f"PReLU p{blob} 1 1 {blob} {blob + 1} 0={CHANNELS}")
                weights.append(layer.weight.detach().numpy())
            blob += 1
        lines.append(f"PixelShuffle shuffle 1 1 {blob} {blob + 1} 0=4")
        (folder / "net.param").write_text("\n".join(["7767517", f"{len(lines)} {blob + 2}", *lines]) + "\n")
        (folder / "net.bin").write_bytes(b"".join(w.tobytes() for w in weights))
        self.ncnn, self.last = ncnn, str(blob + 1)
        self.net = ncnn.Net()
        self.net.opt.num_threads = threads
        self.net.load_param(str(folder / "net.param"))
        self.net.load_model(str(folder / "net.bin"))

    def __call__(self, lr: Tensor) -> Tensor:
        extractor = self.net.create_extractor()
        extractor.input("0", self.ncnn.Mat(np.ascontiguousarray(lr[0].numpy())))
        _, out = extractor.extract(self.last)
        return torch.from_numpy(np.array(out))[None] + F.interpolate(lr, scale_factor=4.0)


def x4plus() -> Callable[[Tensor], Tensor]:
    """The convolutions of RealESRGAN_x4plus in ncnn, as `base` has them."""
    net: Any = Upscaler.from_pretrained("base", device="cpu", dtype="float32", runtime="ncnn").restorer.upsampler
    return lambda lr: net.enlarge(net.extract(lr[None]))


def ours(model: str, everything: bool) -> dict[str, Callable[..., Any]]:
    """The bundled model as it is by default, and in other runtimes and precisions."""
    found = {}
    others = [("torch", "float32"), ("onnx", "float32"), ("openvino", "float32")] if everything else []
    for runtime, dtype in [("auto", "auto"), ("ncnn", "float32"), *others]:
        try:
            up = Upscaler.from_pretrained(model, device="cpu", dtype=dtype, runtime=runtime)
        except LpnsrError as error:
            print(f"{runtime}: {error}")
            continue
        found[f"{up.runtime}, {str(up.dtype)[6:]}"] = up
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[*BARS], default="lite")
    parser.add_argument("--all", action="store_true", help="time every runtime that is installed")
    parser.add_argument("--size", action="append", help="LR width x height; default 192x128 and 512x512")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the results there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(machine_of(torch.device("cpu")))
    runs: dict[str, Callable[[Tensor], Any]] = {}
    if arguments.model == "base":
        runs[UNITS["base"]] = x4plus()
    else:
        torch.manual_seed(0)
        net = StandIn().eval().requires_grad_(False)
        print(f"stand-in: {net.flop_per_pixel() / 1e6:.2f} MFLOP a pixel")
        runs["stand-in, PyTorch"] = lambda lr: net(lr[None])
        if find_spec("ncnn"):
            with tempfile.TemporaryDirectory() as folder:
                in_ncnn = InNcnn(net, arguments.threads, Path(folder))
            runs[UNITS["lite"]] = lambda lr: in_ncnn(lr[None])
    bars = {}
    for name, up in ours(arguments.model, arguments.all).items():
        for steps, bar in BARS[arguments.model].items():
            run = f"{arguments.model}, {steps} steps, {name}"
            runs[run] = lambda lr, up=up, steps=steps: up(lr, steps=steps)  # type: ignore[misc]
            bars[run] = bar
    unit = next(name for name in (UNITS[arguments.model], *runs) if name in runs)
    sizes = arguments.size or ["192x128", "512x512"]
    results = [compare(runs, bars, unit, size, arguments.repetitions) for size in sizes]
    if arguments.json:
        content = {"machine": machine_of(torch.device("cpu")), "sizes": results}
        arguments.json.write_text(json.dumps(content, indent=1))


@torch.inference_mode()
def compare(
    runs: dict[str, Callable[[Tensor], Any]], bars: dict[str, float], unit: str, size: str, repetitions: int
) -> dict[str, Any]:
    width, height = map(int, size.split("x"))
    lr = picture(width, height)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for run in runs.values():  # the first call is slower, of a small image too
        run(lr[:, :64, :64])
    for _ in range(repetitions):
        for name, run in runs.items():
            begun = time.perf_counter()
            run(lr)
            times[name].append(time.perf_counter() - begun)
    print(f"{size}: fastest, median; by the fastest, times of {unit}")
    for name, done in times.items():
        bar = f", bar {bars[name]}" if name in bars else ""
        ratio = min(done) / min(times[unit])
        print(f"  {name:32s} {min(done):7.3f} s, {statistics.median(done):7.3f} s, {ratio:5.2f} times{bar}", flush=True)
    return {"size": size, "unit": unit, "seconds": times}


if __name__ == "__main__":
    main()
