"""What the Python interface can do, on one photograph: python python_api.py photo.jpg --out results"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from lpnsr import Upscaler, imaging

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("photo", type=Path)
parser.add_argument("--out", type=Path, default=Path("results"))
arguments = parser.parse_args()
arguments.out.mkdir(parents=True, exist_ok=True)

up = Upscaler.from_pretrained("lite")  # on a GPU if there is one; device="cpu" or memory="2G" say otherwise

# A file to a file, by rows: also for images larger than memory. Metadata and 16 bits are kept.
up.upscale_file(arguments.photo, arguments.out / "four_times.png", callback=lambda p: print(f"{p.done} of {p.total}"))

# A PIL image to a PIL image, to a size.
up(Image.open(arguments.photo), max_side=640).save(arguments.out / "to_a_size.webp")

# An array to an array: as faithful as it gets, and as quick as it gets.
pixels = imaging.read(arguments.photo).pixels  # (H, W, 3), uint8 or uint16
faithful = up(pixels, fidelity=1.0)
quick = up(pixels, steps=1)

# Two seeds, and how much they differ.
first, second = (up(pixels, seed=seed).astype(np.int32) for seed in (1, 2))
print(f"mean difference of two seeds: {np.abs(first - second).mean():.2f} levels")

side_by_side = np.concatenate([faithful, quick], axis=1)
imaging.write(imaging.Photo(side_by_side), arguments.out / "faithful_and_quick.png")
