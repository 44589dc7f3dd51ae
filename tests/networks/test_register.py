"""Networks from outside the package."""

from __future__ import annotations

from typing import Literal

import pytest
from torch import Tensor, nn

from lpnsr.errors import ConfigError
from lpnsr.networks import build, describe, register_network
from lpnsr.system.config import StrictConfig
from support.toy_networks import ToyUpsampler, ToyUpsamplerConfig


class Config(StrictConfig):
    type: Literal["mine"] = "mine"


class Mine(nn.Module):
    role = "upsampler"

    def upsample(self, lr: Tensor) -> tuple[Tensor, None]:
        return lr, None


def test_a_registered_network_is_built_and_described_like_any_other() -> None:
    net = build({"type": "toy_upsampler", "scale": 3})
    assert isinstance(net, ToyUpsampler)
    assert describe(net) == {"type": "toy_upsampler", "scale": 3}
    with pytest.raises(ConfigError, match="did you mean 'scale'"):
        build({"type": "toy_upsampler", "scal": 3})
    register_network("toy_upsampler", ToyUpsamplerConfig, ToyUpsampler)  # a module may be imported twice


@pytest.mark.parametrize(
    ("name", "net_class", "words"),
    [
        ("mine", type("Roleless", (nn.Module,), {}), r"Roleless\.role = None; allowed: autoencoder, upsampler"),
        ("mine", type("Odd", (Mine,), {"role": "critic"}), r"Odd\.role = 'critic'"),
        ("mine", type("Coder", (Mine,), {"role": "autoencoder"}), "Coder has no encode and no decode"),
        ("yours", Mine, 'Config needs the field type: Literal\\["yours"\\]'),
        ("bicubic", Mine, "Config needs the field"),
    ],
)
def test_what_is_missing_is_told(name: str, net_class: type[nn.Module], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        register_network(name, Config, net_class)
    with pytest.raises(ConfigError, match="network type 'mine' is unknown"):
        build({"type": "mine"})


def test_a_name_is_not_taken_from_another_class() -> None:
    with pytest.raises(ConfigError, match=r"'toy_upsampler' is support\.toy_networks\.ToyUpsampler; choose another"):
        register_network("toy_upsampler", ToyUpsamplerConfig, Mine)
