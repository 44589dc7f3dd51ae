"""Strict configuration: unknown keys are errors that name the nearest valid key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from lpnsr.errors import ConfigError, MissingExtraError


class StrictConfig(BaseModel):
    """Base of every configuration in the package: frozen, typed, no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @classmethod
    def parse(cls, values: Mapping[str, object], where: str) -> Self:
        """Validate ``values``; ``where`` names the file or argument in the error.

        Raises ConfigError listing every wrong key with the value seen and the nearest valid name.
        """
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            raise ConfigError(f"{where}: " + "; ".join(_explain(cls, values, error))) from None


def read_yaml(path: Path) -> dict[str, object]:
    """Read the mapping in a YAML file. Raises ConfigError, MissingExtraError."""
    try:
        import yaml
    except ModuleNotFoundError:
        raise MissingExtraError("train", "pyyaml") from None

    class Strict(yaml.SafeLoader):
        def compose_mapping_node(self, anchor: Any) -> Any:  # before merge keys (<<) bring in others
            node = super().compose_mapping_node(anchor)  # type: ignore[no-untyped-call]
            seen = set()
            for key, _ in node.value:
                if (key.tag, str(key.value)) in seen:
                    line = key.start_mark.line + 1
                    raise ConfigError(f"{path}: the key {key.value!r} is there twice, again at line {line}")
                seen.add((key.tag, str(key.value)))
            return node

    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Strict)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not a mapping of keys to values")
    return values


def _explain(cls: type[BaseModel], values: Mapping[str, object], error: ValidationError) -> Iterator[str]:
    """Write a sentence for every wrong key, with pydantic's reasons; the reasons of a union's members stand in one."""
    sentences: dict[str, list[str]] = {}
    for item in error.errors():
        kind, loc, reason = item["type"], item["loc"], item["msg"].removeprefix("Input ")
        name, key = ".".join(map(str, loc)), ".".join(map(str, _keys(values, loc)))
        about = "" if not key or isinstance(item["input"], Mapping) else f" = {_short(item['input'])}"
        if kind == "extra_forbidden":
            names = _names_at(cls, loc[:-1])
            near = difflib.get_close_matches(str(loc[-1]), names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(names)}"
            sentences[f"unknown key {name!r}; {hint}"] = []
        elif kind == "missing":
            sentences[f"key {name!r} is missing"] = []
        elif loc[-1:] == ("[key]",):
            sentences[f"unknown key {key!r}; {reason}"] = []
        elif kind == "value_error" and isinstance(item["ctx"]["error"], ConfigError):  # of a configuration within
            sentences[str(item["ctx"]["error"])] = []
        else:
            reason = str(item["ctx"]["error"]) if kind == "value_error" else reason
            sentences.setdefault(f"{key}{about}: " if key else "", []).append(reason)
    return (sentence + ", or ".join(dict.fromkeys(reasons)) for sentence, reasons in sentences.items())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _keys(values: Any, loc: tuple[int | str, ...]) -> Iterator[int | str]:
    """Yield the part of ``loc`` that names keys of ``values``; pydantic adds the names of a union's members."""
    for part in loc:
        try:
            values = values[part]
        except (LookupError, TypeError):
            return
        yield part


def _names_at(cls: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """List the fields of the model at ``path``; list indices and the names of a union's members are stepped over."""
    for part in path:
        field = cls.model_fields.get(str(part))
        options = [field.annotation, *get_args(field.annotation)] if field else []
        cls = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), cls)
    return [field.alias or name for name, field in cls.model_fields.items()]
