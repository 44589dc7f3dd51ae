"""How much a result flickers where the scene stands still: python benchmarks/flicker.py

A still clip is one photograph under grain that is new in each frame. Each way of upscaling sees the same frames. The
table has the mean absolute difference between consecutive results, in grey levels of 255, and its ratio to that of
bicubic interpolation, which passes the grain on. ``lpnsr video`` uses one noise field for all frames; beside it stand a
seed for each frame, Gaussian noise, and the pre-upsampler alone (RealESRGAN_x4plus for ``base``).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from lpnsr import Upscaler, imaging

Frame = np.ndarray


def still_clip(photo: Frame, frames: int, grain: float) -> list[Frame]:
    """Frames of ``photo`` (H, W, 3) uint8, with Gaussian grain of this deviation in grey levels."""
    rng = np.random.default_rng(0)
    return [
        np.clip(np.round(photo + rng.normal(0, grain, photo.shape)), 0, 255).astype(np.uint8) for _ in range(frames)
    ]


def flicker(results: list[Frame]) -> float:
    """Mean absolute difference between consecutive frames."""
    return float(np.mean([np.abs(a.astype(float) - b).mean() for a, b in pairwise(results)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photo", type=Path, default=Path("data/val/lr_bicubic"), help="photograph, or a folder")
    parser.add_argument("--photos", type=int, default=4, help="number of photographs of the folder")
    parser.add_argument("--model", action="append", help="default: base and lite")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--grain", type=float, default=3.0, help="deviation of the grain in grey levels")
    given = parser.parse_args()
    paths = sorted(given.photo.glob("*.png"))[: given.photos] if given.photo.is_dir() else [given.photo]
    clips = [still_clip(imaging.rgb8(imaging.read(path)), given.frames, given.grain) for path in paths]

    def measured(upscale: Callable[[Frame, int], Frame]) -> float:
        return float(
            np.mean([flicker([upscale(frame, number) for number, frame in enumerate(clip)]) for clip in clips])
        )

    def bicubic(frame: Frame, _number: int) -> Frame:
        image = Image.fromarray(frame)
        return np.asarray(image.resize((4 * image.width, 4 * image.height), Image.Resampling.BICUBIC))

    least = measured(bicubic)
    print(f"{len(clips)} clips of {given.frames} frames, grain of {given.grain:g} levels")
    print(f"| model | method | grey levels | ratio |\n|---|---|---:|---:|\n| | bicubic | {least:.2f} | 1.00 |")
    for name in given.model or ["base", "lite"]:
        up = Upscaler.from_pretrained(name)
        ways: dict[str, Callable[[Frame, int], Frame]] = {
            "`lpnsr video`: predicted noise, one field": lambda frame, _: up(frame),  # noqa: B023
            "predicted noise, a seed for each frame": lambda frame, number: up(frame, seed=number),  # noqa: B023
            "Gaussian noise, one field": lambda frame, _: up(frame, noise="gaussian"),  # noqa: B023
            "Gaussian noise, a seed for each frame": lambda frame, number: up(frame, noise="gaussian", seed=number),  # noqa: B023
            "pre-upsampler alone": lambda frame, _: up(frame, steps=0),  # noqa: B023
        }
        for words, upscale in ways.items():
            value = measured(upscale)
            print(f"| `{name}` | {words} | {value:.2f} | {value / least:.2f} |", flush=True)


if __name__ == "__main__":
    main()
