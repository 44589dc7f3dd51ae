"""A pre-upsampler of your own, where the chain starts: python own_upsampler.py photo.jpg photo_x4.png

--network FILE takes any 4x network that spandrel reads (Real-ESRGAN, SwinIR, HAT, DAT, ...; pip install
'lpnsr[upsamplers]'), --save FOLDER stores the result as a model: lpnsr upscale ... --model FOLDER.
"""

import argparse
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr import Upscaler
from lpnsr.checkpoints.convert import load_upsampler
from lpnsr.system.tensor_files import read_state_dict


class Sharpened(nn.Module):
    """Bicubic with raised edges: lr (B, 3, h, w) in [0, 1] -> (B, 3, 4h, 4w).

    Any module with these attributes and methods can take its place. One that a model folder names is registered with
    ``lpnsr.networks.register_network``.
    """

    role = "upsampler"
    scale = 4
    feature_channels = 0

    def upsample(self, lr: Tensor) -> tuple[Tensor, None]:
        return self(lr), None

    def forward(self, lr: Tensor) -> Tensor:
        large = F.interpolate(lr, scale_factor=4, mode="bicubic")
        blurred = F.avg_pool2d(F.pad(large, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
        return large + 0.8 * (large - blurred)


parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("photo", type=Path)
parser.add_argument("result", type=Path)
parser.add_argument("--network", type=Path)
parser.add_argument("--save", type=Path)
parser.add_argument("--steps", type=int, default=None, help="0 is the pre-upsampler alone")
arguments = parser.parse_args()

up = Upscaler.from_pretrained("lite")
network = load_upsampler(read_state_dict(arguments.network)) if arguments.network else Sharpened()
restorer = up.restorer
restorer.upsampler = network.eval().requires_grad_(False).to(up.device)
up = Upscaler(up.spec, restorer, device=str(up.device))  # plans memory for the new network
up.upscale_file(arguments.photo, arguments.result, steps=arguments.steps)
if arguments.save:
    if not arguments.network:
        parser.error("--save needs --network: a module of your own has no configuration that could be stored")
    told = {"name": arguments.save.name, "licence": "that of the network", "scores": ()}
    Upscaler(up.spec.model_copy(update=told), restorer).save_pretrained(arguments.save)
