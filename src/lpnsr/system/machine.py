"""Description of this machine, for times measured on it."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch


def machine_of(device: torch.device) -> str:
    """Return the device by name, for a processor with its cores and the threads in use, and PyTorch's version."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)}), PyTorch {torch.__version__}"
    cores = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{device.type} ({_processor()}), {cores}, PyTorch {torch.__version__}"


@cache
def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()
