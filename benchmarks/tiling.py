"""Planned against released tiling: python benchmarks/tiling.py

How many pixels each computes for common sizes, and what tiles do to the image: the difference between the tiled and
the untiled result, within the bands where tiles meet and elsewhere, on a flat image, a gradient and text, for several
overlaps. The released tiling pads to powers of two and takes 256 px at stride 128, with
Gaussian weights. Differences are in 8-bit levels; the steps elsewhere are what those in the bands are to be compared
with.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import cv2
import numpy as np
import torch
from plain import STRIDE, TILE, released_pixels, starts, tile_weight
from torch import Tensor

from lpnsr import Upscaler
from lpnsr.diffusion import NoiseField
from lpnsr.imaging import Blender, TilePlan, plan_tiles

SIZES = ((640, 480), (1280, 720), (1920, 1080), (4000, 3000))
Restore = Callable[[Tensor, int, int], Tensor]


def picture(kind: str, height: int, width: int) -> Tensor:
    """(3, height, width) in [0, 1]."""
    if kind == "flat":
        return torch.full((3, height, width), 0.6)
    if kind == "gradient":
        return torch.linspace(0.1, 0.9, width).expand(3, height, width).clone()
    page = np.full((height, width), 235, np.uint8)
    for row in range(12, height, 14):
        cv2.putText(page, "The quick brown fox jumps over the lazy dog 0123456789 " * 3, (2, row), 0, 0.38, 20, 1)
    return torch.from_numpy(page).float().div(255).expand(3, height, width).clone()


def planned(restore: Restore, lr: Tensor, plan: TilePlan) -> Tensor:
    blender = Blender(plan)
    strips: list[Tensor] = []
    for box in plan:
        blender.add(restore(box.crop(lr), box.top, box.left))
        strips += blender.finished(64)
    return torch.cat(strips, 1)


def released(restore: Restore, lr: Tensor, tile: int, stride: int) -> Tensor:
    """Tiles of fixed size at a fixed stride, all of them weighted by a Gaussian and averaged."""
    _, height, width = lr.shape
    total, weights = torch.zeros(3, 4 * height, 4 * width), torch.zeros(4 * height, 4 * width)
    for top in starts(height, tile, stride):
        for left in starts(width, tile, stride):
            sr = restore(lr[:, top : top + tile, left : left + tile], top, left)
            weight = tile_weight(*sr.shape[1:])
            rows, columns = slice(4 * top, 4 * top + sr.shape[1]), slice(4 * left, 4 * left + sr.shape[2])
            total[:, rows, columns] += sr * weight
            weights[rows, columns] += weight
    return total / weights


def near_seams(plan: TilePlan) -> Tensor:
    """Where tiles fade into each other: bool (4 height, 4 width)."""
    masks = []
    for axis in (plan.rows, plan.columns):
        mask = torch.zeros(4 * axis.length, dtype=torch.bool)
        for index in range(1, len(axis.starts)):
            begin, end = axis.seam(index)
            mask[4 * begin : 4 * end] = True
        masks.append(mask)
    return masks[0][:, None] | masks[1][None, :]


def steps_at(sr: Tensor, mask: Tensor) -> tuple[float, float]:
    """Mean step between neighbouring pixels, in levels, within the bands and elsewhere."""
    step = (sr[:, :, 1:] - sr[:, :, :-1]).abs().mean(0) * 255
    return float(step[mask[:, 1:]].mean()), float(step[~mask[:, 1:]].mean())


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite")
    parser.add_argument("--tile", type=int, default=128, help="of the comparison; small, so that there are seams")
    parser.add_argument("--size", type=int, default=288, help="side of the square images")
    parser.add_argument("--overlap", type=int, action="append", help="default 0, 16, 32 and 64")
    arguments = parser.parse_args()
    print(f"pixels computed over own pixels; released: {TILE} px at stride {STRIDE} after padding to powers of two")
    for width, height in SIZES:
        own = width * height
        old = released_pixels(height, width) / own
        paper = plan_tiles(height, width, tile=224, overlap=32, multiple=64).pixels / own
        lite = plan_tiles(height, width, tile=512, overlap=64, multiple=32).pixels / own
        print(f"  {width}x{height}: released {old:.2f}, planned at paper size {paper:.2f}, planned for lite {lite:.2f}")
    up = Upscaler.from_pretrained(arguments.model)
    field, rules, side = NoiseField(0), up.spec.inference, arguments.size

    def restore(patch: Tensor, top: int, left: int) -> Tensor:
        return up.restorer.restore(patch[None].to(up.device), field.draw([(top, left)]))[0].float().cpu()

    print(f"{arguments.model}, {side} px, tiles of at most {arguments.tile} px; levels of 255")
    for kind in ("flat", "gradient", "text"):
        lr = picture(kind, side, side)
        whole = restore(lr, 0, 0)
        for overlap in arguments.overlap or [0, 16, 32, 64]:
            multiple = min(rules.tile_multiple, arguments.tile - overlap)
            plan = plan_tiles(side, side, tile=arguments.tile, overlap=overlap, multiple=multiple)
            show(f"{kind}, planned, overlap {overlap}", planned(restore, lr, plan), whole, plan)
        old = released(restore, lr, arguments.tile, arguments.tile // 2)
        reference = plan_tiles(side, side, tile=arguments.tile, overlap=arguments.tile // 2, multiple=1)
        show(f"{kind}, released, stride {arguments.tile // 2}", old, whole, reference)


def show(name: str, sr: Tensor, whole: Tensor, plan: TilePlan) -> None:
    mask = near_seams(plan)
    difference = (sr - whole).abs().mean(0) * 255
    at = difference[mask].mean() if mask.any() else torch.tensor(0.0)
    there, elsewhere = steps_at(sr, mask) if mask.any() else (0.0, 0.0)
    share = plan.pixels / (plan.rows.length * plan.columns.length)
    print(f"  {name:34s} {share:.2f} times the pixels", end="; ")
    print(
        f"off by {float(difference.mean()):.3f}, {float(at):.3f} in the bands, {float(difference.max()):.1f} at most",
        end="; ",
    )
    print(f"steps {there:.3f} in the bands, {elsewhere:.3f} elsewhere", flush=True)


if __name__ == "__main__":
    main()
