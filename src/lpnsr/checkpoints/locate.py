"""From the name of a model to its folder, or file, on this machine.

"base", "lite"              inside the package
"official", "official-v2"   in the cache, once downloaded and converted
a path                      a model folder, or the checkpoint file of an upsampler
"name", "name.pth"          a folder or file in ``models`` in the cache; the ending of a file may be left out
"owner/name"                a Hugging Face repository, fetched into the cache
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from lpnsr.checkpoints.registry import PREDICTORS, Predictor, official_files, official_name, predictor_of
from lpnsr.errors import CheckpointError, ConfigError

BUNDLED = ("base", "lite")
NAMES = (*BUNDLED, "official", "official-v2")
FILES = (".pth", ".safetensors")
"""Endings of checkpoint files that are found by name."""
HUB_FILES = ["*.json", "*.safetensors", "README.md"]


def cache_folder(choice: Path | str | None = None) -> Path:
    """Return where downloads and converted models are kept; not created here.

    ``choice``, else ``$LPNSR_CACHE``, else the platform's place for caches (``$XDG_CACHE_HOME/lpnsr`` or
    ``~/.cache/lpnsr``, ``~/Library/Caches/lpnsr``, ``%LOCALAPPDATA%\\lpnsr``).
    """
    chosen = choice or os.environ.get("LPNSR_CACHE")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "lpnsr"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "lpnsr"
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG rule: a relative path there is invalid and ignored.
    return (Path(xdg) if xdg.startswith("/") else Path.home() / ".cache") / "lpnsr"


def downloads_folder(cache_dir: Path | str | None = None) -> Path:
    """Return where fetched checkpoint files are, and where a file fetched by hand is to be put."""
    return cache_folder(cache_dir) / "downloads"


def models_folder(cache_dir: Path | str | None = None) -> Path:
    """Return where model folders and checkpoint files are found by their names."""
    return cache_folder(cache_dir) / "models"


def official_folder(name: str, cache_dir: Path | str | None = None) -> Path:
    """Return where the converted model ``official`` or ``official-v2`` is."""
    return models_folder(cache_dir) / name


def bundled_folder(name: str) -> Path:
    """Return the folder of a model inside the package, whether or not it is there."""
    return Path(str(files("lpnsr"))) / "weights" / name


def resolve(name: str | Path, revision: str | None = None, cache_dir: Path | str | None = None) -> Path:
    """Return the model folder or file for ``name``; see the module for what names there are.

    ``revision`` (branch, tag or commit) is for Hugging Face repositories alone: elsewhere it is a ConfigError.
    Raises CheckpointError that says what to do if there is no such model here and it cannot be fetched.
    """
    text = str(name)
    hub = not isinstance(name, Path) and _is_hub_id(text) and not Path(text).exists()
    if revision is not None and not hub:
        raise ConfigError(f"revision={revision!r} is for Hugging Face repositories (owner/name), not for {text!r}")
    if hub:
        return _from_hub(text, revision, cache_dir)
    if not isinstance(name, Path) and text in NAMES:
        return _known(text, cache_dir)
    folder = Path(text).expanduser()
    if not folder.exists() and not isinstance(name, Path):
        folder = _in_cache(text, cache_dir) or folder
    if not folder.exists():
        named = [*NAMES, *(path.name for path in _found(cache_dir))]
        near = difflib.get_close_matches(text, named, n=1)
        hint = f"did you mean {near[0]!r}? It" if near else "it"
        raise CheckpointError(
            f"no model {text!r}: {hint} can be {', '.join(NAMES)}, a model folder, the file of an upsampler, the name "
            f"of one of these in {models_folder(cache_dir)}, or a Hugging Face id owner/name"
        )
    if not folder.is_file() and not (folder / "model.json").is_file():
        raise CheckpointError(
            f"{folder} is no model folder: it has no model.json. "
            "Make one from released checkpoints with: lpnsr models convert"
        )
    return folder


def resolve_file(name: str, cache_dir: Path | str | None = None) -> Path:
    """Return the checkpoint file of an upsampler: a path, or a name in the cache. Raises CheckpointError."""
    path = Path(name).expanduser()
    if not path.is_file():
        path = _in_cache(name, cache_dir) or path
    if not path.is_file():
        raise CheckpointError(f"there is no file {name}, here or in {models_folder(cache_dir)}")
    return path


def _in_cache(name: str, cache_dir: Path | str | None) -> Path | None:
    paths = (models_folder(cache_dir) / f"{name}{ending}" for ending in ("", *FILES))
    return next((path for path in paths if path.exists()), None) if Path(name).name == name else None


def _found(cache_dir: Path | str | None) -> list[Path]:
    """List the model folders and files in ``models`` in the cache."""
    folder = models_folder(cache_dir)
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in paths if path.suffix.lower() in FILES or (path / "model.json").is_file()]


def is_model(name: str) -> bool:
    """Tell whether ``name`` is the name of a model that this package knows, or a model folder."""
    return name in NAMES or (Path(name) / "model.json").is_file()


def _known(name: str, cache_dir: Path | str | None) -> Path:
    if name in BUNDLED:
        folder = bundled_folder(name)
        if not (folder / "model.json").is_file():
            raise CheckpointError(f"{name!r} is not in this installation ({folder}); install lpnsr again")
        return folder
    folder = official_folder(name, cache_dir)
    if not (folder / "model.json").is_file():
        predictor = predictor_of(name)
        raise CheckpointError(
            f"{name!r} is not in the cache ({folder}). Download and convert it with:\n"
            f"    lpnsr models download official --predictor {predictor} --accept-licence\n"
            "or convert checkpoint files that you have with:\n"
            f"    lpnsr models convert FOLDER_WITH_THE_FILES --predictor {predictor} -o {folder}"
        )
    return folder


def _is_hub_id(text: str) -> bool:
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text) is not None


def _from_hub(repository: str, revision: str | None, cache_dir: Path | str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repository, revision=revision, cache_dir=hub_folder(cache_dir), allow_patterns=HUB_FILES
        )
    except Exception as error:  # the hub's client has no one class of errors: HTTP, file system, value errors
        at = f" at revision {revision!r}" if revision else ""
        raise CheckpointError(
            f"there is no folder {repository!r} here, and the Hugging Face repository of that name{at} cannot be "
            f"fetched: {type(error).__name__}: {error}"
        ) from None
    if not (Path(folder) / "model.json").is_file():
        raise CheckpointError(f"the Hugging Face repository {repository!r} has no model.json: it is no lpnsr model")
    return Path(folder)


def hub_folder(cache_dir: Path | str | None = None) -> Path:
    """Return where models from Hugging Face are kept."""
    return cache_folder(cache_dir) / "hub"


@dataclass(frozen=True)
class KnownModel:
    """A model that has a name. ``where``: its folder, or how to get it."""

    name: str
    available: bool
    where: str


def known_models(cache_dir: Path | str | None = None) -> list[KnownModel]:
    """Return the bundled models, the official ones, and the others in the cache."""
    models = []
    for name in BUNDLED:
        folder = bundled_folder(name)
        there = (folder / "model.json").is_file()
        models.append(KnownModel(name, there, str(folder) if there else "not in this installation"))
    for predictor in PREDICTORS:
        models.append(_official(predictor, cache_dir))
    models += [KnownModel(path.name, True, str(path)) for path in _found(cache_dir) if path.name not in NAMES]
    for path in sorted(hub_folder(cache_dir).glob("models--*--*/snapshots/*/model.json")):
        repository = path.parents[2].name.removeprefix("models--").replace("--", "/", 1)
        models.append(KnownModel(f"{repository} @ {path.parent.name[:12]}", True, str(path.parent)))
    return models


def _official(predictor: Predictor, cache_dir: Path | str | None) -> KnownModel:
    name = official_name(predictor)
    folder = official_folder(name, cache_dir)
    if (folder / "model.json").is_file():
        return KnownModel(name, True, str(folder))
    files = official_files(predictor)
    here = sum((downloads_folder(cache_dir) / file.name).is_file() for file in files)
    how = f"lpnsr models download official --predictor {predictor} (non-commercial licence)"
    return KnownModel(name, False, f"{here} of {len(files)} files downloaded; get it with: {how}")
