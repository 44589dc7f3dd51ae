"""The bundled model against a convolutional network of Upscayl Lite's cost: python benchmarks/lite.py

Upscayl Lite is a plain stack of 3x3 convolutions at LR resolution with a pixel shuffle at its end, 2.42 MFLOP a pixel.
Its stand-in here has the same arithmetic and random weights: 64 channels, 34 convolutions, 48 channels out. It runs in
PyTorch and, where ``pip install ncnn`` was done, in ncnn, which is what Upscayl uses, on the CPU. The bundled model is
timed as a user calls it, colour fix and all, in four steps and in one, in every runtime that is installed and in
bfloat16. All take turns, so that a busy machine slows all of them.
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
BARS = {4: 4.0, 1: 1.5}


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


def runtimes() -> list[str]:
    """Those that are installed."""
    packages = {"torch": "torch", "onnx": "onnxruntime", "openvino": "openvino"}
    return [name for name, package in packages.items() if find_spec(package)]


def ours() -> dict[str, Callable[..., Any]]:
    """The bundled model in float32 in every runtime, and in bfloat16, which processors with AMX are fast in."""
    found = {}
    for runtime, dtype in [*((name, "float32") for name in runtimes()), ("torch", "bfloat16")]:
        try:
            up = Upscaler.from_pretrained("lite", device="cpu", dtype=dtype, runtime=runtime)
        except LpnsrError as error:
            print(f"{runtime}: {error}")
            continue
        found[runtime if dtype == "float32" else dtype] = up
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", help="LR width x height; default 192x128 and 512x512")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the results there")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(machine_of(torch.device("cpu")))
    torch.manual_seed(0)
    net = StandIn().eval().requires_grad_(False)
    print(f"stand-in: {net.flop_per_pixel() / 1e6:.2f} MFLOP a pixel")
    runs: dict[str, Callable[[Tensor], Any]] = {"stand-in, PyTorch": lambda lr: net(lr[None])}
    if find_spec("ncnn"):
        with tempfile.TemporaryDirectory() as folder:
            in_ncnn = InNcnn(net, arguments.threads, Path(folder))
        runs["stand-in, ncnn"] = lambda lr: in_ncnn(lr[None])
    for name, up in ours().items():
        for steps in BARS:
            runs[f"lite, {steps} steps, {name}"] = lambda lr, up=up, steps=steps: up(lr, steps=steps)  # type: ignore[misc]
    results = [compare(runs, size, arguments.repetitions) for size in arguments.size or ["192x128", "512x512"]]
    if arguments.json:
        content = {"machine": machine_of(torch.device("cpu")), "sizes": results}
        arguments.json.write_text(json.dumps(content, indent=1))


@torch.inference_mode()
def compare(runs: dict[str, Callable[[Tensor], Any]], size: str, repetitions: int) -> dict[str, Any]:
    width, height = map(int, size.split("x"))
    lr = picture(width, height)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repetitions + 1):
        for name, run in runs.items():
            begun = time.perf_counter()
            run(lr)
            if turn:  # the first one warms up
                times[name].append(time.perf_counter() - begun)
    base = next(name for name in ("stand-in, ncnn", "stand-in, PyTorch") if name in runs)
    print(f"{size}: fastest, median; by the fastest, times of {base}")
    for name, done in times.items():
        bar = next((f", bar {bar}" for steps, bar in BARS.items() if name.startswith(f"lite, {steps} ")), "")
        ratio = min(done) / min(times[base])
        print(f"  {name:26s} {min(done):7.3f} s, {statistics.median(done):7.3f} s, {ratio:5.2f} times{bar}")
    if "stand-in, ncnn" in runs:
        first, second = runs["stand-in, ncnn"](lr), runs["stand-in, PyTorch"](lr)
        print(f"  the two stand-ins differ by at most {float((first - second).abs().max()):.1e}", flush=True)
    return {"size": size, "base": base, "seconds": times}


if __name__ == "__main__":
    main()
