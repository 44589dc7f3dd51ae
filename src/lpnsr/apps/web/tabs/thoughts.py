"""The tab that shows the steps of the chain for a small part of a photograph."""

from __future__ import annotations

import asyncio
import json
import zipfile
from collections.abc import AsyncGenerator
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from lpnsr.apps.jobs import State
from lpnsr.apps.web import pictures, texts
from lpnsr.apps.web.desk import Desk, Upload, Visitor
from lpnsr.apps.web.fleet import THOUGHTS, Ticket, following
from lpnsr.apps.web.tabs.components import QUICK, form, photo_input, uploads
from lpnsr.apps.web.tabs.tab import Changes, Tab
from lpnsr.errors import InputError

SIDES = (64, 96, 128)
_ABOUT = (
    "The chain starts at the pre-upsampled photograph plus noise. Each step <i>t</i> predicts the clean picture, "
    "moves part of the way to it, and adds noise. A second network predicts this noise from the photograph instead "
    "of drawing it at random. Here are all steps for a small part of a photograph."
)
_EMPTY = '<div class="lp-empty"><b>The steps of the chain appear here</b></div>'
_COLUMNS = (
    ("state", "State", "x<sub>t</sub>, decoded"),
    ("belief", "Predicted clean picture", "the prediction of x<sub>0</sub>, decoded"),
    ("predicted", "Predicted noise", "the mean of z<sub>t</sub>; blue is negative, red positive"),
    ("uncertainty", "Uncertainty of this noise", "the &sigma; of z<sub>t</sub>; dark is low, yellow is high"),
    ("noise", "Added noise", "z<sub>t</sub>, to be scaled by &sigma;<sub>t</sub>; maps are means of the channels"),
)


class ThoughtsTab(Tab):
    """Components of the tab, and their handlers."""

    part = THOUGHTS
    prefix = "thoughts-"

    def __init__(self, desk: Desk, queue: gr.HTML) -> None:
        super().__init__(desk, queue)
        gr.HTML(f'<p class="lp-about">{_ABOUT}</p>')
        with gr.Row(elem_classes="lp-columns"):
            with gr.Column(scale=2, min_width=320):
                self.photo = photo_input("thoughts-photo", 220)
                self.side = gr.Radio([*SIDES], value=SIDES[1], label="Side of the part in pixels")
                self.across = gr.Slider(0, 100, 50, step=1, label="Position from the left, %")
                self.down = gr.Slider(0, 100, 50, step=1, label="Position from the top, %")
                self.form = form(desk, sized=False)
                self.buttons("Show the steps")
                self.status = gr.HTML(elem_id="thoughts-status")
            with gr.Column(scale=3, min_width=320):
                self.pages = gr.HTML(_EMPTY, elem_id="thoughts")
                self.download = gr.DownloadButton("Download these pictures", visible=False, elem_id="thoughts-download")
        inputs = [self.photo, self.side, self.across, self.down, *self.form.inputs]
        self.connect(inputs, [self.pages, self.download])
        self.photo.change(
            lambda: (_EMPTY, gr.DownloadButton(visible=False)), None, [self.pages, self.download], **QUICK
        )

    async def work(
        self, request: gr.Request, payload: Any, side: int, across: float, down: float, *values: Any
    ) -> AsyncGenerator[Changes]:
        """Crop the part, run the chain on it, and show its steps."""
        visitor = self.desk.visitor(request)
        if not uploads(payload):
            raise InputError("there is no photograph yet; drop one above")
        photo = uploads(payload)[0]
        if side not in SIDES:
            raise InputError(f"the part has {side} pixels a side; allowed are {', '.join(map(str, SIDES))}")
        options, device = self.form.options(values)
        part = self.desk.new_file(visitor, "part.png")
        limit = self.desk.limits.max_pixels
        await asyncio.to_thread(
            pictures.cropped, photo.path, part, side, across / 100, down / 100, max_pixels=limit, name=photo.name
        )
        options = {key: value for key, value in options.items() if key not in ("scale", "width", "height", "max_side")}
        upload = Upload(part, photo.name)
        ticket = await asyncio.to_thread(
            self.desk.submit, visitor, THOUGHTS, upload, options, device, request.client.host, kind=THOUGHTS
        )
        async with following(ticket) as statuses:
            yield self.working()
            async for status in statuses:
                yield {self.status: texts.progress(status), self.queue: texts.queues(self.desk.fleet)}
        if status.state is State.DONE:
            yield {self.status: ""} | await asyncio.to_thread(self._shown, visitor, ticket)
        else:
            yield {self.status: texts.progress(status)}

    def _shown(self, visitor: Visitor, ticket: Ticket) -> dict[Any, Any]:
        target = self.desk.handed_out(visitor, ticket.result(), f"{Path(ticket.status.name).stem}_thoughts.zip")
        with zipfile.ZipFile(target) as file:
            facts = json.loads(file.read("facts.json"))
            for name in file.namelist():
                if name.endswith(".png"):
                    (target.parent / name).write_bytes(file.read(name))
        return {
            self.pages: _page(target.parent, facts["steps"]),
            self.download: gr.DownloadButton(value=str(target), visible=True),
        }


def _page(folder: Path, steps: list[dict[str, Any]]) -> str:
    parts = [
        _group(
            "The photograph and the start",
            "",
            [
                _figure(folder, "bicubic.png", "Bicubic", "enlargement alone"),
                _figure(folder, "start.png", "The start", "the pre-upsampler's picture, y<sub>0</sub>"),
                _figure(folder, "result.png", "The result", "the end of the chain"),
            ],
        )
    ]
    for step in steps:
        figures = [
            _figure(folder, step[key], title, _ranged(step.get(f"{key}_range"), what))
            for key, title, what in _COLUMNS
            if key in step
        ]
        last = " The last step adds no noise." if step["t"] == 1 else ""
        parts.append(_group(f"Step t = {step['t']}", f"&sigma;<sub>t</sub> = {step['sigma']:g}.{last}", figures))
    return f'<div class="lp-thoughts">{"".join(parts)}</div>'


def _group(title: str, text: str, figures: list[str]) -> str:
    return f"<section><h3>{escape(title)}</h3><p>{text}</p><div>{''.join(figures)}</div></section>"


def _figure(folder: Path, name: str, title: str, what: str) -> str:
    return f"<figure>{texts.image(folder / name, title)}<figcaption><b>{title}</b> {what}</figcaption></figure>"


def _ranged(span: list[float] | None, what: str) -> str:
    return what if span is None else f"{what}. {span[0]:g} to {span[1]:g}"
