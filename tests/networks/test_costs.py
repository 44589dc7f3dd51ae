"""The cost of networks: against hand counts, and against what is computed on a real device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lpnsr.diffusion import NoiseField
from lpnsr.evaluation.roofline import Counter
from lpnsr.networks import build, chain_flops, cost
from support.tiny_model import GUIDED, NETWORKS, tiny_upscaler


class Toy(nn.Module):
    """A foreign pre-upsampler of one convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, padding=1)

    def upsample(self, lr: Tensor) -> tuple[Tensor, None]:
        return self.conv(lr), None


class Stubborn(Toy):
    """A pre-upsampler that looks at its values."""

    def upsample(self, lr: Tensor) -> tuple[Tensor, None]:
        return super().upsample(lr + lr.numpy().mean())


def test_a_convolution_by_hand() -> None:
    counted = cost(Toy(8))
    assert counted.parameters == 8 * (3 * 9 + 1)
    assert counted.flops == {"upsample": 2 * 9 * 3 * 8}
    assert cost(build({"type": "bicubic"})).parameters == 0


def test_what_needs_values_is_not_counted() -> None:
    counted = cost(Stubborn(8))
    assert (counted.parameters, counted.flops) == (224, {})
    assert chain_flops({"upsampler": Stubborn(8)}, 0) is None


@pytest.mark.parametrize("networks", [NETWORKS, GUIDED], ids=["plain", "guided"])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_a_chain_is_what_a_device_computes(networks: Mapping[str, Any], steps: int) -> None:
    restorer = tiny_upscaler(networks=dict(networks)).restorer
    parts = {name: getattr(restorer, name) for name in networks}
    with Counter() as counter, torch.no_grad():
        restorer.restore(torch.rand(1, 3, 64, 64), NoiseField(0).draw(), steps=steps)
    assert chain_flops(parts, steps) == counter.work.flop / 64**2


def test_the_count_leaves_the_network_as_it_is() -> None:
    net = build(NETWORKS["denoiser"])
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    cost(net)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_configurations_are_told_apart() -> None:
    small, large = (build(GUIDED["upsampler"] | {"blocks": blocks}) for blocks in (1, 2))
    assert cost(small).flops["upsample"] < cost(large).flops["upsample"]
