"""Score SR images against HR images of the same names: one line of means a folder.

    python benchmarks/score.py --hr HR_DIR SR_DIR... [--r50 resnet50v2_trunk.safetensors]

PSNR and SSIM: Y channel (BT.601, 16..235), 4 px border, SSIM with an 11 px Gaussian window (sigma 1.5). LPIPS:
SqueezeNet v0.1. R50: feature distance of an ImageNet ResNet-50 v2, uncalibrated, where its weights are given.
A folder whose images are smaller (LR) is upsampled by bicubic first and so scores the baseline.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from lpnsr.training.lpips import LPIPS

BORDER = 4


def read(path: Path) -> Tensor:
    """(1, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None].float() / 255


def luma(x: Tensor) -> Tensor:
    """BT.601 studio luma on 16..235, without the border."""
    y = 16 + (x * x.new_tensor([65.481, 128.553, 24.966])[:, None, None]).sum(1, keepdim=True)
    return y[..., BORDER:-BORDER, BORDER:-BORDER]


def psnr(a: Tensor, b: Tensor) -> float:
    """10 log10(255^2 / MSE) of the luma."""
    return float(10 * torch.log10(255**2 / (luma(a).double() - luma(b).double()).square().mean()))


def ssim(a: Tensor, b: Tensor) -> float:
    """Mean SSIM of the luma (Wang et al. 2004)."""
    axis = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-(axis**2) / (2 * 1.5**2))
    window = torch.outer(line, line)[None, None] / line.sum() ** 2
    x, y = luma(a).double(), luma(b).double()
    mx, my, xx, yy, xy = (F.conv2d(v, window) for v in (x, y, x * x, y * y, x * y))
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    vx, vy, cov = xx - mx * mx, yy - my * my, xy - mx * my
    return float((((2 * mx * my + c1) * (2 * cov + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean())


class R50:
    """Mean over stem and stages 1..3 of the mean squared difference of unit-normalised channels."""

    def __init__(self, weights: Path) -> None:
        self.w = {k: v.float() for k, v in load_file(weights).items()}

    def _bn(self, x: Tensor, name: str) -> Tensor:
        w = self.w
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-5)

    def _unit(self, x: Tensor, name: str, stride: int) -> Tensor:
        w = self.w
        h = F.relu(self._bn(x, f"{name}.bn1"))
        down = w.get(f"{name}.down.weight")
        short = x if down is None else F.conv2d(h, down, stride=stride)
        h = F.relu(self._bn(F.conv2d(h, w[f"{name}.conv1.weight"]), f"{name}.bn2"))
        h = F.relu(self._bn(F.conv2d(h, w[f"{name}.conv2.weight"], stride=stride, padding=1), f"{name}.bn3"))
        return F.conv2d(h, w[f"{name}.conv3.weight"]) + short

    def taps(self, x: Tensor) -> list[Tensor]:
        """Features of (B, 3, H, W) in [0, 1]."""
        x = (x - x.new_tensor([0.485, 0.456, 0.406])[:, None, None]) / x.new_tensor([0.229, 0.224, 0.225])[
            :, None, None
        ]
        x = F.relu(self._bn(F.conv2d(self._bn(x, "bn0"), self.w["conv0.weight"], stride=2, padding=3), "bn1"))
        x = F.max_pool2d(x, 3, 2, 1)
        maps = [x]
        for stage in range(3):
            units = sum(k.startswith(f"stages.{stage}.") and k.endswith("conv1.weight") for k in self.w)
            for unit in range(units):
                x = self._unit(x, f"stages.{stage}.{unit}", 2 if stage and unit == 0 else 1)
            maps.append(x)
        return maps

    def __call__(self, a: Tensor, b: Tensor) -> float:
        distances = [
            (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(1).mean()
            for x, y in zip(self.taps(a), self.taps(b), strict=True)
        ]
        return float(torch.stack(distances).mean())


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--hr", type=Path, required=True)
    parser.add_argument("--r50", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    options = parser.parse_args()
    lpips, r50 = LPIPS(), R50(options.r50) if options.r50 else None
    for folder in options.folders:
        rows = []
        for path in sorted(options.hr.iterdir()):
            hr = read(path)
            sr = read(next(folder.glob(f"{path.stem}*")))
            if sr.shape != hr.shape:
                sr = F.interpolate(sr, size=hr.shape[-2:], mode="bicubic").clamp(0, 1)
            row = [psnr(sr, hr), ssim(sr, hr), float(lpips(sr * 2 - 1, hr * 2 - 1))]
            rows.append([*row, r50(sr, hr)] if r50 else row)
        means = np.mean(rows, 0)
        names = ("PSNR", "SSIM", "LPIPS", "R50")
        print(
            f"{folder}: " + "  ".join(f"{n} {m:.4f}" for n, m in zip(names, means, strict=False)),
            f"({len(rows)} images)",
        )


if __name__ == "__main__":
    main()
