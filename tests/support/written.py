"""What goes into files beside pixels, and disks that refuse."""

from __future__ import annotations

import os

from PIL import ExifTags, Image, ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_block() -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.Artist] = "Someone"
    exif[ExifTags.IFD.Exif] = {0x9003: "2020:02:02 02:02:02", 0xA002: 32, 0xA003: 24, 0x829A: 0.008}
    exif[ExifTags.IFD.GPSInfo] = {1: "N", 2: (48.0, 8.0, 14.0)}
    return exif.tobytes()


def failing(number: int):
    def fail(*_args, **_kwargs):
        raise OSError(number, os.strerror(number))

    return fail
