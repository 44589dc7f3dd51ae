"""Whether a network is being traced into a graph, whose sizes are not known while it is made."""

from __future__ import annotations

import torch


def is_tracing() -> bool:
    """True while the exporter follows a forward: sizes then have to stay arithmetic, without branches on them."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]
