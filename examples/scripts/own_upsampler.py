"""A start of your own for the chain: python own_upsampler.py photo.jpg photo_x4.png

For the file of a network that spandrel reads, no script is needed: lpnsr upscale --start FILE.
"""

import argparse
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr import Upscaler
from lpnsr.networks import OtherStart


class Sharpened(nn.Module):
    """Bicubic with raised edges: lr (B, 3, h, w) in [0, 1] -> (B, 3, 4h, 4w). Any module can take its place."""

    scale = 4

    def forward(self, lr: Tensor) -> Tensor:
        large = F.interpolate(lr, scale_factor=4, mode="bicubic")
        blurred = F.avg_pool2d(F.pad(large, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
        return large + 0.8 * (large - blurred)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("photo", type=Path)
parser.add_argument("result", type=Path)
parser.add_argument("--steps", type=int, default=None, help="0 is the start alone")
arguments = parser.parse_args()

up = Upscaler.from_pretrained("lite")
restorer = up.restorer
restorer.upsampler = OtherStart.of(Sharpened(), restorer.upsampler)  # the model's own still guides the chain
up = Upscaler(up.spec, restorer, device=str(up.device))  # plans memory for the new network
up.upscale_file(arguments.photo, arguments.result, steps=arguments.steps)
