"""What evaluation reports instead of a number."""

from __future__ import annotations

from lpnsr.errors import InputError, LpnsrError


class UnscorableImage(InputError):  # noqa: N818 (a fact about an image)
    """An image has no score of this kind; the message says why (too small, flat, sizes differ, ...)."""


class MetricUnavailable(LpnsrError):  # noqa: N818 (a fact about a machine)
    """A metric cannot be computed on this machine; the message says what is missing and how to get it."""
