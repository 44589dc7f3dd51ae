"""Options of a command, made from the fields that describe them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Optional, TypeVar, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from lpnsr.system.config import StrictConfig
from lpnsr.upscaling.options import Cli, ModelOptions, Options, StartKind

Command = TypeVar("Command", bound=Callable[..., Any])
Config = TypeVar("Config", bound=StrictConfig)


def described(
    *models: type[StrictConfig], only: Collection[str] = (), panels: Sequence[str] = (), panel: str = ""
) -> Callable[[Command], Command]:
    """Decorate a command whose ``**chosen`` stands for the fields of ``models``; of equal names the first counts.

    only: the fields that are options; all by default. panels: headings of the help, in their order. panel: the heading
    of all of them, instead of each field's own.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        own = [each for each in signature.parameters.values() if each.kind is not each.VAR_KEYWORD]
        made: dict[str, inspect.Parameter] = {}
        for model in models:
            for name, field in model.model_fields.items():
                if (not only or name in only) and name not in made:
                    made[name] = _parameter(name, field, panel)
        both = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in (*own, *made.values())]
        both.sort(key=lambda each: _place(each, panels))
        command.__signature__ = signature.replace(parameters=both)  # type: ignore[attr-defined]
        return command

    return decorate


def _parameter(name: str, field: FieldInfo, panel: str) -> inspect.Parameter:
    cli = next((each for each in field.metadata if isinstance(each, Cli)), Cli())
    limits = {key: getattr(each, key) for each in field.metadata for key in ("ge", "le") if hasattr(each, key)}
    option = typer.Option(
        *(cli.flags or [f"--{name.replace('_', '-')}"]),
        help=field.description,
        rich_help_panel=panel or cli.panel,
        min=limits.get("ge"),
        max=limits.get("le"),
    )
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=field.default, annotation=Annotated[_typed(field.annotation), option])


def _typed(annotation: Any) -> Any:
    """Return the type of an option on the command line: text, where a field has several types."""
    if get_origin(annotation) not in (Union, UnionType):
        return annotation
    kinds = [each for each in get_args(annotation) if each is not NoneType]
    optional = len(kinds) < len(get_args(annotation))
    kind = kinds[0] if len(kinds) == 1 else str
    return Optional[kind] if optional else kind  # noqa: UP045 (a Literal)


def _place(parameter: inspect.Parameter, panels: Sequence[str]) -> int:
    """Return the place of a parameter's heading in the help; arguments come first."""
    named = [getattr(each, "rich_help_panel", None) for each in getattr(parameter.annotation, "__metadata__", ())]
    return next((panels.index(each) for each in named if each in panels), -1)


def parsed(model: type[Config], chosen: Mapping[str, Any]) -> Config:
    """Parse the fields of ``model`` among the chosen values. Raises ConfigError."""
    return model.parse({name: chosen[name] for name in model.model_fields if name in chosen}, "options")


def model_and_image(chosen: Mapping[str, Any]) -> tuple[ModelOptions, Options]:
    """Parse the options of both. ``start`` belongs to the model if it names a file. Raises ConfigError."""
    at = chosen["start"]
    of_model, of_image = (None, at) if at in get_args(StartKind) else (at, None)
    return parsed(ModelOptions, {**chosen, "start": of_model}), parsed(Options, {**chosen, "start": of_image})
