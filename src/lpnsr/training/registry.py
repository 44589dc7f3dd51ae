"""Names in recipes for classes: the package's own, and those of other packages."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Generic, TypeVar

from lpnsr.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """A table of names. ``kind`` is the word for an entry in errors."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def add(self, name: str, entry: T) -> None:
        """Enter ``entry``. Raises ConfigError if the name is taken."""
        if self._entries.setdefault(name, entry) is not entry:
            raise ConfigError(f"there is a {self.kind} {name!r} already: choose another name")

    def __getitem__(self, name: str) -> T:
        """The entry of a name. Raises ConfigError naming the nearest."""
        if name not in self._entries:
            near = difflib.get_close_matches(str(name), self._entries, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"allowed: {', '.join(self._entries)}"
            raise ConfigError(f"unknown {self.kind} {name!r}; {hint}")
        return self._entries[name]
