"""Models as folders: read, written, found by name, downloaded, converted from released checkpoints.

    load_folder(path) -> LoadedModel              save_folder(path, spec, parts)
    load_file(path) -> LoadedModel                the checkpoint file of an upsampler that spandrel reads
    load_model(path), spec_of(path)               either of them
    resolve("base" | "lite" | "official" | folder | file | "owner/name") -> folder or file
    check_parts(parts, where)                     whether the parts make a model
    download_official() -> folder                 convert_released({"denoiser": file, ...}, folder)

Importing this package is cheap; torch is imported when networks or tensors are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lpnsr.checkpoints.locate import cache_folder, resolve, resolve_file
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
    from lpnsr.checkpoints.foreign import load_file as load_file
    from lpnsr.checkpoints.foreign import load_model as load_model
    from lpnsr.checkpoints.foreign import spec_of as spec_of

_LATER = {
    "LoadedModel": "folder",
    "check_parts": "fitting",
    "convert_released": "convert",
    "download_official": "download",
    "load_file": "foreign",
    "load_folder": "folder",
    "load_model": "foreign",
    "save_folder": "folder",
    "spec_of": "foreign",
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
    "load_file",
    "load_folder",
    "load_model",
    "read_spec",
    "resolve",
    "resolve_file",
    "save_folder",
    "spec_of",
]


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(import_module(f"lpnsr.checkpoints.{_LATER[name]}"), name)
    raise AttributeError(f"module 'lpnsr.checkpoints' has no attribute {name!r}")
