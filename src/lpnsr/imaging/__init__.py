"""Images: files <-> arrays with all that travels along, resampling, colour fixes, tiles.

Knows no network and no model. Reading and writing do without torch; what needs it is imported at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lpnsr.imaging.formats import EXTENSIONS, FORMATS, check_size, format_of
from lpnsr.imaging.memory import available_memory, peak_memory
from lpnsr.imaging.names import images_below, name_key
from lpnsr.imaging.photo import Photo, from_unit, to_unit
from lpnsr.imaging.pil import from_pil, to_pil
from lpnsr.imaging.reading import max_pixels_allowed, read
from lpnsr.imaging.writing import check_writable, eight_bit, flatten, remove_leftovers, rgb8, write, write_bytes

if TYPE_CHECKING:
    from lpnsr.imaging.alpha import fill_transparent
    from lpnsr.imaging.colour import adain_colour_fix, wavelet_colour_fix
    from lpnsr.imaging.resampling import output_size, resize
    from lpnsr.imaging.tiles import Blender, Tile, TilePlan, plan_tiles

__all__ = [
    "EXTENSIONS",
    "FORMATS",
    "Blender",
    "Photo",
    "Tile",
    "TilePlan",
    "adain_colour_fix",
    "available_memory",
    "check_size",
    "check_writable",
    "eight_bit",
    "fill_transparent",
    "flatten",
    "format_of",
    "from_pil",
    "from_unit",
    "images_below",
    "max_pixels_allowed",
    "name_key",
    "output_size",
    "peak_memory",
    "plan_tiles",
    "read",
    "remove_leftovers",
    "resize",
    "rgb8",
    "to_pil",
    "to_unit",
    "wavelet_colour_fix",
    "write",
    "write_bytes",
]

_NEED_TORCH = {
    "alpha": ("fill_transparent",),
    "colour": ("adain_colour_fix", "wavelet_colour_fix"),
    "resampling": ("output_size", "resize"),
    "tiles": ("Blender", "Tile", "TilePlan", "plan_tiles"),
}


def __getattr__(name: str) -> Any:
    for module, names in _NEED_TORCH.items():
        if name in names:
            return getattr(import_module(f"lpnsr.imaging.{module}"), name)
    raise AttributeError(f"module 'lpnsr.imaging' has no attribute {name!r}")
