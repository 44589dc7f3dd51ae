"""Device and dtype of the networks."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from functools import cache

import torch

from lpnsr.errors import ConfigError

DEVICES = ("cuda", "xpu", "mps", "cpu")
_CHOICES = f"{', '.join(DEVICES[:-1])} or {DEVICES[-1]}"


def pick_device(name: str) -> torch.device:
    """Choose a device; ``auto`` is the first that is there of cuda, xpu, mps and cpu.

    cuda is also AMD's with PyTorch's ROCm build; xpu is a GPU of Intel. Raises ConfigError for one that is not there.
    """
    if name == "auto":
        found = (torch.cuda.is_available(), torch.xpu.is_available(), torch.backends.mps.is_available(), True)
        return torch.device(DEVICES[found.index(True)])
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ConfigError(f"device {name!r}: choose auto, {_CHOICES}") from None
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = re.split(r"\. |[;\n]", str(error))[0][:150]
        raise ConfigError(f"device {name!r} cannot be used ({reason}); choose auto, {_CHOICES}") from None
    return device


def pick_dtype(name: str, device: torch.device) -> torch.dtype:
    """Choose a precision; ``auto`` is bfloat16 on a GPU or CPU that multiplies it faster, else float32."""
    if name == "auto":
        return torch.bfloat16 if _has_bf16(device) else torch.float32
    allowed = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in allowed:
        raise ConfigError(f"dtype {name!r}: choose auto, {', '.join(allowed)}")
    return allowed[name]


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # parameters of mallopt(3)
_KEPT = 512 << 20
_KEPT_BY_OLDER = 32 << 20  # some versions of glibc refuse more


@cache
def keep_freed_memory() -> None:
    """Let the C library keep freed memory blocks for later allocations, in the whole process.

    glibc gives large blocks back to the kernel at once and gets new pages for the next ones, each of them zeroed. Up to
    half a GiB stays with the process instead. Nothing happens with another C library, or where the environment
    configures glibc.
    """
    told = any(name == "GLIBC_TUNABLES" or name.startswith("MALLOC_") for name in os.environ)
    if told or platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    if mallopt(_M_MMAP_THRESHOLD, _KEPT) or mallopt(_M_MMAP_THRESHOLD, _KEPT_BY_OLDER):
        mallopt(_M_TRIM_THRESHOLD, _KEPT)


def has_amx() -> bool:
    """Tell whether the processor multiplies matrices of bfloat16 by itself, as Intel's for servers do since 2023."""
    asked = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return bool(asked())


def multiplies_bf16() -> bool:
    """Tell whether the processor multiplies bfloat16 by itself: twice as fast as float32, or more."""
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return bool(asked()) or has_amx()


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cpu":
        return multiplies_bf16()
    if device.type != "cuda":
        return False
    with torch.cuda.device(device):
        return torch.cuda.is_bf16_supported(including_emulation=False)
