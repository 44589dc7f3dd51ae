"""Strict configuration: unknown keys are errors that name the nearest valid key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from lpnsr.errors import ConfigError, MissingExtraError


class StrictConfig(BaseModel):
    """Base of every configuration in the package: frozen, typed, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @classmethod
    def parse(cls, values: Mapping[str, Any], where: str) -> Self:
        """Validate ``values``; ``where`` names the file or argument in the error.

        Raises ConfigError listing every wrong key with the value seen and the nearest valid name.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(f"{where}: " + "; ".join(_explain(cls, error))) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError, MissingExtraError."""
    try:
        import yaml
    except ModuleNotFoundError:
        raise MissingExtraError("train", "pyyaml") from None
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a mapping of keys to values")
    return values


def _explain(cls: type[BaseModel], error: ValidationError) -> list[str]:
    lines = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            names = _names_at(cls, item["loc"][:-1])
            near = difflib.get_close_matches(str(item["loc"][-1]), names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(names)}"
            lines.append(f"unknown key {key!r}; {hint}")
        elif item["type"] == "missing":
            lines.append(f"key {key!r} is missing")
        else:
            lines.append(f"{key or 'value'} = {item['input']!r}: {item['msg']}")
    return lines


def _names_at(cls: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Field names of the model reached by ``path`` (list indices and union tags are stepped over)."""
    current: type[BaseModel] = cls
    for part in path:
        field = current.model_fields.get(str(part))
        annotation = field.annotation if field else None
        options = [annotation, *getattr(annotation, "__args__", ())]
        inner = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        if inner:
            current = inner[0]
    return list(current.model_fields)
