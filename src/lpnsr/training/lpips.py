"""LPIPS (Zhang et al. 2018) with the SqueezeNet v0.1 calibration, from the package's own 1.5 MB of weights."""

from __future__ import annotations

from importlib.resources import files

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor, nn

_FIRE_POOLS = (3, 6, 9)
_FIRES = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128), 9: (256, 48, 192)}
_FIRES |= {10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}
_TAPS = (1, 4, 7, 9, 10, 11, 12)
TAP_CHANNELS = (64, 128, 256, 384, 384, 512, 512)


class _Fire(nn.Module):
    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


class LPIPS(nn.Module):
    """Perceptual distance of two image batches: LPIPS()(a, b), each (B, 3, H, W) in [-1, 1] -> (B,).

    Sides of at least 32 px. Frozen: gradients flow to the images only.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {"0": nn.Conv2d(3, 64, 3, stride=2)}
        layers |= {str(index): _Fire(*shape) for index, shape in _FIRES.items()}
        self.features = nn.ModuleDict(layers)
        folder = files("lpnsr") / "weights" / "lpips"
        self.load_state_dict(load((folder / "squeezenet1_1.safetensors").read_bytes()))
        heads = load((folder / "lpips_squeeze_heads.safetensors").read_bytes())
        for index in range(len(_TAPS)):
            self.register_buffer(f"head{index}", heads[f"lin{index}.model.1.weight"], persistent=False)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    def taps(self, image: Tensor) -> list[Tensor]:
        """The seven feature maps that the distance compares."""
        x = F.relu(self.features["0"]((image - self.shift) / self.scale))
        maps = [x]
        for index in range(3, 13):
            if index in _FIRE_POOLS:
                x = F.max_pool2d(x, 3, 2, ceil_mode=True)
            if str(index) in self.features:
                x = self.features[str(index)](x)
            if index in _TAPS:
                maps.append(x)
        return maps

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """LPIPS of two lists of ``taps``: (B,)."""
        total = torch.zeros(len(a[0]), device=a[0].device)
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            difference = (_unit(x) - _unit(y)) ** 2
            total = total + F.conv2d(difference, getattr(self, f"head{index}")).float().mean((1, 2, 3))
        return total

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """(B, 3, H, W), (B, 3, H, W) in [-1, 1] -> (B,)."""
        return self.distance(self.taps(a), self.taps(b))


def _unit(x: Tensor) -> Tensor:
    """x over its length along the channels, in x's own precision; a dead position stays zero."""
    return F.normalize(x, dim=1, eps=1e-10 if x.dtype == torch.float32 else 1e-4)
