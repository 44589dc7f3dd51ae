"""Disks that are soon full."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SmallDisk = Callable[[int], Path]


@pytest.fixture
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    """A function that returns the folder of a new disk of so many KiB; a visible skip where none can be mounted."""
    folders: list[Path] = []

    def make(kib: int) -> Path:
        folder = tmp_path_factory.mktemp("disk")
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(folder)]
        if shutil.which("mount") is None:
            pytest.skip("needs a small disk, and there is no mount here")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"needs a small disk, and none can be mounted: {done.stderr.strip()}")
        folders.append(folder)
        return folder

    yield make
    for folder in folders:
        subprocess.run(["umount", "--lazy", folder], check=True)


def resize_disk(folder: Path, **options: str) -> None:
    """Change a small disk's ``size``, such as "4m", or ``nr_inodes``, the number of its files and folders."""
    text = ",".join(["remount", *(f"{name}={value}" for name, value in options.items())])
    subprocess.run(["mount", "-o", text, folder], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all that is free."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 12)):
                pass
        except OSError:
            return path
    raise AssertionError("the disk takes everything")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, and what is in it."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
