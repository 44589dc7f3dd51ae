"""JPEG there and back: by OpenCV's encoder, or on the GPU by kornia's codec."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def encode_decode(x: NDArray[np.float32], quality: int) -> NDArray[np.float32]:
    """Code (3, H, W) in [0, 1] as an 8-bit baseline JPEG (4:2:0) of ``quality`` (1..100), and back."""
    pixels = np.ascontiguousarray(np.rint(np.clip(x[::-1], 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))
    _, code = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR))[..., ::-1]
    return np.ascontiguousarray(decoded.transpose(2, 0, 1), np.float32) / np.float32(255)


def codec(x: Tensor, qualities: Sequence[int]) -> Tensor:
    """Apply ``encode_decode`` to (B, 3, H, W), a quality each, on the device of ``x``. Needs kornia.

    Chroma is brought back to full size in another way than libjpeg does it, so that a pixel at a coloured edge can
    differ by several levels; on average it is a fraction of one.
    """
    from kornia.enhance import jpeg_codec_differentiable

    eight_bit = (x.clamp(0, 1) * 255).round() / 255
    with torch.no_grad():
        coded = jpeg_codec_differentiable(eight_bit, x.new_tensor(qualities))
    return (coded.clamp(0, 1) * 255).round() / 255


def has_codec() -> bool:
    """Tell whether kornia is there."""
    return find_spec("kornia") is not None
