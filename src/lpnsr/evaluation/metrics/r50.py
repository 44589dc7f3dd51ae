"""R50: an uncalibrated feature distance on an ImageNet ResNet-50 v2, as a judge that no model here was trained on."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lpnsr.errors import CheckpointError
from lpnsr.system.tensor_files import read_state_dict

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STAGES = 3


class R50:
    """Mean over stem and stages 1..3 of the spatial mean of the squared difference of unit-normalised channels.

    weights: pre-activation trunk ``bn0 conv0 bn1``, ``stages.{i}.{j}`` with ``bn1 conv1 bn2 conv2 bn3 conv3`` and
    ``down`` on the first unit of a stage. Raises CheckpointError.
    """

    def __init__(self, weights: Path, device: str = "cpu") -> None:
        self.w = {name: tensor.to(device).float() for name, tensor in read_state_dict(weights).items()}
        for needed in ("conv0.weight", "bn0.running_mean", "stages.2.0.conv3.weight"):
            if needed not in self.w:
                raise CheckpointError(
                    f"{weights} has no {needed}: R50 needs the trunk of a pre-activation ResNet-50 v2"
                )

    def taps(self, x: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) in [0, 1] -> the four feature maps that are compared."""
        x = (x - x.new_tensor(_MEAN)[:, None, None]) / x.new_tensor(_STD)[:, None, None]
        x = F.conv2d(self._bn(x, "bn0"), self.w["conv0.weight"], stride=2, padding=3)
        x = F.max_pool2d(F.relu(self._bn(x, "bn1")), 3, 2, 1)
        maps = [x]
        for stage in range(_STAGES):
            unit = 0
            while f"stages.{stage}.{unit}.conv1.weight" in self.w:
                x = self._unit(x, f"stages.{stage}.{unit}", 2 if stage and unit == 0 else 1)
                unit += 1
            maps.append(x)
        return maps

    def __call__(self, sr: Tensor, hr: Tensor) -> float:
        """Compute the distance of two (3, H, W) in [0, 1]; lower is better."""
        pairs = zip(self.taps(sr[None].float()), self.taps(hr[None].float()), strict=True)
        distances = [(F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(1).mean() for x, y in pairs]
        return float(torch.stack(distances).mean())

    def _unit(self, x: Tensor, name: str, stride: int) -> Tensor:
        w = self.w
        h = F.relu(self._bn(x, f"{name}.bn1"))
        down = w.get(f"{name}.down.weight")
        short = x if down is None else F.conv2d(h, down, stride=stride)
        h = F.relu(self._bn(F.conv2d(h, w[f"{name}.conv1.weight"]), f"{name}.bn2"))
        h = F.relu(self._bn(F.conv2d(h, w[f"{name}.conv2.weight"], stride=stride, padding=1), f"{name}.bn3"))
        return F.conv2d(h, w[f"{name}.conv3.weight"]) + short

    def _bn(self, x: Tensor, name: str) -> Tensor:
        w = self.w
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-5)
