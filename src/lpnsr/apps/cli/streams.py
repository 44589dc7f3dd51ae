"""The standard streams of the process."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from lpnsr.errors import OutputError


class Output(io.TextIOWrapper):
    """Standard output. Raises OutputError where the system refuses to write, but for a pipe that nobody reads."""

    @classmethod
    def install(cls) -> None:
        """Put it in the place of ``sys.stdout``; characters that the console does not have are replaced."""
        usual = sys.stdout
        if isinstance(usual, io.TextIOWrapper):
            errors = "replace" if usual.errors == "strict" else usual.errors
            how = usual.line_buffering, usual.write_through
            sys.stdout = cls(usual.detach(), usual.encoding, errors, None, *how)

    def write(self, text: str) -> int:
        """Write, or begin to buffer, ``text``."""
        if text == "":  # by which typer asks whether this is a stream of text
            return 0
        with self._told():
            return super().write(text)

    def flush(self) -> None:
        """Write what is buffered."""
        with self._told():
            super().flush()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:
            raise
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # what is buffered is not tried again
            raise OutputError(f"standard output cannot be written: {error.strerror or error}") from None


def open_standard_streams() -> None:
    """Open what was closed of standard input, output and error on the null device.

    Else files that are opened later get their numbers, and messages of libraries are written into images.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name, descriptor, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))
