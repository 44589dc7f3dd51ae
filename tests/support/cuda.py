"""The device of the tests that are marked cuda: the NVIDIA GPU, or what LPNSR_TEST_DEVICE says, to try them out."""

from __future__ import annotations

import os

import pytest
import torch


@pytest.fixture(scope="session")
def gpu() -> torch.device:
    """The device, or a visible skip."""
    device = torch.device(os.environ.get("LPNSR_TEST_DEVICE", "cuda"))
    if device.type == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs an NVIDIA GPU; LPNSR_TEST_DEVICE=cpu tries the test on the processor")
    return device


@pytest.fixture(scope="session")
def real_gpu(gpu: torch.device) -> torch.device:
    """The device, or a visible skip where it has no memory and no queue of its own."""
    if gpu.type != "cuda":
        pytest.skip("needs an NVIDIA GPU")
    return gpu
