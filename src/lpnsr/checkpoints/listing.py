"""The models that have a name on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lpnsr.checkpoints.locate import BUNDLED, bundled_folder, downloads_folder, hub_folder, official_folder
from lpnsr.checkpoints.registry import PREDICTORS, Predictor, official_files, official_name


@dataclass(frozen=True)
class KnownModel:
    """A model that has a name. ``where``: its folder, or how to get it."""

    name: str
    available: bool
    where: str


def known_models(cache_dir: Path | str | None = None) -> list[KnownModel]:
    """The bundled models, the official ones, and those fetched from Hugging Face into the cache."""
    models = []
    for name in BUNDLED:
        folder = bundled_folder(name)
        there = (folder / "model.json").is_file()
        models.append(KnownModel(name, there, str(folder) if there else "not in this installation"))
    for predictor in PREDICTORS:
        models.append(_official(predictor, cache_dir))
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
