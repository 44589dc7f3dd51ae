"""State of the work on one image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lpnsr.diffusion import StepState


@dataclass(frozen=True)
class Progress:
    """State handed to a callback: ``done`` of ``total`` tiles, and the chain's step when one has just ended."""

    done: int
    total: int
    step: StepState | None = None


Callback = Callable[[Progress], None]
