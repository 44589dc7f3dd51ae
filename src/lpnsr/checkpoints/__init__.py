"""Models as folders: read, written, found by name, downloaded, converted from released checkpoints.

    load_folder(path) -> LoadedModel              save_folder(path, spec, parts)
    resolve("base" | "lite" | "official" | folder | "owner/name") -> folder
    check_parts(parts, where)                     whether the parts make a model
    download_official() -> folder                 convert_released({"denoiser": file, ...}, folder)

Importing this package is cheap; torch is imported when networks or tensors are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lpnsr.checkpoints.locate import cache_folder, resolve
from lpnsr.checkpoints.spec import (
    PARTS,
    ChainSettings,
    InferenceSettings,
    ModelSpec,
    PartName,
    Score,
    SourceFile,
    read_spec,
)

if TYPE_CHECKING:
    from lpnsr.checkpoints.convert import convert_released as convert_released
    from lpnsr.checkpoints.download import download_official as download_official
    from lpnsr.checkpoints.fitting import check_parts as check_parts
    from lpnsr.checkpoints.folder import LoadedModel as LoadedModel
    from lpnsr.checkpoints.folder import load_folder as load_folder
    from lpnsr.checkpoints.folder import save_folder as save_folder

_LATER = {
    "LoadedModel": "folder",
    "check_parts": "fitting",
    "convert_released": "convert",
    "download_official": "download",
    "load_folder": "folder",
    "save_folder": "folder",
}

__all__ = [
    "PARTS",
    "ChainSettings",
    "InferenceSettings",
    "LoadedModel",
    "ModelSpec",
    "PartName",
    "Score",
    "SourceFile",
    "cache_folder",
    "check_parts",
    "convert_released",
    "download_official",
    "load_folder",
    "read_spec",
    "resolve",
    "save_folder",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"lpnsr.checkpoints.{_LATER[name]}"), name)
    raise AttributeError(f"module 'lpnsr.checkpoints' has no attribute {name!r}")
