"""What a process keeps of its memory, which is a setting of the process: seen in processes of their own."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys

import pytest
import torch

from lpnsr.errors import ConfigError
from lpnsr.system import devices
from lpnsr.system.devices import multiplies_bf16 as _multiplies_bf16
from lpnsr.system.devices import pick_device, pick_dtype

_ONE_BY_ONE = """
import resource, sys, torch
from lpnsr import Upscaler
Upscaler.from_pretrained("lite", device="cpu", memory=sys.argv[1] or None)
def rounds(count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        torch.empty(40 << 20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
rounds(3)
print(rounds(8))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no such setting")
@pytest.mark.parametrize(
    ("memory", "variables", "kept"),
    [("", {}, True), ("2G", {}, False), ("", {"MALLOC_MMAP_THRESHOLD_": "131072"}, False)],
)
def test_freed_blocks_are_used_again_unless_memory_is_bounded(
    memory: str, variables: dict[str, str], kept: bool
) -> None:
    clean = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES" and not k.startswith("MALLOC_")}
    command = [sys.executable, "-c", _ONE_BY_ONE, memory]
    environment = clean | variables
    faults = int(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
    pages = 8 * (40 << 20) // os.sysconf("SC_PAGE_SIZE")
    assert faults < pages / 20 if kept else faults > pages / 600  # with huge pages, a fault is for 512 of them


@pytest.mark.parametrize(("has", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_the_precision_of_a_cpu_is_what_it_multiplies_fastest(
    has: bool, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "multiplies_bf16", lambda: has)
    assert pick_dtype("auto", torch.device("cpu")) == expected
    assert pick_dtype("float32", torch.device("cpu")) == torch.float32


@pytest.mark.parametrize("instructions", ["_is_avx512_bf16_supported", "_is_amx_tile_supported"])
def test_bfloat16_by_avx512_or_amx(instructions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not _multiplies_bf16()
    monkeypatch.setattr(torch.cpu, instructions, lambda: True)
    assert _multiplies_bf16()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("foo", "device 'foo': choose auto, cuda, xpu, mps or cpu"),
        ("cuda:99", r"device 'cuda:99' cannot be used \(.{5,150}\); choose auto, cuda, xpu, mps or cpu"),
    ],
)
def test_a_device_that_is_not_there(name: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pick_device(name)
    assert re.fullmatch(words, str(caught.value))


@pytest.mark.parametrize(
    ("there", "wanted"),
    [("", "cpu"), ("mps", "mps"), ("xpu mps", "xpu"), ("cuda xpu", "cuda")],
)
def test_auto_takes_the_first_that_is_there(monkeypatch: pytest.MonkeyPatch, there: str, wanted: str) -> None:
    for name, module in (("cuda", torch.cuda), ("xpu", torch.xpu), ("mps", torch.backends.mps)):
        monkeypatch.setattr(module, "is_available", lambda name=name: name in there.split())
    assert pick_device("auto").type == wanted
