"""Work shared by the processes of one run. When one process has ended, the others report it and end: on CPUs at once,
on GPUs by their launcher, or when the patience is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor

from lpnsr.errors import TrainingError
from lpnsr.training.extras import Accelerator, InitProcessGroupKwargs

PATIENCE = InitProcessGroupKwargs(timeout=timedelta(hours=6))
"""Time that the others wait while the first degrades photographs or exports a model."""


def reduce(accelerator: Accelerator, value: Tensor, how: str) -> Tensor:
    """The ``mean`` or ``sum`` of the processes' values."""
    if accelerator.num_processes == 1:
        return value
    with _together():
        reduced: Tensor = accelerator.reduce(value, how)
        return reduced


def meet(accelerator: Accelerator) -> None:
    """Wait until every process is here."""
    with _together():
        accelerator.wait_for_everyone()


@contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise TrainingError(
            f"another process of this run has ended ({str(error).splitlines()[0][:120]}); what was saved is whole, and "
            "the same call goes on from there"
        ) from None
