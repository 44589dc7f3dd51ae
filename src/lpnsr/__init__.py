"""lpnsr: 4x super-resolution of real photographs in four diffusion steps.

    from lpnsr import Upscaler
    Upscaler.from_pretrained("base")("photo.jpg").save("photo_x4.png")

Importing this package is cheap; torch is imported when ``Upscaler`` is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lpnsr.upscaling.upscaler import Upscaler as Upscaler

    __version__: str

__all__ = ["Upscaler", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Upscaler":
        from lpnsr.upscaling.upscaler import Upscaler

        return Upscaler
    if name == "__version__":
        from importlib.metadata import version

        return version("lpnsr")
    raise AttributeError(f"module 'lpnsr' has no attribute {name!r}")
