"""The standard streams of a process that was started without them."""

from __future__ import annotations

import os
import sys


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
