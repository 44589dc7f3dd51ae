"""The settings of a result, inside its file: JSON in the EXIF field ImageHistory, so that it can be made again."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image

from lpnsr import __version__
from lpnsr.upscaling.options import Options

if TYPE_CHECKING:
    from lpnsr.checkpoints import ModelSpec

_HISTORY, _SOFTWARE = int(ExifTags.Base.ImageHistory), int(ExifTags.Base.Software)
_PREFIX = "lpnsr "


def settings_of(spec: ModelSpec, parts: Collection[str], options: Options) -> dict[str, Any]:
    """Return the settings that a result depends on beside its input, with the model's own choices filled in."""
    chosen = options.settled(spec, parts).model_dump(exclude={"tile"}, exclude_none=True)
    return {"model": spec.name, **chosen}


def stamped(exif: bytes | None, settings: dict[str, Any]) -> bytes:
    """``exif`` (a block that starts with ``Exif\\0\\0``, or None) with ``settings`` added to what it says already."""
    block = Image.Exif()
    if exif:
        block.load(exif)
    line = _PREFIX + json.dumps({"version": __version__, **settings})
    earlier = block.get(_HISTORY)
    block[_HISTORY] = f"{earlier.rstrip()}\n{line}" if isinstance(earlier, str) and earlier.strip() else line
    block[_SOFTWARE] = f"lpnsr {__version__}"
    return block.tobytes()


def settings_in(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The settings that the file ``path`` was made with, or None where it does not say."""
    with suppress(Exception), Image.open(path) as image:  # whatever is wrong with a file, it does not say
        for line in reversed(str(image.getexif().get(_HISTORY, "")).splitlines()):
            if line.startswith(_PREFIX):
                found = json.loads(line.removeprefix(_PREFIX))
                return found if isinstance(found, dict) else None
    return None
