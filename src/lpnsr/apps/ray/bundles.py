"""The state of the bundles at hand, in a process that outlives the workers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Bundle:
    """attempts: how often it was begun. rows: outcomes by index. begun: how often an image was begun alone."""

    attempts: int = 0
    rows: dict[int, dict[str, Any]] = field(default_factory=dict)
    begun: dict[int, int] = field(default_factory=dict)


class BundleTracker:
    """An actor on the node of the command, so that it outlives every other node.

    If its process alone is lost, an empty one takes its place: nothing that is made is lost, but results of the bundles
    at hand are then told as there already where a worker has to begin with such a bundle again.
    """

    def __init__(self) -> None:
        self._bundles: dict[int, Bundle] = {}

    def begin(self, number: int) -> Bundle:
        """Note that a worker begins with a bundle, perhaps because another one died of it."""
        bundle = self._bundles.setdefault(number, Bundle())
        bundle.attempts += 1
        return bundle

    def alone(self, number: int, index: int) -> None:
        """Note that the worker begins with this image and has no other in hand."""
        begun = self._bundles.setdefault(number, Bundle()).begun
        begun[index] = begun.get(index, 0) + 1

    def finished(self, number: int, index: int, row: dict[str, Any]) -> None:
        """Keep the outcome of an image."""
        self._bundles.setdefault(number, Bundle()).rows[index] = row

    def unclaimed(self) -> list[dict[str, Any]]:
        """The outcomes that have not arrived."""
        return [row for bundle in self._bundles.values() for row in bundle.rows.values()]

    def forget(self, number: int) -> None:
        """Delete a bundle whose outcomes have arrived."""
        self._bundles.pop(number, None)
