"""``python -m lpnsr.training STAGE --recipe R --data DIR... --out RUN``: train one stage, or go on with it;
``export`` in the place of a stage writes the four parts as the model folder RUN/model.

A run folder holds a folder a stage, each with ``checkpoint.pt`` and ``log.jsonl``; later stages take their frozen parts
from the earlier ones (their EMA weights).
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from lpnsr.training.data import PairPool, find_images
from lpnsr.training.loop import Budget, Loop
from lpnsr.training.parts import PART_OF, export, load_part
from lpnsr.training.recipe import STAGES, StageName, load_recipe
from lpnsr.training.stages import Stage

_NEEDS: dict[StageName, tuple[StageName, ...]] = {
    "autoencoder": (),
    "upsampler": (),
    "denoiser": ("autoencoder", "upsampler"),
    "noise-predictor": ("autoencoder", "upsampler", "denoiser"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lpnsr.training", description=__doc__.split("\n")[0])
    parser.add_argument("stage", choices=[*STAGES, "export"])
    parser.add_argument("--recipe", default="lite")
    parser.add_argument("--data", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--fp32", action="store_true", help="no bfloat16 autocast")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = load_recipe(options.recipe)
    if options.stage == "export":
        export(recipe, options.out, options.out / "model")
        return
    folder = options.out / options.stage
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.seed)
    frozen = {PART_OF[name]: load_part(recipe, name, options.out) for name in _NEEDS[options.stage]}
    pool = PairPool(find_images(options.data), recipe.data, recipe.seed, options.out / "pool")
    stage = Stage(options.stage, recipe, frozen)
    loop = Loop(stage, pool, folder, recipe.seed, torch.device(options.device), not options.fp32)
    loop.resume()
    loop.run(Budget(minutes=options.minutes))


if __name__ == "__main__":
    main()
