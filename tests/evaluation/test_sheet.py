"""The contact sheet of an evaluation."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from lpnsr.evaluation.pairing import Sample
from lpnsr.evaluation.reports.sheet import contact_sheet
from lpnsr.evaluation.reports.strips import strip_of

COLOURS = {"LR": (200, 30, 30), "ours": (30, 160, 30), "HR": (30, 30, 200)}


def sample(folder: Path, number: int, *, lr: bool = True) -> Sample:
    paths = {}
    for label, colour in COLOURS.items():
        paths[label] = folder / f"{label}-{number}.png"
        side = (64, 48) if label == "LR" else (256, 192)
        Image.new("RGB", side, colour).save(paths[label])
    return Sample(f"{number}", paths["HR"], paths["LR"] if lr else None, {"ours": paths["ours"]})


def test_crops_stand_in_columns_by_their_method(tmp_path: Path) -> None:
    strips = [strip for n in range(9) if (strip := strip_of(sample(tmp_path, n, lr=n != 0)))]
    sheet = Image.open(io.BytesIO(contact_sheet(strips)))
    assert sheet.size == (3 * 292 - 4, 20 + 6 * 292 - 4)  # six rows of crops of 96 px at 300%
    for row in range(6):
        for column, label in enumerate(("LR", "ours", "HR")):
            seen = sheet.getpixel((column * 292 + 144, 20 + row * 292 + 144))
            wanted = (255, 255, 255) if (row, label) == (0, "LR") else COLOURS[label]
            assert max(abs(a - b) for a, b in zip(seen, wanted, strict=True)) < 4, (row, label)
