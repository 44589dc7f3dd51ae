"""The experiments of the paper, and others: one module each, with a function of a ``Lab``.

Importing this package is cheap: each experiment is imported on its first use.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lpnsr.reproduce.lab import Lab
    from lpnsr.reproduce.report import Report

EXPERIMENTS = ("grid", "table1", "table2", "table4", "table6", "figure2", "oracle", "tradeoff", "mismatch", "seeds")


def experiment(name: str) -> Callable[[Lab], Report]:
    """Return the experiment of this name, one of ``EXPERIMENTS``."""
    report: Callable[[Lab], Report] = import_module(f"lpnsr.reproduce.experiments.{name}").make_report
    return report
