"""Memory to plan with."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lpnsr.errors import ConfigError

if TYPE_CHECKING:
    import torch

_FALLBACK = 2 << 30
_CGROUP = Path("/sys/fs/cgroup")


def parse_memory(value: int | str) -> int:
    """Convert a number or a text such as 1500M or 2G (1024 MiB, 2 GiB) to bytes. Raises ConfigError."""
    if isinstance(value, int) and value > 0:
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?\s*", str(value), re.IGNORECASE)
    size = int(float(match[1]) * 1024 ** (" KMGT".index(match[2].upper()))) if match else 0
    if size < 1:
        raise ConfigError(f"memory = {value!r}: a size such as 1500M or 2G is needed")
    return size


def available_memory(device: torch.device | str = "cpu") -> int:
    """Estimate the bytes that can be allocated now on ``device`` without swapping or dying.

    CPU: what the system has left, or the container's limit if that is lower. CUDA: free device memory plus
    what torch has cached. Other devices share the system's memory. 2 GiB where the system does not tell.
    """
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    v1 = _left(_CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
    found = [amount for amount in (_system(), _container(), v1) if amount is not None]
    return max(0, min(found)) if found else _FALLBACK


def peak_memory(device: torch.device | str = "cpu") -> int | None:
    """Return the most bytes held so far: on a CUDA device what torch allocated there, else resident memory.

    None where the system does not tell (Windows).
    """
    import torch

    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_memory() -> int | None:
    """Return the bytes of memory that this process holds now; where the system tells only the most so far, that."""
    pages = (_text(Path("/proc/self/statm")) or "").split()
    return int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else peak_memory()


def _system() -> int | None:
    if match := re.search(r"^MemAvailable:\s*(\d+)", _text(Path("/proc/meminfo")) or "", re.MULTILINE):
        return int(match[1]) * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # macOS tells the total only
    except (AttributeError, ValueError, OSError):
        return None


def _container() -> int | None:
    """Return the tightest limit of this process's control group and those above it, less what is in use."""
    line = re.search(r"^0::/*(.*)", _text(Path("/proc/self/cgroup")) or "", re.MULTILINE)
    group = _CGROUP / (line[1] if line else "")
    folders = [folder for folder in (group, *group.parents) if folder.is_relative_to(_CGROUP)]
    left = [_left(folder, "memory.max", "memory.current") for folder in folders]
    return min((amount for amount in left if amount is not None), default=None)


def _left(folder: Path, limit_name: str, usage_name: str) -> int | None:
    limit, usage = _text(folder / limit_name), _text(folder / usage_name)
    if not limit or not limit.strip().isdigit() or int(limit) >= 1 << 60:
        return None
    cache = re.search(r"^inactive_file (\d+)", _text(folder / "memory.stat") or "", re.MULTILINE)
    return int(limit) - int(usage or 0) + int(cache[1] if cache else 0)  # file cache counts as used, but gives way


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
