"""Plots as small PNG files, by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from lpnsr.errors import MissingExtraError
from lpnsr.reproduce.report import Column

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_LARGEST = 100_000  # bytes that a plot may have in a repository


@dataclass(frozen=True)
class Curve:
    """Points (x, y) in order."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """The curves and single points of one test set."""

    title: str
    curves: Sequence[Curve]
    points: Mapping[str, tuple[float, float]]


def require() -> None:
    """Raise MissingExtraError where nothing can be plotted: before the work, not after it."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError("evaluate", "matplotlib")


def figure(width: float, height: float) -> Figure:
    """Make an empty figure, sized in inches, which needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def curves(panels: Sequence[Panel], x: Column, y: Column) -> bytes:
    """Draw a panel for each test set, with one legend; the y axis is turned where less is better."""
    made = figure(5.0 * len(panels) + 2.2, 4.4)
    colours = {
        name: f"C{i}"
        for i, name in enumerate(dict.fromkeys(c.name.partition(",")[0] for p in panels for c in p.curves))
    }
    styles = {"predicted": "-", "gaussian": ":"}
    for index, panel in enumerate(panels):
        axes = made.add_subplot(1, len(panels), index + 1)
        for curve in panel.curves:
            steps, _, noise = curve.name.partition(", ")
            axes.plot(
                *zip(*curve.points, strict=True),
                styles.get(noise, "-"),
                marker="o",
                markersize=3.5,
                linewidth=1.3,
                color=colours[steps],
                label=curve.name,
            )
        for (name, point), marker in zip(panel.points.items(), "sD^v", strict=False):
            axes.plot(*point, marker, color="black", markersize=5, label=name)
        axes.set_title(panel.title)
        axes.set_xlabel(f"{x.title} ({'more' if x.higher_is_better else 'less'} is better)")
        if index == 0:
            axes.set_ylabel(f"{y.title} ({'more' if y.higher_is_better else 'less'} is better, up)")
        if not y.higher_is_better:
            axes.invert_yaxis()
        axes.grid(alpha=0.3)
    handles, labels = made.axes[0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside right center", fontsize=8)
    return png(made)


def maps(headings: Sequence[str], rows: Sequence[Sequence[Tensor]]) -> bytes:
    """Draw a grid of images: (3, h, w) in [0, 1] in colour, (h, w) in gray between its own 1st and 99th percentile.

    Noise does not compress, so only as many rows are shown as stay small, but one at least.
    """
    data = _grid(headings, rows)
    return data if len(data) <= _LARGEST or len(rows) == 1 else maps(headings, rows[:-1])


def _grid(headings: Sequence[str], rows: Sequence[Sequence[Tensor]]) -> bytes:
    made = figure(1.35 * len(headings), 1.42 * len(rows) + 0.3)
    for number, row in enumerate(rows):
        for column, image in enumerate(row):
            axes = made.add_subplot(len(rows), len(headings), number * len(headings) + column + 1)
            axes.set_axis_off()
            if number == 0:
                axes.set_title(headings[column], fontsize=8)
            if image.ndim == 3:
                axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            else:
                low, high = np.percentile(image.numpy(), [1, 99])
                axes.imshow(image.numpy(), cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    return png(made)


def png(made: Figure, dpi: int = 100, colours: int = 128) -> bytes:
    """Encode with a palette, so that plots and maps of noise stay small enough for a repository."""
    raw: Any = io.BytesIO()
    made.savefig(raw, format="png", dpi=dpi)
    small = io.BytesIO()
    Image.open(raw).convert("RGB").quantize(colours).save(small, "PNG", optimize=True)
    return small.getvalue()
