"""The base of the tabs: their buttons, and the end of a run."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import gradio as gr

from lpnsr.apps.web import texts
from lpnsr.apps.web.desk import Desk
from lpnsr.apps.web.tabs.components import LONG, QUICK, RAW
from lpnsr.errors import LpnsrError

_log = logging.getLogger(__name__)
Changes = dict[Any, Any]
"""New values or settings of components."""


class Tab:
    """A tab of the page. part: its name among the jobs of a visitor. prefix: of the ids of its elements."""

    part = ""
    prefix = ""
    status: gr.HTML

    def __init__(self, desk: Desk, queue: gr.HTML) -> None:
        self.desk, self.queue = desk, queue

    def buttons(self, label: str) -> None:
        """Make the button that begins a run, and the one that cancels it."""
        with gr.Row():
            self.run = gr.Button(label, variant="primary", elem_id=f"{self.prefix}run")
            self.stop = gr.Button("Cancel", variant="stop", visible=False, elem_id=f"{self.prefix}stop")

    def connect(self, inputs: list[Any], outputs: list[Any]) -> None:
        """Let the buttons do what they say. outputs: components that ``work`` changes, beside those of every tab."""
        self.run.click(self.react, inputs, [self.queue, self.status, self.run, self.stop, *outputs], **LONG, **RAW)
        self.stop.click(self._cancel, None, None, **QUICK)

    def work(self, request: gr.Request, *values: Any) -> AsyncGenerator[Changes]:
        """Do one run with the values of ``inputs``."""
        raise NotImplementedError

    async def react(self, request: gr.Request, *values: Any) -> AsyncIterator[Changes]:
        async for change in self.reacting(self.work(request, *values)):
            yield change

    async def reacting(self, work: AsyncGenerator[Changes]) -> AsyncIterator[Changes]:
        """Hand on the changes that ``work`` yields; say what failed; reset the buttons."""
        end: Changes = {self.run: gr.Button(interactive=True), self.stop: gr.Button(visible=False)}
        try:
            async with aclosing(work) as changes:
                async for change in changes:
                    yield change
        except LpnsrError as error:
            end[self.status] = texts.problem(str(error))
        except Exception:
            _log.exception("the tab %s failed", self.part)
            end[self.status] = texts.problem(texts.UNEXPECTED)
        yield end

    def working(self) -> Changes:
        """Return the state of the buttons during a run."""
        return {self.run: gr.Button(interactive=False), self.stop: gr.Button(visible=True)}

    def _cancel(self, request: gr.Request) -> None:
        self.desk.visitor(request).cancel(self.part)
