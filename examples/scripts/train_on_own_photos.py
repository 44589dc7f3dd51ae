"""Ten minutes of training on your own photographs: python train_on_own_photos.py photos --out runs/mine

The pre-upsampler of lite, which decides most of the picture, goes on learning from them; ten_minutes.yaml says how. The
same call again goes on for another ten minutes. Then both models are compared on crops of photographs that were held
back, one in ten. A hundred photographs of one kind are a good start. pip install 'lpnsr[train]'
"""

import argparse
import logging
from pathlib import Path

import numpy as np

from lpnsr.evaluation.run import Request, evaluate
from lpnsr.imaging import Photo, write
from lpnsr.training.runs import Run, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/mine"))
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--recipe", default=str(Path(__file__).with_name("ten_minutes.yaml")))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    run = Run(arguments.out, arguments.recipe, (arguments.photos,), begin_with="lite", minutes=arguments.minutes)
    train("upsampler", run)
    if not (arguments.out / "upsampler").is_dir():
        raise SystemExit("The minutes ended while photographs were degraded. The same call goes on with that.")
    train("export", run)  # the parts that were not trained are those of lite
    model = arguments.out / "model"
    print(f"The model is in {model}; use it with: lpnsr upscale photo.jpg -o photo_x4.png --model {model}")
    compare(arguments.out, model)


def compare(out: Path, model: Path) -> None:
    """Score lite and the new model on the crops that were held back, if there were photographs enough to hold any."""
    held_back = np.load(out / "pool" / "validation.npz")
    for kind in ("hr", "lr"):
        (out / kind).mkdir(exist_ok=True)
        for number, pixels in enumerate(held_back[kind]):
            write(Photo(pixels), out / kind / f"{number}.png")
    if len(held_back["hr"]):
        models = {"lite": "lite", "mine": str(model)}
        evaluate(Request(out / "report", models=models, hr=out / "hr", lr=out / "lr", metrics=("psnr", "lpips")))
        print((out / "report" / "report.md").read_text(encoding="utf-8"))


if __name__ == "__main__":  # the processes that degrade the photographs import this file again
    main()
