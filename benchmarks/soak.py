"""Memory of a long batch: python benchmarks/soak.py

``lpnsr upscale`` works off a folder of many small images of mixed sizes in one process. Printed is its resident memory
(/proc, so Linux alone) by the number of finished images, and the growth over the second half, which should be none.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

POINTS = 10  # lines of the table


def make_images(source: Path, folder: Path, count: int) -> None:
    """Cut ``count`` pieces of 24 to 64 pixels a side out of the photographs in ``source``."""
    rng = np.random.default_rng(0)
    photos = [Image.open(path).convert("RGB") for path in sorted(source.glob("*.png"))]
    for number in range(count):
        photo = photos[number % len(photos)]
        width, height = (int(side) for side in rng.integers(24, 65, 2))
        left, top = int(rng.integers(0, photo.width - width)), int(rng.integers(0, photo.height - height))
        photo.crop((left, top, left + width, top + height)).save(folder / f"{number:05}.png")


def resident(pid: int) -> int:
    """MiB that a process holds; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS:")), 0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=Path("data/val/lr_real"), help="folder of PNG photographs")
    parser.add_argument("--model", default="lite")
    parser.add_argument("--images", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        inputs, outputs = Path(work, "in"), Path(work, "out")
        inputs.mkdir()
        outputs.mkdir()
        make_images(given.photos, inputs, given.images)
        began = time.monotonic()
        command = [sys.executable, "-m", "lpnsr", "upscale", inputs, "-o", outputs, "-n", given.model, "-q"]
        process = subprocess.Popen(list(map(str, command)))
        seen: list[tuple[int, int]] = []
        while process.poll() is None:
            seen.append((len(list(outputs.glob("*.png"))), resident(process.pid)))
            time.sleep(1)
        seconds = time.monotonic() - began
    seen = [(done, held) for done, held in seen if done and held]
    print(f"{given.images} images with {given.model} in {seconds:.0f} s; exit code {process.returncode}")
    print("| images | MiB |\n|---:|---:|")
    for point in range(1, POINTS + 1):
        done, held = next((each for each in seen if each[0] >= point * given.images // POINTS), seen[-1])
        print(f"| {done} | {held} |")
    half = [held for done, held in seen if done >= given.images // 2]
    print(f"growth over the second half: {max(half) - half[0]} MiB")


if __name__ == "__main__":
    main()
