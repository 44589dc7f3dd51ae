"""LPIPS v0.1 (Zhang et al. 2018): on SqueezeNet from the package's own 1.5 MB of weights, or on the user's VGG-16."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr.errors import CheckpointError
from lpnsr.networks.tensors import load_strict
from lpnsr.system.tensor_files import read_state_dict

_WEIGHTS = Path(str(files("lpnsr"))) / "weights" / "lpips"


class _Fire(nn.Module):
    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1x1(x)), F.relu(self.expand3x3(x))], 1)


def _squeezenet() -> dict[int, nn.Module]:
    layers: dict[int, nn.Module] = {0: nn.Conv2d(3, 64, 3, stride=2), 1: nn.ReLU()}
    shapes = {3: (64, 16, 64), 4: (128, 16, 64), 6: (128, 32, 128), 7: (256, 32, 128), 9: (256, 48, 192)}
    shapes |= {10: (384, 48, 192), 11: (384, 64, 256), 12: (512, 64, 256)}
    layers |= {index: nn.MaxPool2d(3, 2, ceil_mode=True) for index in (2, 5, 8)}
    return layers | {index: _Fire(*shape) for index, shape in shapes.items()}


def _vgg16() -> dict[int, nn.Module]:
    layers: dict[int, nn.Module] = {}
    inputs = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers[len(layers)] = nn.Conv2d(inputs, width, 3, padding=1)
            layers[len(layers)] = nn.ReLU()
            inputs = width
        layers[len(layers)] = nn.MaxPool2d(2)
    del layers[len(layers) - 1]  # nothing is looked at behind the last
    return layers


_TRUNKS = {
    "squeeze": (_squeezenet, {1: 64, 4: 128, 7: 256, 9: 384, 10: 384, 11: 512, 12: 512}),
    "vgg": (_vgg16, {3: 64, 8: 128, 15: 256, 22: 512, 29: 512}),
}


class LPIPS(nn.Module):
    """Perceptual distance of two image batches: LPIPS()(a, b), each (B, 3, H, W) in [-1, 1] -> (B,).

    Sides of at least 32 px. Frozen: gradients flow to the images only. net: ``squeeze``, or ``vgg`` with the files
    ``trunk`` (torchvision's VGG-16) and ``heads`` (the published calibration). Raises CheckpointError.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: str = "squeeze", trunk: Path | None = None, heads: Path | None = None) -> None:
        super().__init__()
        if net == "squeeze":
            trunk, heads = _WEIGHTS / "squeezenet1_1.safetensors", _WEIGHTS / "lpips_squeeze_heads.safetensors"
        elif trunk is None or heads is None:
            raise CheckpointError(
                "LPIPS on VGG needs two files, which the recipe names: lpips: {net: vgg, trunk: FILE of torchvision's "
                "vgg16, heads: FILE vgg.pth of LPIPS v0.1}; net: squeeze needs none"
            )
        for key, file in (("trunk", trunk), ("heads", heads)):
            if not file.is_file():
                raise CheckpointError(
                    f"lpips.{key}: {file.absolute()} is no file: put it there, or name another in the recipe; net: "
                    "squeeze needs none"
                )
        make, self.taps_at = _TRUNKS[net]
        self.features = nn.ModuleDict({str(index): layer for index, layer in make().items()})
        load_strict(self.features, _trunk_weights(read_state_dict(trunk)), str(trunk))
        weights = _head_weights(read_state_dict(heads))
        for index, channels in enumerate(self.taps_at.values()):
            head = weights.get(index)
            if head is None or tuple(head.shape) != (1, channels, 1, 1):
                raise CheckpointError(f"{heads}: lin{index} of shape (1, {channels}, 1, 1) is missing")
            self.register_buffer(f"head{index}", head.float(), persistent=False)
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None], persistent=False)
        self.requires_grad_(False).eval()

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the feature maps that ``taps`` gives."""
        return tuple(self.taps_at.values())

    def taps(self, image: Tensor) -> list[Tensor]:
        """Return the feature maps that the distance compares."""
        x = (image - self.shift) / self.scale
        maps = []
        for index in sorted(map(int, self.features)):
            x = self.features[str(index)](x)
            if index in self.taps_at:
                maps.append(x)
        return maps

    def distance(self, a: list[Tensor], b: list[Tensor]) -> Tensor:
        """Compute LPIPS of two lists of ``taps``: (B,)."""
        total = torch.zeros(len(a[0]), device=a[0].device)
        for index, (x, y) in enumerate(zip(a, b, strict=True)):
            difference = (_unit(x) - _unit(y)) ** 2
            total = total + F.conv2d(difference, getattr(self, f"head{index}")).float().mean((1, 2, 3))
        return total

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        """Map (B, 3, H, W), (B, 3, H, W) in [-1, 1] -> (B,)."""
        return self.distance(self.taps(a), self.taps(b))


def _trunk_weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the convolutions of a file that may hold a whole classifier."""
    return {name.removeprefix("features."): t for name, t in tensors.items() if not name.startswith("classifier.")}


def _head_weights(tensors: Mapping[str, Tensor]) -> dict[int, Tensor]:
    """Return ``lin3.model.1.weight`` and the like, by their number."""
    return {int(name.split(".")[0][3:]): t for name, t in tensors.items() if name.startswith("lin")}


def _unit(x: Tensor) -> Tensor:
    """Divide x by its length along the channels, in x's own precision; a dead position stays zero."""
    return F.normalize(x, dim=1, eps=1e-10 if x.dtype == torch.float32 else 1e-4)
