"""Networks on a device, in the layout and with the convolutions that are fastest there."""

from __future__ import annotations

import torch
from torch import nn

from lpnsr.networks.layers import winograd


def memory_format(device: torch.device, dtype: torch.dtype) -> torch.memory_format:
    """Return the layout of images and weights in which the networks are fastest there."""
    by_planes = device.type == "cpu" and dtype == torch.float32 and winograd.pays()
    return torch.contiguous_format if by_planes else torch.channels_last


def settle(net: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Move ``net`` to ``device``, in the layout and with the convolutions that are fastest there."""
    net.to(device, memory_format=memory_format(device, dtype))  # type: ignore[call-overload]
    if device.type == "cpu" and winograd.pays():
        winograd.use_winograd(net)
