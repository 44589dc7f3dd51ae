"""Many photographs or a zip of them in, a zip out."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import gradio as gr

from lpnsr.apps.jobs import BusyError, State, Status
from lpnsr.apps.web import pictures, texts
from lpnsr.apps.web.archive import Member, Results, members
from lpnsr.apps.web.desk import Desk, Upload, Visitor, digest
from lpnsr.apps.web.fleet import Ticket, following, renew
from lpnsr.apps.web.tabs.components import form, formats, quality_of, uploads
from lpnsr.apps.web.tabs.tab import Changes, Tab
from lpnsr.errors import LpnsrError

_PART = "batch"
_SHOWN = 200  # files of a batch that are listed
_SMALL = 10_000  # pixels of the picture of one


class BatchTab(Tab):
    """Components of the tab, and their handlers."""

    part = _PART
    prefix = "batch-"

    def __init__(self, desk: Desk, queue: gr.HTML) -> None:
        super().__init__(desk, queue)
        with gr.Row(elem_classes="lp-columns"):
            with gr.Column(scale=2, min_width=320):
                self.files = gr.File(
                    label="Photographs, or zip files of them", file_count="multiple", height=220, elem_id="files"
                )
                self.form = form(desk)
                with gr.Row():
                    self.kind, self.quality = formats()
                self.buttons("Upscale all")
            with gr.Column(scale=3, min_width=320):
                self.status = gr.HTML(elem_id="batch-status")
                self.download = gr.DownloadButton(
                    "Download zip", variant="primary", visible=False, elem_id="batch-download"
                )
                self.list = gr.HTML(_EMPTY, elem_id="batch-list")
        inputs = [self.files, self.kind, self.quality, *self.form.inputs]
        self.connect(inputs, [self.download, self.list])

    async def work(
        self, request: gr.Request, payload: Any, kind: str, quality: float, *values: Any
    ) -> AsyncGenerator[Changes]:
        """Do one file after the other, with room between them for other visitors' jobs."""
        visitor = self.desk.visitor(request)
        visitor.batches += 1
        yield self.working() | {
            self.download: gr.DownloadButton(visible=False),
            self.status: texts.bar(0, "Reading the files"),
            self.list: "",
        }
        batch = Batch(self.desk, visitor, request.client.host, visitor.batches)
        options, batch.device = self.form.options(values)
        batch.options = options | {"format": kind, "quality": quality_of(kind, quality)}
        async with aclosing(batch.work(uploads(payload))) as news:
            async for _ in news:
                shown = {self.status: batch.progress(), self.list: batch.rows()}
                yield shown | {self.queue: texts.queues(self.desk.fleet)}
        path = batch.finish()
        yield {
            self.status: texts.note(batch.summary()),
            self.list: batch.rows(),
            self.download: gr.DownloadButton(value=str(path) if path else None, visible=path is not None),
        }


class Batch:
    """One run over the files of a visitor."""

    def __init__(self, desk: Desk, visitor: Visitor, owner: str, number: int) -> None:
        self.desk, self.visitor, self.owner, self.number = desk, visitor, owner, number
        self.options: dict[str, Any] = {}
        self.device = ""
        self.members: list[Member] = []
        self.states: list[tuple[str, str]] = []
        self.results = Results(desk.new_file(visitor, "lpnsr.zip"))
        self.pictures: dict[int, Path] = {}  # small, of results, by the places of their members
        self.made: dict[tuple[str, str], tuple[str, str]] = {}  # in this run: members and their results, by name
        self.current: Status | None = None
        self.started = time.monotonic()
        self.worked = 0

    @property
    def stopped(self) -> bool:
        return self.visitor.stopped >= self.number

    async def work(self, files: list[Upload]) -> AsyncGenerator[None]:
        """Yields whenever there is news."""
        self.members = await asyncio.to_thread(members, files)
        self.states = [("waiting", "waiting")] * len(self.members)
        for index, member in enumerate(self.members):
            if self.stopped:
                break
            self.states[index] = ("working", "working")
            renew(self._needed(index))
            yield
            try:
                async for _ in self._one(index, member):
                    yield
            except LpnsrError as error:
                self.states[index] = ("failed", _after(member.name, str(error)))
            self._note(index)
        for index, (state, _) in enumerate(self.states):
            if state in ("waiting", "working"):
                self.states[index] = ("cancelled", "cancelled")
                self._note(index)

    def _note(self, index: int) -> None:
        """Note in the report that a member has no result."""
        state, text = self.states[index]
        if state in ("failed", "cancelled", "expired"):
            self.results.missing(self.members[index].name, state, text)

    async def _one(self, index: int, member: Member) -> AsyncGenerator[None]:
        path = await asyncio.to_thread(self.desk.new_file, self.visitor, "input")
        try:
            await asyncio.to_thread(member.save, path, self.desk.limits.max_upload)
            key = (await asyncio.to_thread(digest, path), json.dumps(self.options, sort_keys=True))
            earlier = self._finished(key)
            if earlier is not None:
                if other := self.made.get(key):
                    self.results.same(member.name, *other)
                    self.states[index] = ("same", f"same as {other[0]}")
                else:
                    added = await asyncio.to_thread(self._add, index, earlier, "skipped", "finished before")
                    self.made[key] = member.name, added
                    self.states[index] = ("skipped", "finished before")
                return
            upload = Upload(path, member.name.rpartition("/")[2])
            ticket = None
            while ticket is None and not self.stopped:
                try:
                    ticket = await asyncio.to_thread(
                        self.desk.submit, self.visitor, _PART, upload, self.options, self.device, self.owner
                    )
                except BusyError as error:  # many visitors: this one waits for a place
                    self.states[index] = ("working", "the queue is full; waiting for a place")
                    renew({path, *self._needed(index)})
                    yield
                    await asyncio.sleep(min(error.retry_after, 5))
        finally:
            self.desk.drop(self.visitor, path)
        if ticket is None:
            return
        async with following(ticket, self._needed(index)) as statuses:
            async for self.current in statuses:
                self.states[index] = ("working", self.current.state.value)
                yield
                if self.stopped:
                    ticket.cancel()
        status = ticket.status
        if status.state is State.DONE:
            self.worked += 1
            self.visitor.finished[key] = ticket
            notes = [note.removeprefix(f"result{status.options.extension}: ") for note in status.warnings]
            self.made[key] = member.name, await asyncio.to_thread(self._add, index, ticket, "done", "; ".join(notes))
            self.states[index] = ("done", "; ".join([f"{status.width} x {status.height} px", *notes]))
        else:
            self.states[index] = (status.state.value, _after(member.name, status.error or status.state.value))

    def _needed(self, index: int) -> set[Path]:
        """Files that the members from this one on are in, the zip of the results, and their pictures."""
        return {self.results.path, *self.pictures.values(), *(member.file for member in self.members[index:])}

    def _finished(self, key: tuple[str, str]) -> Ticket | None:
        """The job that made this file with these options, if its result is still there."""
        ticket = self.visitor.finished.get(key)
        try:
            return ticket if ticket and ticket.status.state is State.DONE else None
        except LpnsrError:
            return None

    def _add(self, index: int, ticket: Ticket, state: str, what: str) -> str:
        """Add a result to the zip, and return its name there."""
        member, status = self.members[index], ticket.status  # what was finished before may have had another name
        name = f"{Path(member.name).stem}_{status.width}x{status.height}{status.options.extension}"
        added = self.results.add(member.name, ticket.result(), name, state, what)
        with suppress(LpnsrError):  # the result is there without its picture too
            picture = self.desk.new_file(self.visitor, "small.png")
            pictures.shown(ticket.result(), picture, max_pixels=self.desk.limits.result_pixels, most=_SMALL)
            self.pictures[index] = picture
        return added

    def progress(self) -> str:
        settled = sum(state not in ("waiting", "working") for state, _ in self.states)
        fraction = (settled + (self.current.progress if self.current and not self.current.state.ended else 0)) / max(
            1, len(self.states)
        )
        text = f"{settled} of {len(self.states)} done"
        if self.worked and fraction < 1:
            each = (time.monotonic() - self.started) / self.worked
            text += f", {texts.spoken(each * (len(self.states) - settled))} left"
        return texts.bar(fraction, text)

    def summary(self) -> str:
        count = {state: sum(other == state for other, _ in self.states) for state, _ in self.states}
        words = {"done": "upscaled", "same": "the same as another", "skipped": "finished before"}
        words |= {state: state for state in ("failed", "cancelled")}
        return ", ".join(f"{count[state]} {word}" for state, word in words.items() if state in count)

    def rows(self) -> str:
        entries = [
            (member.name, *state, self.pictures.get(index))
            for index, (member, state) in enumerate(zip(self.members, self.states, strict=True))
        ]
        at = next((i for i, (state, _) in enumerate(self.states) if state in ("waiting", "working")), 0)
        first = max(0, min(at - _SHOWN // 2, len(entries) - _SHOWN))
        return texts.rows(entries[first : first + _SHOWN])

    def finish(self) -> Path | None:
        """The zip with what is finished; None if nothing is."""
        self.results.finish()
        return self.results.path if self.results.count else None


def _after(name: str, text: str) -> str:
    """A sentence about a file without its name, which stands beside it."""
    return text.removeprefix(f"{name.rpartition('/')[2]}: ").removeprefix(f"{name}: ")


_EMPTY = (
    '<div class="lp-empty"><b>The state of every file appears here</b><span>A repeated run with the same '
    "settings keeps finished results, also after Cancel. "
    "A file that cannot be read does not stop the others.</span></div>"
)
