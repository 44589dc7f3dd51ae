"""Files in memory, straight from the encoders."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from lpnsr.imaging import Photo, PhotoRows
from lpnsr.imaging.codecs.encoders import write_png, write_tiff

__all__ = ["encoded", "photo_of", "write_png", "write_tiff"]


def photo_of(samples: np.ndarray) -> Photo:
    """(H, W, 1..4) -> a photo; the second or fourth channel is alpha."""
    transparent = samples.shape[2] % 2 == 0
    return Photo(samples[..., : samples.shape[2] - transparent], samples[..., -1] if transparent else None)


def encoded(write, samples: np.ndarray, exif: Image.Exif | None = None, rows: int | None = None, **fields) -> bytes:
    """What ``write`` makes of ``samples`` in strips of ``rows``."""
    out = io.BytesIO()
    write(replace(PhotoRows.of(photo_of(samples), rows), **fields), exif, out)
    return out.getvalue()
