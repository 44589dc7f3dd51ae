"""Everything that waits for an NVIDIA GPU, in two runs of under eight minutes each.

    python benchmarks/gpu_all.py --rehearse --data PHOTOS                  # on a processor, tiny: minutes
    python benchmarks/gpu_all.py measure -o OUT                            # benchmarks, then the tests marked cuda
    python benchmarks/gpu_all.py train --data PHOTOS -o OUT                # both models go on, from the bundled ones

Every part has a limit of minutes and leaves what it has reached: OUT/PART.log, and of training a run that
``lpnsr train`` continues. A table at the end has the seconds of each part and its limit on the GPU.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
RECIPE = "extends: {model}\ndata: {{pool: {pool}}}\nstages: {{{stage}: {{steps: {steps}, warmup: 2}}}}\n"


@dataclass(frozen=True)
class Part:
    name: str
    words: list[str]
    minutes: float  # limit on the GPU
    group: str


def measurements(rehearse: bool) -> list[Part]:
    bench = ["benchmarks/gpu.py", "--minutes", "4"]
    if rehearse:
        bench += ["--device", "cpu", "--sizes", "32", "--tile", "32", "--models", "lite", "tiny"]
    tests = ["-m", "pytest", "-m", "cuda", "-rs", "tests/upscaling/test_cuda.py", "tests/training/test_cuda.py"]
    return [Part("benchmarks", bench, 4.5, "measure"), Part("tests", tests, 2, "measure")]


def trainings(rehearse: bool, photos: list[Path], out: Path) -> list[Part]:
    stages = [("lite", "upsampler", 3.5), ("base", "noise-predictor", 3)]
    if rehearse:
        size = {"pool": 16, "steps": 3}
        device = ["--device", "cpu", "--workers", "2"]
    else:
        size = {"pool": 3000, "steps": 3600}  # an hour on two cores
        device = ["--device", "cuda", "--workers", "14"]
    parts = []
    for model, stage, minutes in stages:
        recipe = out / f"{model}.yaml"
        recipe.write_text(RECIPE.format(model=model, stage=stage, **size))
        words = ["-m", "lpnsr", "train", stage, "--recipe", str(recipe), "--begin-with", model, "-o", str(out / model)]
        words += [word for folder in photos for word in ("--data", str(folder))]
        parts.append(Part(f"{model}, {stage}", [*words, *device, "--minutes", str(minutes)], minutes + 0.5, "train"))
    return parts


def run(part: Part, out: Path, rehearse: bool) -> tuple[float, int | None]:
    """Seconds that a part took, and its exit code, None where its limit ended it."""
    environment = os.environ | ({"LPNSR_TEST_DEVICE": "cpu", "OMP_WAIT_POLICY": "PASSIVE"} if rehearse else {})
    begun = time.perf_counter()
    with (out / f"{part.name.replace(', ', '-')}.log").open("w") as log:
        try:
            done = subprocess.run(
                [sys.executable, *part.words], cwd=REPOSITORY, env=environment, stdout=log, stderr=subprocess.STDOUT,
                timeout=None if rehearse else part.minutes * 60, check=False,
            )  # fmt: skip
            code: int | None = done.returncode
        except subprocess.TimeoutExpired:
            code = None
    return time.perf_counter() - begun, code


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", nargs="?", choices=("measure", "train"), help="by default both")
    parser.add_argument("--data", type=Path, action="append", default=[], help="folder of photographs to train with")
    parser.add_argument("-o", "--out", type=Path, help="folder for logs and runs; by default one that is told")
    parser.add_argument("--rehearse", action="store_true", help="on the processor, with tiny sizes")
    arguments = parser.parse_args()
    if arguments.group != "measure" and not arguments.data:
        parser.error("training needs --data PHOTOS")
    out = arguments.out or Path(tempfile.mkdtemp(prefix="lpnsr-gpu-"))
    out.mkdir(parents=True, exist_ok=True)
    photos = [folder.resolve() for folder in arguments.data]
    parts = [*measurements(arguments.rehearse), *trainings(arguments.rehearse, photos, out.resolve())]
    rows = []
    for part in parts:
        if arguments.group in (None, part.group):
            print(f"{part.name} ...", flush=True)
            rows.append((part, *run(part, out, arguments.rehearse)))
    print(f"\nlogs and runs: {out}\n{'part':24}{'seconds':>8}  limit on the GPU, s  ended with")
    for part, seconds, code in rows:
        print(f"{part.name:24}{seconds:8.0f}{part.minutes * 60:21.0f}  {'its limit' if code is None else code}")
    return int(any(code not in (0, None) for _, _, code in rows))


if __name__ == "__main__":
    sys.exit(main())
