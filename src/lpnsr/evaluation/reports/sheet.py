"""A contact sheet of an evaluation for documents: crops at 300%, a row for each picture, a column for each method."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

from PIL import Image, ImageDraw

from lpnsr.evaluation.reports.strips import Picture, Strip

_ROWS = 6
_SIDE, _ZOOM = 96, 3  # pixels of a crop, and of a side of one on the sheet
_HEAD, _GAP = 20, 4


def contact_sheet(strips: Sequence[Strip]) -> bytes:
    """Draw the middle of at most six strips as a PNG; no interpolation, the LR image as large as the others."""
    rows = [strips[n * len(strips) // _ROWS] for n in range(_ROWS)] if len(strips) > _ROWS else list(strips)
    labels = list(dict.fromkeys(picture.label for strip in rows for picture in strip.pictures))
    labels.sort(key=lambda label: (label == "HR") - (label == "LR"))
    cell = _SIDE * _ZOOM + _GAP
    sheet = Image.new("RGB", (max(1, len(labels)) * cell - _GAP, _HEAD + max(1, len(rows)) * cell - _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for column, label in enumerate(labels):
        pen.text((column * cell + _GAP, _GAP), label, fill="black")
    for row, strip in enumerate(rows):
        for picture in strip.pictures:
            crop = _middle(picture, strip.box[2])
            sheet.paste(crop, (labels.index(picture.label) * cell, _HEAD + row * cell))
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def _middle(picture: Picture, width: int) -> Image.Image:
    """The middle of a crop, whose strip is ``width`` HR pixels wide, enlarged by repetition."""
    image = Image.open(io.BytesIO(base64.b64decode(picture.uri.partition(",")[2])))
    side = max(1, round(_SIDE * image.width / width))
    left, top = max(0, (image.width - side) // 2), max(0, (image.height - side) // 2)
    part = image.crop((left, top, min(left + side, image.width), min(top + side, image.height)))
    zoom = _ZOOM * width / image.width
    return part.resize((round(part.width * zoom), round(part.height * zoom)), Image.Resampling.NEAREST)
