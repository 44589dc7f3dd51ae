"""Strict configuration: unknown keys are errors that name the nearest valid key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

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


def _explain(cls: type[BaseModel], error: ValidationError) -> list[str]:
    """Write one sentence for every wrong key, in order; the several errors of a union become one."""
    sentences: dict[tuple[int | str, ...], str] = {}
    for item in error.errors():
        kind, loc, value = item["type"], item["loc"], item["input"]
        path, annotation, rules = _follow(cls, loc)
        key = ".".join(map(str, path)) or "value"
        if kind == "extra_forbidden":
            models = [
                o for o in _options(_follow(cls, loc[:-1])[1]) if isinstance(o, type) and issubclass(o, BaseModel)
            ]
            names = [field.alias or name for name, field in models[0].model_fields.items()]
            near = difflib.get_close_matches(str(loc[-1]), names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(names)}"
            sentences[loc] = f"unknown key {'.'.join(map(str, loc))!r}; {hint}"
        elif kind == "missing":
            sentences[loc] = f"key {'.'.join(map(str, loc))!r} is missing"
        elif loc[-1:] == ("[key]",):
            _, annotation, rules = _follow(cls, (*loc[:-2], "[key]"))
            sentences[loc] = f"unknown key {'.'.join(map(str, loc[:-1]))!r}; allowed: {_allowed(annotation, rules)}"
        elif kind == "value_error" and isinstance(item["ctx"]["error"], ConfigError):  # of a configuration within
            sentences[path] = str(item["ctx"]["error"])
        elif kind == "value_error":  # a validator of ours, whose words are better than anything general
            about = "" if isinstance(value, Mapping) else f" = {_short(value)}"
            sentences[path] = f"{key}{about}: {item['ctx']['error']}" if path else str(item["ctx"]["error"])
        else:
            sentences[path] = f"{key} = {_short(value)}; allowed: {_allowed(annotation, rules) or item['msg']}"
    return list(sentences.values())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _follow(cls: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[tuple[int | str, ...], Any, tuple[Any, ...]]:
    """Return the part of ``loc`` that names keys (pydantic adds tags of unions), with the type and limits there."""
    path: tuple[int | str, ...] = ()
    annotation: Any = cls
    rules: tuple[Any, ...] = ()
    for part in loc:
        inner = _inside(annotation, part)
        if inner is None:
            break
        path, (annotation, rules) = (*path, part), inner
    return path, annotation, rules


def _inside(annotation: Any, part: int | str) -> tuple[Any, tuple[Any, ...]] | None:
    """Return the type and limits at ``part`` of a value of this type, or None."""
    for option in _options(annotation):
        origin, arguments = get_origin(option), get_args(option)
        if isinstance(option, type) and issubclass(option, BaseModel) and part in option.model_fields:
            field = option.model_fields[str(part)]
            return field.annotation, tuple(field.metadata)
        if isinstance(part, int) and origin in (list, tuple) and arguments:
            index = part if origin is tuple and arguments[-1] is not Ellipsis else 0
            if index < len(arguments):
                return arguments[index], ()
        if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping) and len(arguments) == 2:
            return arguments[0 if part == "[key]" else 1], ()
    return None


def _options(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself, without limits around it."""
    if get_origin(annotation) is Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(inner for option in get_args(annotation) for inner in _options(option))
    return (annotation,)


def _allowed(annotation: Any, rules: tuple[Any, ...]) -> str:
    """Describe a type and its limits, as in ``a number from 0 to 1, or nothing``; empty for an unknown type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _allowed(arguments[0], (*rules, *arguments[1:]))
    if origin in (Union, UnionType):
        words = [_allowed(option, rules) for option in arguments]
        return ", or ".join(words) if all(words) else ""
    if origin is Literal:
        *most, last = map(str, arguments)
        return f"{', '.join(most)} or {last}" if most else last
    each = [inner for rule in rules for inner in (getattr(rule, "metadata", None) or (rule,))]
    names = ("ge", "gt", "le", "lt", "min_length", "multiple_of")
    limits = {name: getattr(rule, name) for rule in each for name in names if getattr(rule, name, None) is not None}
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)} values"
    if origin in (list, tuple, dict, Mapping):
        is_list = origin in (list, tuple)
        return ("a list" if is_list else "a mapping") + (" that is not empty" if "min_length" in limits else "")
    if annotation is int:
        what = f"a multiple of {limits['multiple_of']}" if "multiple_of" in limits else "a whole number"
        return what + _range({"ge": limits.pop("gt") + 1, **limits} if "gt" in limits else limits)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"a mapping with the keys {', '.join(annotation.model_fields)}"
    words_of = {float: "a number" + _range(limits), bool: "true or false", str: "a text", Path: "a path"}
    return {**words_of, NoneType: "nothing"}.get(annotation, "")


def _range(limits: Mapping[str, Any]) -> str:
    words = {"ge": " from {}", "gt": " above {}", "le": " to {}", "lt": " below {}"}
    return "".join(word.format(limits[name]) for name, word in words.items() if name in limits)
