"""Making the pool on a disk that becomes full: what is done is kept, and it goes on when there is room."""

from __future__ import annotations

from pathlib import Path

import pytest

from lpnsr.errors import TrainingError
from lpnsr.training import runs
from lpnsr.training.loop import Budget
from support.small_disk import SmallDisk, resize_disk


@pytest.mark.slow
def test_pool(recipe: Path, photos: Path, small_disk: SmallDisk) -> None:
    disk = small_disk(256)
    budget = Budget(stop=(disk / "pool" / "manifest.json").exists)
    run = runs.Run(disk, str(recipe), (photos,), device="cpu", budget=budget)
    with pytest.raises(TrainingError, match="pool cannot be written: No space left on device; what is done is kept"):
        runs.train("upsampler", run)
    assert not [*disk.glob("pool/*.npy")]
    resize_disk(disk, size="4m")
    runs.train("upsampler", run)
    assert sorted(path.name for path in disk.glob("pool/*")) == ["hr.npy", "kind.npy", "lr.npy", "manifest.json"]
