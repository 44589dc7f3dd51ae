"""Texts of the page as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import quote

from lpnsr.apps.files.times import spoken as spoken
from lpnsr.apps.jobs import State, Status
from lpnsr.apps.jobs.settings import JobOptions
from lpnsr.apps.web.fleet import Fleet

UNEXPECTED = "The job failed unexpectedly; see the log of the server"


def problem(text: str) -> str:
    return f'<div class="lp-problem" role="alert">{escape(_sentence(text))}</div>'


def note(text: str) -> str:
    return f'<div class="lp-note" role="status">{escape(_sentence(text))}</div>'


def bar(fraction: float, text: str) -> str:
    """Return a progress bar with a line below it."""
    return (
        f'<div class="lp-progress" role="status"><progress max="1" value="{fraction:.3f}"></progress>'
        f"<span>{escape(text)}</span></div>"
    )


def progress(status: Status) -> str:
    """Describe the state of a job: in the queue, at work, or ended."""
    left = "" if status.seconds_left is None else f", {spoken(status.seconds_left)} left"
    if status.state is State.QUEUED:
        ahead = (status.position or 1) - 1
        place = "next in the queue" if ahead == 0 else f"{ahead} {'job' if ahead == 1 else 'jobs'} before yours"
        return bar(0, f"Waiting: {place}{left}")
    if status.state is State.RUNNING:
        if status.tiles and status.tiles_done == status.tiles:
            return bar(status.progress, "Writing the result")
        parts = []
        if status.tiles > 1:
            parts.append(f"tile {min(status.tiles_done + 1, status.tiles)} of {status.tiles}")
        if status.steps:
            parts.append(f"step {min(status.steps_done + 1, status.steps)} of {status.steps}")
        left = left if (status.seconds_left or 0) >= 1 else ""  # the guess was exceeded, or it is the end
        return bar(status.progress, f"Working{': ' if parts else ''}{', '.join(parts)}{left}")
    if status.state is State.CANCELLED:
        return note("Cancelled; the memory is free")
    if status.state is State.FAILED:
        return problem(status.error or "The job failed")
    return ""


def image(path: Path, text: str) -> str:
    """Return an image element for a file in the folder of the page."""
    return f'<img src="gradio_api/file={quote(str(path))}" alt="{escape(text)}" loading="lazy">'


def compared(before: Path, after: Path, size: tuple[int, int], what: str = "After") -> str:
    """Two pictures of one place on top of each other, with a line between them that can be moved.

    size: (height, width) of the result in pixels. what: the label of the second picture. See ``head.js``.
    """
    height, width = size
    pictures = "".join(
        f'<img class="{name}" src="gradio_api/file={quote(str(path))}" alt="{text}">'
        for name, path, text in (("before", before, "Enlarged by interpolation"), ("after", after, "The result"))
    )
    return (
        f'<div class="lp-compare" style="--w: {width}; --h: {height}"><div class="lp-view" tabindex="0" role="group" '
        f'aria-label="Before and after"><div class="lp-pair">{pictures}<i></i><span class="lp-left">Before</span>'
        f'<span class="lp-right">{escape(what)}</span></div></div><div class="lp-tools"><input type="range" min="0" '
        'max="100" value="50" aria-label="Line between before and after, in percent from the left">'
        '<button type="button" aria-pressed="false">100%</button></div></div>'
    )


def offer(name: str, size: tuple[int, int], result: tuple[int, int], seconds: float | None) -> str:
    """Describe a photograph and the result that it would have. size, result: (height, width)."""
    time = "" if seconds is None else f", in about {spoken(seconds)}"
    sizes = f"{name}: {size[1]} x {size[0]} px. Result: {result[1]} x {result[0]} px{time}"
    return note(f"{sizes}. Click the photograph to preview a part of it")


def made_with(status: Status) -> str:
    """List the settings of a result, so that they can be used again."""
    options = status.options
    facts = [
        status.name,
        f"{status.width} x {status.height} px",
        f"model {options.model}",
        *_of_chain(options),
        f"{status.seconds or 0:.1f} s",
    ]
    chips = "".join(f"<li>{escape(fact)}</li>" for fact in facts if fact)
    warnings = "".join(problem(text) for text in status.warnings)
    return f'<ul class="lp-facts">{chips}</ul>{warnings}'


def _of_chain(options: JobOptions) -> list[str]:
    if not options.steps:
        return ["pre-upsampler alone"]
    return [
        f"{options.steps} steps",
        f"noise {options.noise}",
        f"fidelity {options.fidelity:g}",
        f"seed {options.seed}",
    ]


def queues(fleet: Fleet) -> str:
    """Return a line for each device."""
    lines = []
    for device, engine in fleet.engines.items():
        counts = engine.counts()
        if engine.ready and not counts["running"]:
            lines.append(f'<li class="free">{escape(device)}: free</li>')
        else:
            state = f"at work, {counts['queued']} waiting" if engine.ready else "loading the model"
            lines.append(f'<li class="busy">{escape(device)}: {state}</li>')
    return f'<ul class="lp-queue" aria-label="Devices">{"".join(lines)}</ul>'


def rows(entries: Sequence[tuple[str, str, str, Path | None]]) -> str:
    """Return a list of entries (name, state, text, small picture)."""
    lines = "".join(
        f'<li class="{escape(state)}">{image(picture, "") if picture else ""}<b>{escape(name)}</b>'
        f"<span>{escape(text)}</span></li>"
        for name, state, text, picture in entries
    )
    return f'<ul class="lp-files">{lines}</ul>' if lines else ""


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
