"""Third-party pre-upsamplers by way of spandrel."""

from __future__ import annotations

import copy
import json
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from lpnsr.errors import CheckpointError, ConfigError, MissingExtraError
from lpnsr.networks import SpandrelUpsampler, build, describe

COMPACT = {"num_feat": 8, "num_conv": 2, "upscale": 4, "act_type": "prelu"}
SWINIR = {
    "img_size": 16,
    "window_size": 8,
    "depths": [2],
    "embed_dim": 8,
    "num_heads": [2],
    "upsampler": "nearest+conv",
    "upscale": 4,
}
ESRGAN = {"num_filters": 8, "num_blocks": 1, "scale": 4}
RCAN = {"n_resgroups": 1, "n_resblocks": 1, "n_feats": 16, "scale": 4}  # scales its input in place


def weights(architecture: str, network: str, hyperparameters: dict[str, Any]) -> dict[str, Tensor]:
    pytest.importorskip("spandrel")
    module = __import__(f"spandrel.architectures.{architecture}", fromlist=[network])
    torch.manual_seed(0)
    return getattr(module, network)(**hyperparameters).state_dict()


@pytest.fixture(
    params=[
        ("Compact", "Compact", COMPACT),
        ("Compact", "Compact", {**COMPACT, "num_in_ch": 1, "num_out_ch": 1}),
        ("SwinIR", "SwinIR", SWINIR),
        ("ESRGAN", "ESRGAN", ESRGAN),
        ("RCAN", "RCAN", RCAN),
        ("ESRGAN", "ESRGAN", {**ESRGAN, "scale": 2, "shuffle_factor": 2}),
    ],
    ids=["compact", "grey", "swinir", "esrgan", "rcan", "x2"],
)
def state_dict(request: pytest.FixtureRequest) -> dict[str, Tensor]:
    return weights(*request.param)


@torch.no_grad()
def test_any_size(state_dict: dict[str, Tensor]) -> None:
    net = SpandrelUpsampler.from_state_dict(state_dict).eval()
    for height, width in [(1, 1), (5, 17), (16, 16)]:
        lr = torch.rand(2, 3, height, width)
        before = lr.clone()
        sr = net(lr)
        assert torch.equal(lr, before)
        assert sr.shape == (2, 3, net.scale * height, net.scale * width)
        torch.testing.assert_close(sr[1:], net(lr[1:]), rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_description_and_weights_rebuild(state_dict: dict[str, Tensor]) -> None:
    net = SpandrelUpsampler.from_state_dict(state_dict).eval()
    assert net.state_dict().keys() == state_dict.keys()
    again = build(json.loads(json.dumps(describe(net))))
    assert describe(again) == describe(net)
    again.load_state_dict(net.state_dict(), strict=True)
    lr = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(again.eval()(lr), net(lr))


def test_is_an_ordinary_module() -> None:
    net = SpandrelUpsampler.from_state_dict(weights("Compact", "Compact", COMPACT))
    twin, lr = copy.deepcopy(net), torch.rand(1, 3, 8, 8)
    before = net(lr)
    (gradient,) = torch.autograd.grad(before.sum(), net.body[0].weight)  # type: ignore[index,union-attr]
    assert gradient.any()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    torch.testing.assert_close(net(lr), before)
    assert not torch.allclose(twin(lr), before)
    assert net.to(torch.float64)(lr.double()).dtype == torch.float64
    assert net.train()._net.training
    assert not any(module.training for module in [*net.eval().modules(), net._net])


def test_what_is_no_model() -> None:
    with pytest.raises(CheckpointError, match="no architecture in these 1 tensors"):
        SpandrelUpsampler.from_state_dict({"weight": torch.zeros(3)})


def test_wrong_configurations() -> None:
    pytest.importorskip("spandrel")
    base = {"type": "spandrel", "architecture": "Compact", "network": "Compact"}
    with pytest.raises(ConfigError, match="no architecture 'Compcat'"):
        build({**base, "architecture": "Compcat"})
    for network in ("Nothing", "CompactArch", "torch"):
        with pytest.raises(ConfigError, match="no network"):
            build({**base, "network": network})
    with pytest.raises(ConfigError, match="hyperparameters"):
        build({**base, "hyperparameters": {"colour": 3}})


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'lpnsr\[upsamplers\]'"):
        build({"type": "spandrel", "architecture": "Compact", "network": "Compact"})
