"""Folders of tiny LR and HR images."""

from __future__ import annotations

from pathlib import Path

import torch

from lpnsr.imaging import Photo, write


def make_images(folder: Path, count: int, side: int = 16) -> None:
    generator = torch.Generator().manual_seed(1)
    for name, size in (("lr", side), ("hr", 4 * side)):
        (folder / name).mkdir()
        for index in range(count):
            pixels = torch.randint(0, 256, (size, size, 3), generator=generator, dtype=torch.uint8)
            write(Photo(pixels.numpy()), folder / name / f"{index}.png")
