"""One photograph: drop it, wait, compare, download."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
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
_PART_SIDE = 96  # pixels of a preview
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
                self.form = form(desk)
                self.buttons("Upscale")
                self.preview = gr.Button("Preview the middle", size="sm", elem_id="preview")
                self.status = gr.HTML(elem_id="status")
                gr.Examples(
                    [[str(PHOTOS / name)] for name in EXAMPLES],
                    [self.photo],
                    label="Or try one of these",
                    example_labels=["Dog", "Circuit board", "Coast"],
                    elem_id="examples",
                )
            with gr.Column(scale=3, min_width=320):
                self.empty = gr.HTML(
                    '<div class="lp-empty"><b>Before and after appear here</b>'
                    "<span>Drop a photograph, then press Upscale.</span></div>",
                    elem_id="empty",
                )
                self.slider = gr.HTML(visible=False, elem_id="slider")
                self.facts = gr.HTML(elem_id="facts")
                with gr.Row(visible=False, equal_height=True, elem_id="download-row") as self.row:
                    self.kind, self.quality = formats()
                    self.download = gr.DownloadButton("Download", variant="primary", elem_id="download", min_width=140)
                self.trouble = gr.HTML(elem_id="trouble")
        shown = [self.empty, self.slider, self.facts, self.row, self.trouble]
        self.photo.change(self._changed, None, [self.status, *shown], **QUICK)  # apart, for looking may take a while
        self.photo.change(self._arrived, [self.photo, *self.form.inputs], [self.about, self.reuse], **QUICK, **RAW)
        gr.on(
            [each.change for each in (self.form.size_kind, self.form.size, self.form.model, self.form.fields["steps"])],
            self._offered,
            self.form.inputs,
            self.about,
            trigger_mode="always_last",
            **QUICK,
        )
        self.reuse.click(self._reused, None, self.form.reusable, **QUICK)
        inputs, outputs = [self.photo, self.kind, self.quality, *self.form.inputs], [*shown, self.download]
        self.connect(inputs, outputs)
        outputs = [self.queue, self.status, self.run, self.stop, *outputs]
        self.preview.click(self._preview, inputs, outputs, **LONG, **RAW)
        self.photo.select(self._preview_there, inputs, outputs, **LONG, **RAW)
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

    def _cleared(self) -> Changes:
        """No result, where there was one of something else."""
        return {
            self.empty: gr.HTML(visible=True),
            self.slider: gr.HTML("", visible=False),
            self.facts: "",
            self.row: gr.Row(visible=False),
            self.trouble: "",
        }

    def _changed(self, request: gr.Request) -> Changes:
        at_work = self.desk.visitor(request).at_work(_PART)
        return self._cleared() | {self.status: gr.skip() if at_work else ""}

    def _arrived(self, request: gr.Request, payload: Any, *values: Any) -> Changes:
        about, reusable = self._looked_at(request, payload, values)
        return {self.about: about, self.reuse: gr.Button(visible=reusable)}

    def _offered(self, request: gr.Request, *values: Any) -> Any:
        """The size and time of the result for other settings."""
        photo = self.desk.visitor(request).photo
        if photo is None:
            return gr.skip()
        try:
            return self._offer(photo, values)
        except LpnsrError as error:
            return texts.problem(renamed(error, photo.path, photo.name))

    def _offer(self, photo: Upload, values: tuple[Any, ...]) -> str:
        options, device = self.form.options(values)
        engine = self.desk.fleet.pick(device)
        chosen = engine.models.check(JobOptions(**options))
        scale = self.desk.models.spec(str(chosen.model)).scale
        size, result = inspect(photo.path, photo.name, chosen, self.desk.limits, scale)
        return texts.offer(photo.name, size, result, engine.expected_seconds(chosen, size[0] * size[1]))

    def _looked_at(self, request: gr.Request, payload: Any, values: tuple[Any, ...]) -> tuple[str, bool]:
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
            about = self._offer(photo, values)
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
        return self.form.reused(made or {})

    async def work(
        self, request: gr.Request, payload: Any, kind: str, quality: float, *values: Any
    ) -> AsyncGenerator[Changes]:
        """Upscale the photograph."""
        visitor = self.desk.visitor(request)
        photo = _chosen(visitor, payload)
        options, device = self.form.options(values)
        owner = request.client.host
        ticket = await asyncio.to_thread(self.desk.submit, visitor, _PART, photo, options, device, owner)
        async for change in self._followed(ticket, photo, lambda: self._done(visitor, ticket, photo, kind, quality)):
            yield change

    async def _preview(
        self, request: gr.Request, payload: Any, _kind: str, _quality: float, *values: Any
    ) -> AsyncIterator[Changes]:
        async for change in self._preview_at(request, None, payload, *values):
            yield change

    async def _preview_there(
        self, request: gr.Request, place: gr.SelectData, payload: Any, _kind: str, _quality: float, *values: Any
    ) -> AsyncIterator[Changes]:
        async for change in self._preview_at(request, place.index, payload, *values):
            yield change

    async def _preview_at(self, request: gr.Request, *chosen: Any) -> AsyncIterator[Changes]:
        """Make a preview, unless a job is at work: a click on the photograph does not end it."""
        if self.desk.visitor(request).at_work(_PART):
            yield {self.status: gr.skip()}
            return
        async for change in self.reacting(self._of_part(request, *chosen)):
            yield change

    async def _of_part(
        self, request: gr.Request, place: Sequence[int | None] | None, payload: Any, *values: Any
    ) -> AsyncGenerator[Changes]:
        """Upscale the part around ``place`` (x, y), by default the middle.

        A picture that the browser does not show has no places: both are None.
        """
        visitor = self.desk.visitor(request)
        photo = _chosen(visitor, payload)
        options, device = self.form.options(values)
        chosen = self.desk.fleet.pick(device).models.check(JobOptions(**options))
        scale = self.desk.models.spec(str(chosen.model)).scale
        size, result = inspect(photo.path, photo.name, chosen, self.desk.limits, scale)
        places = (None, None) if place is None else (place[1], place[0])
        down, across = (
            0.5 if at is None else min(1.0, max(0.0, (at - _PART_SIDE / 2) / max(1, side - _PART_SIDE)))
            for at, side in zip(places, size, strict=True)
        )
        part = self.desk.new_file(visitor, "part.png")
        most = self.desk.limits.max_pixels
        await asyncio.to_thread(
            pictures.cropped, photo.path, part, _PART_SIDE, across, down, max_pixels=most, name=photo.name
        )
        options = {name: value for name, value in options.items() if name not in ("width", "height", "max_side")}
        options["scale"] = result[1] / size[1]
        owner, upload = request.client.host, Upload(part, photo.name)
        ticket = await asyncio.to_thread(self.desk.submit, visitor, _PART, upload, options, device, owner)

        def shown() -> Changes:
            status = ticket.status
            facts = f"A preview of {photo.name}: a part of {status.width} x {status.height} px"
            return self._pair(visitor, ticket, part) | {self.status: "", self.facts: texts.note(facts)}

        async for change in self._followed(ticket, photo, shown):
            yield change

    async def _followed(self, ticket: Ticket, photo: Upload, shown: Callable[[], Changes]) -> AsyncGenerator[Changes]:
        """Follow a job from the queue to the two pictures."""
        async with following(ticket, [photo.path]) as statuses:
            yield self.working() | self._cleared()
            async for status in statuses:
                yield {self.status: texts.progress(status), self.queue: texts.queues(self.desk.fleet)}
        if status.state is not State.DONE:
            yield {self.status: texts.progress(status)}
            return
        yield {self.status: texts.bar(1, "Preparing the pictures")}
        try:
            yield await asyncio.to_thread(shown)
        except LpnsrError as error:
            yield {self.status: texts.problem(renamed(error, photo.path, photo.name))}

    def _pair(self, visitor: Visitor, ticket: Ticket, source: Path) -> Changes:
        """The pictures before and after, smaller ones where they are too large for a browser."""
        status, limits = ticket.status, self.desk.limits
        before, after = (self.desk.new_file(visitor, name) for name in ("before.png", "after.png"))
        pictures.shown(source, before, max_pixels=limits.max_pixels, size=(status.height, status.width))
        if status.width * status.height > pictures.MOST_SHOWN:
            pictures.shown(ticket.result(), after, max_pixels=limits.result_pixels)
        else:
            after = self.desk.handed_out(visitor, ticket.result(), after.name)
        return {
            self.empty: gr.HTML(visible=False),
            self.slider: gr.HTML(texts.compared(before, after, (status.height, status.width)), visible=True),
        }

    def _done(self, visitor: Visitor, ticket: Ticket, photo: Upload, kind: str, quality: float) -> Changes:
        """The pictures, the facts and the download of a job that is done."""
        status = ticket.status
        facts = texts.made_with(status)
        if visitor.photo is not None and visitor.photo.path.resolve() != photo.path.resolve():
            facts += texts.note(f"This result is of {photo.name}, not of the photograph that you chose later")
        if status.width * status.height > pictures.MOST_SHOWN:
            facts += texts.note("This is too large for a browser: it is shown smaller, but the download has full size")
        return {
            self.status: "",
            **self._pair(visitor, ticket, photo.path),
            self.facts: facts,
            self.row: gr.Row(visible=True),
            **self._download(visitor, ticket, kind, quality),
        }

    def _download(self, visitor: Visitor, ticket: Ticket, kind: str, quality: float) -> Changes:
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

    async def _convert(self, request: gr.Request, kind: str, quality: float) -> AsyncIterator[Changes]:
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


def _chosen(visitor: Visitor, payload: Any) -> Upload:
    """The photograph on the page. Raises InputError where there is none."""
    photo = next(iter(uploads(payload)), visitor.photo)
    if photo is None:
        raise InputError("there is no photograph yet; drop one above, or click an example")
    return photo
