"""One photograph: drop it, wait, compare, download."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from lpnsr.apps.jobs import State, settings_in
from lpnsr.apps.jobs.inspect import inspect, renamed
from lpnsr.apps.jobs.settings import JobOptions
from lpnsr.apps.web import pictures, texts
from lpnsr.apps.web.components import LONG, QUICK, RAW, Form, form, formats, photo_input, quality_of, uploads
from lpnsr.apps.web.desk import Desk, Upload, Visitor
from lpnsr.apps.web.fleet import Ticket
from lpnsr.apps.web.follow import following
from lpnsr.errors import InputError, LpnsrError

PHOTOS = Path(__file__).parent / "photos"
EXAMPLES = ("otter.png", "dog.png", "coast.jpg")
_PART = "photo"
_UNSHOWN = (".tif", ".tiff")
_PREVIEW = 1_000_000  # pixels


class PhotoTab:
    """The tab's components and what they do."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        with gr.Row(elem_classes="lp-columns"):
            with gr.Column(scale=2, min_width=320):
                self.photo = photo_input("photo", 260)
                self.about = gr.HTML(elem_id="about")
                self.reuse = gr.Button("Use its settings", size="sm", visible=False, elem_id="reuse")
                gr.Examples(
                    [[str(PHOTOS / name)] for name in EXAMPLES],
                    [self.photo],
                    label="Or try one of these",
                    elem_id="examples",
                )
                self.form = form(desk)
                with gr.Row():
                    self.run = gr.Button("Upscale", variant="primary", elem_id="run")
                    self.stop = gr.Button("Cancel", variant="stop", visible=False, elem_id="stop")
                self.status = gr.HTML(elem_id="status")
            with gr.Column(scale=3, min_width=320):
                self.empty = gr.HTML(
                    '<div class="lp-empty"><b>Before and after appear here</b>'
                    "<span>Drop a photograph, then press Upscale.</span></div>",
                    elem_id="empty",
                )
                self.slider = gr.ImageSlider(
                    label="Before | after",
                    type="filepath",
                    max_height=640,
                    visible=False,
                    elem_id="slider",
                    buttons=["fullscreen"],
                    interactive=False,
                    image_mode=None,
                )
                self.facts = gr.HTML(elem_id="facts")
                with gr.Row(visible=False, equal_height=True, elem_id="download-row") as self.row:
                    self.kind, self.quality = formats()
                    self.download = gr.DownloadButton("Download", variant="primary", elem_id="download", min_width=140)
                self.trouble = gr.HTML(elem_id="trouble")
        self.photo.change(self._arrived, self.photo, [self.about, self.reuse, self.photo], **QUICK, **RAW)
        self.reuse.click(self._reused, self.photo, self.form.reusable, **QUICK, **RAW)
        outputs = [
            self.status,
            self.run,
            self.stop,
            self.empty,
            self.slider,
            self.facts,
            self.row,
            self.download,
            self.trouble,
        ]
        self.run.click(self._run, [self.photo, self.kind, self.quality, *self.form.inputs], outputs, **LONG, **RAW)
        self.stop.click(self._stop, None, None, **QUICK)
        for change in (self.kind.input, self.quality.release):
            change(self._convert, [self.kind, self.quality], [self.download, self.trouble], **LONG)

    def _arrived(self, request: gr.Request, payload: Any) -> list[Any]:
        """What is known of a photograph from its header; and a picture of what a browser cannot show."""
        if not uploads(payload):
            return ["", gr.Button(visible=False), gr.skip()]
        photo = uploads(payload)[0]
        visitor, limits, picture = self.desk.visitor(request), self.desk.limits, gr.skip()
        original = visitor.original(photo)
        try:
            if original.path.stat().st_size > limits.max_upload:
                raise InputError(
                    f"{original.name} is larger than {limits.max_upload / 2**20:g} MB; send a smaller file"
                )
            (height, width), _ = inspect(original.path, original.name, JobOptions(scale=1), limits)
            made = settings_in(original.path)
            if original is photo and original.path.suffix.lower() in _UNSHOWN:
                path = self.desk.new_file(visitor, f"{original.path.stem}.png")
                pictures.shown(original.path, path, max_pixels=limits.max_pixels, most=_PREVIEW)
                visitor.originals[path] = original
                picture = str(path)
        except LpnsrError as error:
            about = texts.problem(renamed(error, original.path, original.name))
            return [about, gr.Button(visible=False), gr.skip()]
        about = f"{original.name}: {width} x {height} px"
        return [texts.note(about), gr.Button(visible=made is not None), picture]

    def _reused(self, request: gr.Request, payload: Any) -> list[Any]:
        photos = [self.desk.visitor(request).original(photo) for photo in uploads(payload)]
        return Form.reused((settings_in(photos[0].path) if photos else None) or {}, self.desk.models)

    async def _run(
        self, request: gr.Request, payload: Any, kind: str, quality: float, *values: Any
    ) -> AsyncIterator[dict[Any, Any]]:
        """Follow a job from the queue to the slider."""
        visitor = self.desk.visitor(request)
        working = {self.run: gr.Button(interactive=False), self.stop: gr.Button(visible=True)}
        idle = {self.run: gr.Button(interactive=True), self.stop: gr.Button(visible=False)}
        try:
            if not uploads(payload):
                raise InputError("there is no photograph yet; drop one above, or click an example")
            photo = visitor.original(uploads(payload)[0])
            options, device = Form.options(values)
            ticket = await asyncio.to_thread(
                self.desk.submit, visitor, _PART, photo, options, device, request.client.host
            )
            async with following(ticket) as statuses:
                yield working | {self.status: texts.progress(ticket.status), self.trouble: ""}
                async for status in statuses:
                    yield {self.status: texts.progress(status)}
            if status.state is State.DONE:
                yield {self.status: texts.bar(1, "Preparing the pictures")}
                try:
                    yield idle | await asyncio.to_thread(self._done, visitor, ticket, photo, kind, quality)
                except LpnsrError as error:
                    yield idle | {self.status: texts.problem(renamed(error, photo.path, photo.name))}
            else:
                yield idle | {self.status: texts.progress(status)}
        except LpnsrError as error:
            yield idle | {self.status: texts.problem(str(error))}

    def _done(self, visitor: Visitor, ticket: Ticket, photo: Upload, kind: str, quality: float) -> dict[Any, Any]:
        """The slider, the facts and the download of a job that is done."""
        status, limits = ticket.status, self.desk.limits
        before, after = (self.desk.new_file(visitor, name) for name in ("before.png", "after.png"))
        pictures.shown(photo.path, before, max_pixels=limits.max_pixels, size=(status.height, status.width))
        smaller = status.width * status.height > pictures.MOST_SHOWN
        if smaller:
            pictures.shown(ticket.result(), after, max_pixels=limits.result_pixels)
        else:
            after = self.desk.handed_out(visitor, ticket.result(), after.name)
        facts = texts.made_with(status)
        if smaller:
            facts += texts.note("This is too large for a browser: the slider shows it smaller, the download is whole")
        return {
            self.status: "",
            self.empty: gr.HTML(visible=False),
            self.slider: gr.ImageSlider((str(before), str(after)), visible=True),
            self.facts: facts,
            self.row: gr.Row(visible=True),
            **self._download(visitor, ticket, kind, quality),
        }

    def _download(self, visitor: Visitor, ticket: Ticket, kind: str, quality: float) -> dict[Any, Any]:
        """The button with the result in a format; or why there is none."""
        name = Path(ticket.status.file_name).stem
        target = self.desk.new_file(visitor, f"{name}{JobOptions(format=kind).extension}")  # type: ignore[arg-type]
        try:
            if kind == "png":
                target = self.desk.handed_out(visitor, ticket.result(), target.name)
            else:
                pictures.converted(ticket.result(), target, quality_of(kind, quality))
        except LpnsrError as error:
            return {
                self.download: gr.DownloadButton(value=None, interactive=False),
                self.trouble: texts.problem(str(error).replace(str(target), target.name)),
            }
        label = f"Download {kind.upper()}, {texts.size(target.stat().st_size)}"
        return {self.download: gr.DownloadButton(label, value=str(target), interactive=True), self.trouble: ""}

    async def _convert(self, request: gr.Request, kind: str, quality: float) -> dict[Any, Any]:
        visitor = self.desk.visitor(request)
        ticket = visitor.tickets.get(_PART)
        if ticket is None or ticket.status.state is not State.DONE:
            return {self.trouble: texts.problem("the result is gone; upscale the photograph again")}
        return await asyncio.to_thread(self._download, visitor, ticket, kind, quality)

    def _stop(self, request: gr.Request) -> None:
        self.desk.visitor(request).cancel(_PART)
