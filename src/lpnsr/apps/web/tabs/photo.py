"""One photograph: drop it, wait, compare, download."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import gradio as gr

from lpnsr.apps.jobs import State, settings_in
from lpnsr.apps.jobs.hearing import heard
from lpnsr.apps.jobs.inspect import inspect, renamed
from lpnsr.apps.jobs.settings import JobOptions, mebibytes
from lpnsr.apps.web import pictures, texts
from lpnsr.apps.web.desk import Desk, Upload, Visitor
from lpnsr.apps.web.fleet import Ticket, following
from lpnsr.apps.web.tabs.components import LONG, QUICK, RAW, form, formats, photo_input, quality_of, uploads
from lpnsr.apps.web.tabs.tab import Changes, Tab
from lpnsr.errors import InputError, LpnsrError

PHOTOS = Path(__file__).parent.parent / "photos"
EXAMPLES = ("dog.png", "circuit.png", "coast.jpg")
_PART = "photo"
_UNSHOWN = (".tif", ".tiff")
_PREVIEW = 1_000_000  # pixels
_CONVERTING = "() => ({__type__: 'update', label: 'Converting ...', interactive: false})"
_DOWNLOADS = 2  # that are kept: the one before the newest may just be being fetched


class PhotoTab(Tab):
    """Components of the tab, and their handlers."""

    part = _PART

    def __init__(self, desk: Desk, queue: gr.HTML) -> None:
        super().__init__(desk, queue)
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
                self.buttons("Upscale")
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
        shown = [self.empty, self.slider, self.facts, self.row, self.trouble]
        self.photo.change(self._changed, None, [self.status, *shown], **QUICK)  # apart, for looking may take a while
        self.photo.change(self._arrived, self.photo, [self.about, self.reuse], **QUICK, **RAW)
        self.reuse.click(self._reused, None, self.form.reusable, **QUICK)
        self.connect([self.photo, self.kind, self.quality, *self.form.inputs], [*shown, self.download])
        chosen = [self.kind.input, self.quality.release]
        gr.on(chosen, None, None, self.download, js=_CONVERTING, trigger_mode="multiple")  # before the server answers
        gr.on(
            chosen,
            self._convert,
            [self.kind, self.quality],
            [self.download, self.trouble],
            trigger_mode="always_last",
            **LONG,
        )

    def _cleared(self) -> dict[Any, Any]:
        """No result, where there was one of something else."""
        return {
            self.empty: gr.HTML(visible=True),
            self.slider: gr.ImageSlider(None, visible=False),
            self.facts: "",
            self.row: gr.Row(visible=False),
            self.trouble: "",
        }

    def _changed(self, request: gr.Request) -> dict[Any, Any]:
        ticket = self.desk.visitor(request).tickets.get(_PART)
        at_work = ticket is not None and ticket.at_work
        return self._cleared() | {self.status: gr.skip() if at_work else ""}

    def _arrived(self, request: gr.Request, payload: Any) -> dict[Any, Any]:
        about, reusable = self._looked_at(request, payload)
        return {self.about: about, self.reuse: gr.Button(visible=reusable)}

    def _looked_at(self, request: gr.Request, payload: Any) -> tuple[str, bool]:
        """Describe a photograph by its header, with a picture where a browser cannot show it.

        Returns HTML, and whether the file holds the settings that it was made with.
        """
        visitor, limits = self.desk.visitor(request), self.desk.limits
        visitor.photo = photo = next(iter(uploads(payload)), None)
        if photo is None:
            return "", False
        try:
            if photo.path.stat().st_size > limits.max_upload:
                raise InputError(f"{photo.name} is larger than {mebibytes(limits.max_upload)}; send a smaller file")
            (height, width), _ = inspect(photo.path, photo.name, JobOptions(scale=1), limits)
            about = texts.note(f"{photo.name}: {width} x {height} px")
            if photo.path.suffix.lower() in _UNSHOWN:
                picture = self.desk.new_file(visitor, "preview.png")
                pictures.shown(photo.path, picture, max_pixels=limits.max_pixels, most=_PREVIEW)
                about += texts.image(picture, photo.name)
        except LpnsrError as error:
            return texts.problem(renamed(error, photo.path, photo.name)), False
        except OSError as error:
            return texts.problem(f"{photo.name} cannot be read ({error.strerror}); drop it again"), False
        return about, settings_in(photo.path) is not None

    def _reused(self, request: gr.Request) -> list[Any]:
        photo = self.desk.visitor(request).photo
        made = settings_in(photo.path) if photo else None
        return self.form.reused(made or {}, self.desk.models)

    async def work(
        self, request: gr.Request, payload: Any, kind: str, quality: float, *values: Any
    ) -> AsyncGenerator[Changes]:
        """Follow a job from the queue to the slider."""
        visitor = self.desk.visitor(request)
        photo = next(iter(uploads(payload)), visitor.photo)
        if photo is None:
            raise InputError("there is no photograph yet; drop one above, or click an example")
        options, device = self.form.options(values)
        ticket = await asyncio.to_thread(self.desk.submit, visitor, _PART, photo, options, device, request.client.host)
        async with following(ticket, [photo.path]) as statuses:
            yield self.working() | self._cleared()
            async for status in statuses:
                yield {self.status: texts.progress(status), self.queue: texts.queues(self.desk.fleet)}
        if status.state is not State.DONE:
            yield {self.status: texts.progress(status)}
            return
        yield {self.status: texts.bar(1, "Preparing the pictures")}
        try:
            yield await asyncio.to_thread(self._done, visitor, ticket, photo, kind, quality)
        except LpnsrError as error:
            yield {self.status: texts.problem(renamed(error, photo.path, photo.name))}

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
        if visitor.photo is not None and visitor.photo.path.resolve() != photo.path.resolve():
            facts += texts.note(f"This is of {photo.name}, not of the photograph that was chosen meanwhile")
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
        target, notes = None, []
        try:
            name = f"{Path(ticket.status.file_name).stem}{JobOptions(format=kind).extension}"  # type: ignore[arg-type]
            if kind == "png":
                target = self.desk.handed_out(visitor, ticket.result(), name)
            else:
                target = self.desk.new_file(visitor, name)
                with heard() as notes:
                    pictures.converted(ticket.result(), target, quality_of(kind, quality))
            size = target.stat().st_size
        except LpnsrError as error:
            text = str(error) if target is None else str(error).replace(str(target), target.name)
            return {
                self.download: gr.DownloadButton(value=None, interactive=False),
                self.trouble: texts.problem(text),
            }
        visitor.downloads.append(target)
        while len(visitor.downloads) > _DOWNLOADS:
            self.desk.drop(visitor, visitor.downloads.pop(0))
        told = "".join(texts.problem(note.removeprefix(f"{target}: ")) for note in notes)
        button = gr.DownloadButton(f"Download {kind.upper()}, {mebibytes(size)}", value=str(target), interactive=True)
        return {self.download: button, self.trouble: told}

    async def _convert(self, request: gr.Request, kind: str, quality: float) -> AsyncIterator[dict[Any, Any]]:
        visitor = self.desk.visitor(request)
        ticket = visitor.tickets.get(_PART)
        try:
            gone = ticket is None or ticket.status.state is not State.DONE
        except LpnsrError:
            gone = True
        if ticket is None or gone:
            yield {
                self.download: gr.DownloadButton(interactive=False),
                self.trouble: texts.problem("the result is gone; upscale the photograph again"),
            }
            return
        yield {self.download: gr.DownloadButton("Converting ...", value=None, interactive=False), self.trouble: ""}
        changes = await asyncio.to_thread(self._download, visitor, ticket, kind, quality)
        if visitor.tickets.get(_PART) is ticket:  # else there is another result, with its own download
            yield changes
