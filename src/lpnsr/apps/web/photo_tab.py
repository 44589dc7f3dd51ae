"""One photograph: drop it, wait, compare, download."""

from __future__ import annotations

import asyncio
import logging
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

_log = logging.getLogger(__name__)
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
        self.photo.change(self._arrived, self.photo, [self.about, self.reuse], **QUICK, **RAW)
        self.reuse.click(self._reused, None, self.form.reusable, **QUICK)
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
        visitor, limits = self.desk.visitor(request), self.desk.limits
        visitor.photo = photo = next(iter(uploads(payload)), None)
        if photo is None:
            return ["", gr.Button(visible=False)]
        try:
            if photo.path.stat().st_size > limits.max_upload:
                raise InputError(f"{photo.name} is larger than {limits.max_upload / 2**20:g} MB; send a smaller file")
            (height, width), _ = inspect(photo.path, photo.name, JobOptions(scale=1), limits)
            about = texts.note(f"{photo.name}: {width} x {height} px")
            if photo.path.suffix.lower() in _UNSHOWN:
                picture = self.desk.new_file(visitor, "preview.png")
                pictures.shown(photo.path, picture, max_pixels=limits.max_pixels, most=_PREVIEW)
                about += texts.image(picture, photo.name)
        except LpnsrError as error:
            return [texts.problem(renamed(error, photo.path, photo.name)), gr.Button(visible=False)]
        except OSError as error:
            text = f"{photo.name} cannot be read ({error.strerror}); drop it again"
            return [texts.problem(text), gr.Button(visible=False)]
        return [about, gr.Button(visible=settings_in(photo.path) is not None)]

    def _reused(self, request: gr.Request) -> list[Any]:
        photo = self.desk.visitor(request).photo
        made = settings_in(photo.path) if photo else None
        return Form.reused(made or {}, self.desk.models)

    async def _run(
        self, request: gr.Request, payload: Any, kind: str, quality: float, *values: Any
    ) -> AsyncIterator[dict[Any, Any]]:
        """Follow a job from the queue to the slider."""
        visitor = self.desk.visitor(request)
        working = {self.run: gr.Button(interactive=False), self.stop: gr.Button(visible=True)}
        idle = {self.run: gr.Button(interactive=True), self.stop: gr.Button(visible=False)}
        try:
            photo = next(iter(uploads(payload)), visitor.photo)
            if photo is None:
                raise InputError("there is no photograph yet; drop one above, or click an example")
            options, device = Form.options(values)
            ticket = await asyncio.to_thread(
                self.desk.submit, visitor, _PART, photo, options, device, request.client.host
            )
            async with following(ticket, [photo.path]) as statuses:
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
        except Exception:
            _log.exception("a photograph failed")
            yield idle | {self.status: texts.problem(texts.UNEXPECTED)}

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
        if visitor.download is not None:
            self.desk.drop(visitor, visitor.download)
        target = None
        try:
            name = f"{Path(ticket.status.file_name).stem}{JobOptions(format=kind).extension}"  # type: ignore[arg-type]
            if kind == "png":
                target = self.desk.handed_out(visitor, ticket.result(), name)
            else:
                target = self.desk.new_file(visitor, name)
                pictures.converted(ticket.result(), target, quality_of(kind, quality))
            visitor.download = target
        except LpnsrError as error:
            text = str(error) if target is None else str(error).replace(str(target), target.name)
            return {
                self.download: gr.DownloadButton(value=None, interactive=False),
                self.trouble: texts.problem(text),
            }
        label = f"Download {kind.upper()}, {texts.size(target.stat().st_size)}"
        return {self.download: gr.DownloadButton(label, value=str(target), interactive=True), self.trouble: ""}

    async def _convert(self, request: gr.Request, kind: str, quality: float) -> dict[Any, Any]:
        visitor = self.desk.visitor(request)
        ticket = visitor.tickets.get(_PART)
        try:
            gone = ticket is None or ticket.status.state is not State.DONE
        except LpnsrError:
            gone = True
        if ticket is None or gone:
            return {self.trouble: texts.problem("the result is gone; upscale the photograph again")}
        return await asyncio.to_thread(self._download, visitor, ticket, kind, quality)

    def _stop(self, request: gr.Request) -> None:
        self.desk.visitor(request).cancel(_PART)
