"""Ten minutes of training on your own photographs: python train_on_own_photos.py photos --out runs/mine

The pre-upsampler of lite, which decides most of the picture, goes on learning from them; ten_minutes.yaml says how. The
same call again goes on for another ten minutes. Then both models are compared on crops of photographs that were held
back, one in twelve. A hundred photographs of one kind are a good start. pip install 'lpnsr[train]'
"""

import argparse
import logging
from pathlib import Path

import numpy as np

from lpnsr.evaluation.run import EvaluationRequest, evaluate
from lpnsr.imaging import Photo, from_unit, write
from lpnsr.training.data.pairs import validation_pairs
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
    held_back = validation_pairs(out / "pool")
    for kind, images in zip(("hr", "lr"), held_back, strict=True):
        (out / kind).mkdir(exist_ok=True)
        for number, image in enumerate(images):
            write(Photo(from_unit(image.permute(1, 2, 0).numpy(), np.uint8)), out / kind / f"{number}.png")
    if len(held_back[0]):
        models = {"lite": "lite", "mine": str(model)}
        evaluate(
            EvaluationRequest(out / "report", models=models, hr=out / "hr", lr=out / "lr", metrics=("psnr", "lpips"))
        )
        print((out / "report" / "report.md").read_text(encoding="utf-8"))


if __name__ == "__main__":  # the processes that degrade the photographs import this file again
    main()
