"""Checkpoint files of other projects: tiny networks that spandrel reads, of random weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch


def network_file(path: Path, scale: int = 2, **hyperparameters: int) -> Path:
    """A Compact network of a few channels in ``path``, under the wrapping of Real-ESRGAN's training."""
    compact = pytest.importorskip("spandrel.architectures.Compact")
    torch.manual_seed(scale)
    net = compact.Compact(**{"num_feat": 8, "num_conv": 1, "upscale": scale} | hyperparameters)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"params_ema": net.state_dict()}, path)
    return path
