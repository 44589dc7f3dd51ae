"""Strips: the same crop of every version of a picture, LR, each method, HR."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lpnsr.errors import ImageReadError
from lpnsr.evaluation.files import read_unit
from lpnsr.evaluation.pairing import Sample

MOST = 60
"""Pictures that a report shows: with more it would not load on a phone."""

_SIDE, _STRIDE = 256, 32


@dataclass(frozen=True)
class Picture:
    """label: LR, a method or HR. uri: the image itself, as a ``data:`` address."""

    label: str
    uri: str


@dataclass(frozen=True)
class Strip:
    """The versions of one sample, and where they were cut (x, y, width, height in HR pixels)."""

    name: str
    box: tuple[int, int, int, int]
    pictures: list[Picture]


def evenly(samples: Sequence[Sample]) -> list[Sample]:
    """Return all samples, or ``MOST`` of them at even distances."""
    if len(samples) <= MOST:
        return list(samples)
    return [samples[n * len(samples) // MOST] for n in range(MOST)]


def strip_of(sample: Sample) -> Strip | None:
    """Cut the place where the versions differ most; None if none can be read. Other sizes are left out."""
    versions = {method: image for method, path in sample.sr.items() if (image := _read(path)) is not None}
    hr = _read(sample.hr)
    if hr is None and not versions:
        return None
    main = hr if hr is not None else next(iter(versions.values()))
    versions = {method: image for method, image in versions.items() if image.shape == main.shape}
    if hr is not None:
        versions["HR"] = hr
    top, left, height, width = _liveliest(torch.stack([image.mean(0) for image in versions.values()]))
    pictures = [
        Picture(label, _encoded(image[:, top : top + height, left : left + width], "JPEG"))
        for label, image in versions.items()
    ]
    lr = _read(sample.lr)
    factor = 0 if lr is None else main.shape[-1] // lr.shape[-1]
    if lr is not None and factor and _STRIDE % factor == 0 and main.shape[-2] == lr.shape[-2] * factor:
        part = lr[:, top // factor :, left // factor :][:, : -(-height // factor), : -(-width // factor)]
        pictures.insert(0, Picture("LR", _encoded(part, "PNG")))
    return Strip(sample.name, (left, top, width, height), pictures)


def _read(path: Path | None) -> Tensor | None:
    with suppress(ImageReadError):
        return None if path is None else read_unit(path)
    return None


def _liveliest(planes: Tensor) -> tuple[int, int, int, int]:
    """Find the window (top, left, height, width) in which (N, H, W) differ most, or one plane has most contrast."""
    height, width = (min(_SIDE, side) for side in planes.shape[1:])
    if len(planes) > 1:
        interest = planes.var(0)[None, None]
    else:
        interest = (planes - F.avg_pool2d(planes, 9, 1, 4, count_include_pad=False)).square()[None]
    means = F.avg_pool2d(interest, (height, width), _STRIDE)[0, 0]
    best = int(means.argmax())
    return best // means.shape[1] * _STRIDE, best % means.shape[1] * _STRIDE, height, width


def _encoded(image: Tensor, kind: str) -> str:
    pixels = (image * 255).round().byte().permute(1, 2, 0).numpy()
    out = io.BytesIO()
    options = {"quality": 90, "subsampling": 0} if kind == "JPEG" else {}
    Image.fromarray(pixels).save(out, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(out.getvalue()).decode()}"
