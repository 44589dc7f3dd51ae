"""Exceptions of evaluation, for images and metrics without a number."""

from __future__ import annotations

from lpnsr.errors import InputError, LpnsrError


class UnscorableImage(InputError):  # noqa: N818 (a fact about an image)
    """An image has no score of this kind; the message says why. kind: the same in a word or two, for a table's cell."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class MetricUnavailable(LpnsrError):  # noqa: N818 (a fact about a machine)
    """A metric cannot be computed on this machine; the message says what is missing and how to get it."""
