"""Docstrings of the package as Markdown: ``name: what it is`` becomes an item of a list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from griffe import Extension, Object

from lpnsr.upscaling.options import Options

START = re.compile(r"(?:^|(?<=[.;)] ))(\w+(?:, \w+)*): ")
OPTIONS = Options.model_fields
"""What ``**options`` stands for."""
ERRORS = re.compile(r"(?<=\.) (?=(?:Raises|Returns) )")


class Lists(Extension):
    """Names count if they are parameters or attributes of what is documented."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            names = {parameter.name.lstrip("*") for parameter in getattr(obj, "parameters", ())}
            if "options" in names:
                names |= set(OPTIONS)
            if obj.is_class:
                names |= set(obj.members)
            obj.docstring.value = with_lists(obj.docstring.value, names)


def with_lists(text: str, names: set[str]) -> str:
    """The paragraphs of a docstring, with a list item for each of ``names`` that a colon follows."""
    return "\n\n".join(_paragraph(part, names) for part in re.split(r"\n\s*\n", text))


def _paragraph(text: str, names: set[str]) -> str:
    if text.startswith("    "):
        return text  # code
    text = re.sub(r"\n(?=(?:Raises|Returns) )", "\n\n", ERRORS.sub("\n\n", text))
    return "\n\n".join("".join(_items(part, names)) for part in text.split("\n\n"))


def _items(text: str, names: set[str]) -> Iterator[str]:
    """Pieces of one paragraph: what comes before the first item, then the items, each begun by a dash."""
    flat = " ".join(line.strip() for line in text.splitlines())
    starts = [found for found in START.finditer(flat) if names & set(found[1].split(", "))]
    if not starts:
        yield text
        return
    if before := flat[: starts[0].start()].strip():
        yield before + "\n"
    for found, after in zip(starts, [*starts[1:], None], strict=True):
        keys = ", ".join(f"`{name}`" for name in found[1].split(", "))
        yield f"\n- {keys}: {flat[found.end() : after.start() if after else None].strip()}"
