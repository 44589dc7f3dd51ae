"""Test sets of the field, by the folders in which they are published, and the validation set of this project.

``DATASETS`` has a line for each set. ``files_of`` finds its images below a folder that the user has.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lpnsr.errors import ConfigError, ImageReadError
from lpnsr.evaluation.files import content_hash, is_image
from lpnsr.evaluation.pairing import match
from lpnsr.evaluation.upscaling import FACTOR
from lpnsr.imaging import max_pixels_allowed
from lpnsr.imaging.reading import header_size

VAL32 = "lpnsr-val32"
VAL32_SHA256 = "ee3d989bb7ceeb9cda34464b6fa5970659d39d32054388d43aced69038cb33f8"
_VAL32_FOLDERS = ("hr", "lr_bicubic", "lr_real")


@dataclass(frozen=True)
class Dataset:
    """A test set as it is published: patterns of its files below one folder, and how its results are reported.

    hr: empty for photographs without references. count: images of the whole set. protocol: of PSNR and SSIM.
    about: what its images are. checked: its files have the checksum ``VAL32_SHA256``.
    """

    name: str
    title: str
    lr: tuple[str, ...]
    hr: tuple[str, ...]
    count: int
    protocol: str
    about: str
    checked: bool = False

    @property
    def layout(self) -> str:
        """The files that its folder holds, for people."""
        sides = {"HR": self.hr, "LR": self.lr}
        return "; ".join(f"{side}: {', '.join(patterns)}" for side, patterns in sides.items() if patterns)


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "val32-real",
            f"{VAL32}, lr_real",
            ("lr_real/*",),
            ("hr/*",),
            32,
            "resshift",
            "512 px; camera-like degradations",
            checked=True,
        ),
        Dataset(
            "val32-bicubic",
            f"{VAL32}, lr_bicubic",
            ("lr_bicubic/*",),
            ("hr/*",),
            32,
            "resshift",
            "512 px; bicubic reduction",
            checked=True,
        ),
        Dataset(
            "realsr",
            "RealSR (V3), test, x4",
            ("Canon/Test/4/*_LR4.png", "Nikon/Test/4/*_LR4.png"),
            ("Canon/Test/4/*_HR.png", "Nikon/Test/4/*_HR.png"),
            100,
            "resshift",
            "whole photographs of two cameras",
        ),
        Dataset(
            "drealsr",
            "DRealSR, test, x4",
            ("Test_x4/test_LR/*",),
            ("Test_x4/test_HR/*",),
            93,
            "resshift",
            "whole photographs of five cameras",
        ),
        Dataset(
            "imagenet-test",
            "ImageNet-Test",
            ("lq/*",),
            ("gt/*",),
            3000,
            "resshift",
            "ResShift's images of 256 px and their LR images of 64 px",
        ),
        Dataset("realset65", "RealSet65", ("*",), (), 65, "resshift", "ResShift's photographs, without references"),
        Dataset("realset80", "RealSet80", ("*",), (), 80, "resshift", "ResShift's photographs, without references"),
        Dataset(
            "div2k-val",
            "DIV2K validation, bicubic x4",
            ("DIV2K_valid_LR_bicubic/X4/*x4.png",),
            ("DIV2K_valid_HR/*.png",),
            100,
            "bicubic-y",
            "whole photographs, HR cut to a multiple of 4",
        ),
    )
}


def dataset_of(name: str) -> Dataset:
    """Return the test set of this name. Raises ConfigError."""
    if name not in DATASETS:
        raise ConfigError(f"test set {name!r} is not known; choose from {', '.join(DATASETS)}")
    return DATASETS[name]


def files_of(dataset: Dataset, root: Path) -> tuple[list[Path], list[Path]]:
    """Return the HR and the LR images of the set in the folder ``root``.

    Raises ConfigError if they are not laid out as published, are not 4 times as large as each other, or have another
    checksum than the set.
    """
    found = {pattern: sorted(filter(is_image, root.glob(pattern))) for pattern in (*dataset.hr, *dataset.lr)}
    missing = [pattern for pattern, files in found.items() if not files]
    if missing:
        raise ConfigError(
            f"{root} is not laid out as {dataset.title} is published: no images {', '.join(missing)}. Expected in the "
            f"folder that --root names: {dataset.layout}"
        )
    if dataset.checked and (actual := checksum(root)) != VAL32_SHA256:
        raise ConfigError(f"{root} has files other than {VAL32}: their checksum is {actual} instead of {VAL32_SHA256}")
    hr, lr = ([path for pattern in patterns for path in found[pattern]] for patterns in (dataset.hr, dataset.lr))
    _check_sizes(dataset, hr, lr)
    return hr, lr


def described(dataset: Dataset, images: int) -> str:
    """Return what was scored: the set, how much of it, and its checksum."""
    text = f"{dataset.title}: {images} of {dataset.count} images; {dataset.about}"
    return f"{text}; sha256 of the set {VAL32_SHA256}" if dataset.checked else text


def checksum(root: Path) -> str:
    """Return the SHA-256 of what ``sha256sum hr/*.png lr_bicubic/*.png lr_real/*.png`` prints in ``root``.

    Raises ImageReadError.
    """
    files = [path for folder in _VAL32_FOLDERS for path in sorted((root / folder).glob("*.png"))]
    lines = (f"{content_hash(path)}  {path.relative_to(root).as_posix()}\n" for path in files)
    return hashlib.sha256("".join(lines).encode(errors="surrogateescape")).hexdigest()


def recognised(*folders: Path | None) -> str:
    """Return the name and checksum of the validation set if one of ``folders`` belongs to it, else an empty text."""
    for folder in folders:
        if folder is not None and folder.name in _VAL32_FOLDERS and checksum(folder.parent) == VAL32_SHA256:
            return f"{VAL32}, sha256 {VAL32_SHA256}"
    return ""


def _check_sizes(dataset: Dataset, hr: list[Path], lr: list[Path]) -> None:
    """Raise ConfigError for a pair whose sides are not 1 to 4; damaged files are left to the scoring."""
    for high, low in match(lr, hr, "LR", "HR")[0].items():
        with suppress(ImageReadError):
            large, small = (header_size(path, str(path), max_pixels_allowed()) for path in (high, low))
            if small != (large[0] // FACTOR, large[1] // FACTOR):
                raise ConfigError(
                    f"{low} has {small[1]} x {small[0]} px and {high.name} has {large[1]} x {large[0]}: an LR image of "
                    f"{dataset.title} has a quarter of that. Is this another version of the set, or another scale?"
                )
