"""A folder of photographs, with a log, skipping what is done: python batch_folder.py photos --out upscaled

The command does this too: lpnsr upscale photos -o upscaled --skip-existing. Here is where to put in steps of your own.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

from lpnsr import Upscaler
from lpnsr.errors import LpnsrError
from lpnsr.imaging import EXTENSIONS

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=Path)
parser.add_argument("--out", type=Path, default=Path("upscaled"))
parser.add_argument("--steps", type=int, default=None)
arguments = parser.parse_args()

photos = sorted(path for path in arguments.folder.iterdir() if path.suffix.lower() in EXTENSIONS)
arguments.out.mkdir(parents=True, exist_ok=True)
up = Upscaler.from_pretrained("base")
failed = 0
with (arguments.out / "log.csv").open("a", newline="", encoding="utf-8") as file:
    log = csv.writer(file)
    for photo in photos:
        target = arguments.out / f"{photo.stem}_x4.png"
        if target.exists():  # a result is complete or not there: what is there is done
            continue
        started = time.monotonic()
        try:
            up.upscale_file(photo, target, steps=arguments.steps)
            log.writerow([photo.name, "done", f"{time.monotonic() - started:.1f} s"])
        except LpnsrError as error:  # one bad file does not stop the others
            failed += 1
            log.writerow([photo.name, "failed", error])
        file.flush()
sys.exit(f"{failed} failed: see {arguments.out / 'log.csv'}" if failed else 0)
