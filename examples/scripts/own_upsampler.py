"""A start of your own for the chain: python own_upsampler.py photo.jpg photo_x4.png

--network FILE takes any 4x network that spandrel reads (Real-ESRGAN, SwinIR, HAT, DAT, ...; pip install
'lpnsr[upsamplers]').
"""

import argparse
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr import Upscaler
from lpnsr.checkpoints.convert import load_upsampler
from lpnsr.system.tensor_files import read_state_dict


class Sharpened(nn.Module):
    """Bicubic with raised edges: lr (B, 3, h, w) in [0, 1] -> (B, 3, 4h, 4w). Any module can take its place."""

    def forward(self, lr: Tensor) -> Tensor:
        large = F.interpolate(lr, scale_factor=4, mode="bicubic")
        blurred = F.avg_pool2d(F.pad(large, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
        return large + 0.8 * (large - blurred)


class Start(nn.Module):
    """The image of one network, and the features of the model's own, which guide the chain."""

    role = "upsampler"
    scale = 4

    def __init__(self, network: nn.Module, guide: nn.Module) -> None:
        super().__init__()
        self.network, self.guide = network, guide
        self.feature_channels = guide.feature_channels

    def forward(self, lr: Tensor) -> Tensor:
        return self.network(lr)

    def upsample(self, lr: Tensor) -> tuple[Tensor, Tensor | None]:
        return self(lr), self.guide.upsample(lr)[1]


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("photo", type=Path)
parser.add_argument("result", type=Path)
parser.add_argument("--network", type=Path)
parser.add_argument("--steps", type=int, default=None, help="0 is the start alone")
arguments = parser.parse_args()

up = Upscaler.from_pretrained("lite")
network = load_upsampler(read_state_dict(arguments.network)) if arguments.network else Sharpened()
restorer = up.restorer
restorer.upsampler = Start(network, restorer.upsampler).eval().requires_grad_(False).to(up.device)
up = Upscaler(up.spec, restorer, device=str(up.device))  # plans memory for the new network
up.upscale_file(arguments.photo, arguments.result, steps=arguments.steps)
