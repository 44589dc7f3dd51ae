"""Images: files <-> arrays with all that travels along, resampling, colour fixes, tiles.

Knows no network and no model. Reading and writing do without torch; what needs it is imported at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lpnsr.imaging.codecs.formats import EXTENSIONS, FORMATS, READABLE, check_size, format_of
from lpnsr.imaging.names import images_below, left_out, name_key
from lpnsr.imaging.opening import open_rows
from lpnsr.imaging.photo import Photo, from_unit, to_unit
from lpnsr.imaging.pil import from_pil, to_pil
from lpnsr.imaging.reading import DEFAULT_MAX_PIXELS_OF_ROWS, max_pixels_allowed, read
from lpnsr.imaging.row_writer import RowWriter
from lpnsr.imaging.rows import PhotoRows, rows_at_once
from lpnsr.imaging.writing import eight_bit, encoding_bytes, flatten, rgb8, write, write_rows

if TYPE_CHECKING:
    from lpnsr.imaging.alpha import fill_strips, fill_transparent
    from lpnsr.imaging.colour import ChannelSums, adain_colour_fix, adain_fix, wavelet_colour_fix, wavelet_strips
    from lpnsr.imaging.resampling import output_size, resize, resize_strips
    from lpnsr.imaging.tiles import Blender, InMemory, Tile, TilePlan, plan_tiles
    from lpnsr.imaging.window import Window

__all__ = [
    "DEFAULT_MAX_PIXELS_OF_ROWS",
    "EXTENSIONS",
    "FORMATS",
    "READABLE",
    "Blender",
    "ChannelSums",
    "InMemory",
    "Photo",
    "PhotoRows",
    "RowWriter",
    "Tile",
    "TilePlan",
    "Window",
    "adain_colour_fix",
    "adain_fix",
    "check_size",
    "eight_bit",
    "encoding_bytes",
    "fill_strips",
    "fill_transparent",
    "flatten",
    "format_of",
    "from_pil",
    "from_unit",
    "images_below",
    "left_out",
    "max_pixels_allowed",
    "name_key",
    "open_rows",
    "output_size",
    "plan_tiles",
    "read",
    "resize",
    "resize_strips",
    "rgb8",
    "rows_at_once",
    "to_pil",
    "to_unit",
    "wavelet_colour_fix",
    "wavelet_strips",
    "write",
    "write_rows",
]

_NEED_TORCH = {
    "alpha": ("fill_strips", "fill_transparent"),
    "colour": ("ChannelSums", "adain_colour_fix", "adain_fix", "wavelet_colour_fix", "wavelet_strips"),
    "resampling": ("output_size", "resize", "resize_strips"),
    "tiles": ("Blender", "InMemory", "Tile", "TilePlan", "plan_tiles"),
    "window": ("Window",),
}


def __getattr__(name: str) -> Any:
    for module, names in _NEED_TORCH.items():
        if name in names:
            return getattr(import_module(f"lpnsr.imaging.{module}"), name)
    raise AttributeError(f"module 'lpnsr.imaging' has no attribute {name!r}")
