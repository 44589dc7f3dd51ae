"""Options of a job; names and sizes of files as clients see them."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field, field_validator

from lpnsr.apps.limits import Limits as Limits
from lpnsr.imaging import FORMATS
from lpnsr.upscaling.options import Options, Quality

FormatName = Literal["png", "jpeg", "webp", "tiff", "avif"]


class JobOptions(Options):
    """The options of an image, its model and the result's file.

    Tiles are the model's own, so that nobody can ask for more memory than there is.
    """

    model: Annotated[str | None, Field(description="Model. Default: the first that is served.")] = None
    tile: Literal["auto"] = "auto"
    format: Annotated[FormatName, Field(description="Format of the result.")] = "png"
    quality: Quality = None

    @field_validator("format", mode="before")
    @classmethod
    def _by_extension(cls, value: object) -> object:
        return {"jpg": "jpeg", "tif": "tiff"}.get(value.lower(), value.lower()) if isinstance(value, str) else value

    @field_validator("format")
    @classmethod
    def _is_here(cls, value: FormatName) -> FormatName:
        if value.upper() not in FORMATS:
            raise ValueError("this installation of Pillow cannot write it")
        return value

    @property
    def extension(self) -> str:
        """Of the result's file, with its dot."""
        return FORMATS[self.format.upper()].extensions[0]

    def of_image(self) -> Options:
        """The options of the image alone."""
        return Options(**self.model_dump(include=set(Options.model_fields)))


def mebibytes(count: int) -> str:
    """Format a limit or file size for a message."""
    return f"{count / 2**20:.3g} MiB" if count >= 2**20 else f"{count / 2**10:.3g} KiB"


def clean_name(name: str, fallback: str = "image") -> str:
    """A file name out of what somebody says that a file is called: no folders, nothing unprintable, not too long."""
    last = PurePath(name.replace("\\", "/")).name
    kept = "".join(c for c in last if c.isprintable() and c not in '<>:"/|?*').strip(". ")
    return kept[-120:] or fallback
