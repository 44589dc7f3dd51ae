"""Making the pool: on from where a call was ended, in as much time as there is, with nothing left running."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lpnsr.errors import TrainingError
from lpnsr.system.hashes import file_sha256
from lpnsr.training.data.pairs import (
    PairPool,
    is_whole,
    read_manifest,
    validation_pairs,
)
from lpnsr.training.data.pool import pool_bytes, prepare_pool
from lpnsr.training.data.recipe import DataRecipe

RECIPE = DataRecipe(crop=64, pool=600, candidates=1, held_out=12, validation=1, degradations={"classic": 1.0})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten that can be used, one of which has the smallest hash; two that cannot, one of which has the next."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    paths = [folder / f"{index}.bmp" for index in range(12)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (90, 100, 3), dtype=np.uint8)).save(path)
    Image.new("RGB", (20, 20)).save(paths[5])
    paths[3].unlink()
    first, second, *_ = sorted(file_sha256(path) for path in paths if path.exists())
    assert file_sha256(paths[5]) not in (first, second)
    paths[3].write_text(rubbish(first, second))
    return paths


def rubbish(above: str, below: str) -> str:
    """A text whose SHA-256 lies between two."""
    return next(text for text in map(str, count()) if above < hashlib.sha256(text.encode()).hexdigest() < below)


@pytest.fixture(scope="module")
def whole(photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    prepare_pool(photos, RECIPE, 0, folder, workers=1)
    return folder


def contents(pool: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pool.iterdir()}


def test_stopped_again_and_again_it_is_the_same_pool(whole: Path, photos: list[Path], tmp_path: Path) -> None:
    calls = 0
    while not is_whole(tmp_path):
        prepare_pool(photos, RECIPE, 0, tmp_path, 1, stop=_at_the_first_job(photos, later=3))
        calls += 1
    assert calls == 5  # a job a photograph, nine more for what two could not give
    assert contents(tmp_path) == contents(whole)


def test_it_does_not_depend_on_the_number_of_processes(whole: Path, photos: list[Path], tmp_path: Path) -> None:
    prepare_pool(photos, RECIPE, 0, tmp_path, 2, stop=_at_the_first_job(photos))
    assert not is_whole(tmp_path)
    prepare_pool(photos, RECIPE, 0, tmp_path, 3)
    assert contents(tmp_path) == contents(whole)


def test_photographs_that_were_not_tried_stand_in_for_those_that_failed(photos: list[Path], tmp_path: Path) -> None:
    """With fewer crops than photographs; and what fails in a second round, too."""
    recipe = RECIPE.model_copy(update={"pool": 2, "validation": 0})
    images = [photos[3], photos[5], photos[3].with_name("again.bmp"), *photos[:3]]
    shutil.copy(photos[5], images[2])
    images[2].write_bytes(images[2].read_bytes() + b"another hash")
    prepare_pool(images, recipe, 0, tmp_path / "whole", workers=1)
    assert len(PairPool(tmp_path / "whole")) == 2
    calls = 0
    while not is_whole(tmp_path / "stopped"):
        prepare_pool(images, recipe, 0, tmp_path / "stopped", 1, stop=_at_the_first_job(images))
        calls += 1
    assert calls > 1
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_photographs_that_go_meanwhile_end_it(photos: list[Path], tmp_path: Path) -> None:
    """A disk that was pulled; once it is back, the pool is the same."""
    images = [Path(shutil.copy(path, tmp_path)) for path in photos]
    prepare_pool(images, RECIPE, 0, tmp_path / "pool", 1, stop=_at_the_first_job(images))
    at_the_first_job = _at_the_first_job(images)

    def pulled() -> bool:
        if at_the_first_job() and images[-1].exists():
            for path in images[6:]:
                path.rename(path.with_suffix(".gone"))
        return False

    with pytest.raises(TrainingError, match=r"bmp has gone meanwhile; what is done is kept\. Put it back, and go on"):
        prepare_pool(images, RECIPE, 0, tmp_path / "pool", 1, stop=pulled)
    for path in images[6:]:
        path.with_suffix(".gone").rename(path)
    prepare_pool(images, RECIPE, 0, tmp_path / "pool", 1)
    assert sum(entry["crops"] for entry in read_manifest(tmp_path / "pool")[1] if "crops" in entry) == 601


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"candidates": 2}, "by another recipe \\(candidates\\)"),
        ({"degradations": {"light": 1.0}}, "by another recipe \\(degradations\\)"),
        ({}, "by another recipe \\(seed\\)"),
    ],
)
def test_what_differs_is_told(change: dict[str, Any], words: str, whole: Path, photos: list[Path]) -> None:
    with pytest.raises(TrainingError, match=words):
        prepare_pool(photos, RECIPE.model_copy(update=change), 0 if change else 1, whole, workers=1)
    with pytest.raises(TrainingError, match="of these photographs under other names"):
        prepare_pool(photos[::-1], RECIPE, 0, whole, workers=1)


def test_what_another_version_has_begun_is_made_anew(
    whole: Path, photos: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prepare_pool(photos, RECIPE, 0, tmp_path, 1, stop=_at_the_first_job(photos))
    journal = tmp_path / "making.jsonl"
    first, *rest = journal.read_text().splitlines()
    journal.write_text("\n".join([json.dumps(json.loads(first)[1]), *rest, ""]))
    with caplog.at_level("INFO"):
        prepare_pool(photos, RECIPE, 0, tmp_path, 1)
    assert "it is made anew" in caplog.text
    assert "of them are there" not in caplog.text
    assert contents(tmp_path) == contents(whole)


def test_what_cannot_be_read_costs_no_crops(whole: Path, photos: list[Path]) -> None:
    entries = read_manifest(whole)[1]
    assert [Path(entry["file"]).name for entry in entries if "passed_over" in entry] == ["3.bmp", "5.bmp"]
    assert sum(entry["crops"] for entry in entries if entry.get("use") == "training") == RECIPE.pool
    crops = {crop.numpy().tobytes() for crop in PairPool(whole).hr}
    assert len(crops) > 0.9 * RECIPE.pool


def test_what_is_kept_from_training_can_be_read(photos: list[Path], tmp_path: Path) -> None:
    """Rubbish whose hash comes first of all."""
    path = tmp_path / "0.png"
    path.write_text(rubbish("", min(file_sha256(path) for path in photos)))
    prepare_pool([path, *photos], RECIPE, 0, tmp_path / "pool", workers=1)
    entries = {entry["file"]: entry for entry in read_manifest(tmp_path / "pool")[1]}
    assert "passed_over" in entries[str(path)]
    assert len(validation_pairs(tmp_path / "pool")[0]) == 1


def test_a_photograph_that_is_there_twice_counts_once(photos: list[Path], tmp_path: Path) -> None:
    """Else one may be kept from training, and the other not."""
    copies = [Path(shutil.copy(path, tmp_path)) for path in photos]
    prepare_pool([*photos, *copies], RECIPE, 0, tmp_path / "pool", workers=1)
    entries = {entry["file"]: entry for entry in read_manifest(tmp_path / "pool")[1]}
    for path, copy in zip(photos, copies, strict=True):
        assert entries[str(copy)]["passed_over"] == f"the same as {path}"
    assert sum(entry.get("use") == "training" for entry in entries.values()) == 12 - 2 - 1


def test_only_rubbish(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.png" for index in range(10)]
    for index, path in enumerate(paths):
        path.write_text(str(index))
    with pytest.raises(TrainingError, match="none of the 10 photographs can be used"):
        prepare_pool(paths, RECIPE, 0, tmp_path / "pool", workers=1)


def test_a_photograph_of_many_crops_is_several_jobs(photos: list[Path], tmp_path: Path) -> None:
    """And no crop comes twice."""
    recipe = RECIPE.model_copy(update={"pool": 100})
    prepare_pool(photos[:1], recipe, 0, tmp_path, workers=1)
    assert read_manifest(tmp_path)[1] == [
        {"file": str(photos[0]), "sha256": read_manifest(tmp_path)[0]["sha256"][0], "crops": 100, "use": "training"}
    ]
    assert len({crop.numpy().tobytes() for crop in PairPool(tmp_path).hr}) > 90


@pytest.mark.parametrize("harm", ["a line", "journal", "hr.npy.part", "lr.npy.part", "renamed", "longer"])
def test_whatever_a_kill_leaves_the_next_call_makes_whole(
    harm: str, whole: Path, photos: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([False] * (len(photos) - 1 + 4))
    prepare_pool(photos, RECIPE, 0, tmp_path, 1, stop=lambda: next(answers, True))
    journal = tmp_path / "making.jsonl"
    if harm == "a line":
        journal.write_bytes(journal.read_bytes() + b'"passed o')
    elif harm == "journal":
        journal.unlink()
    elif harm == "renamed":
        (tmp_path / "hr.npy.part").rename(tmp_path / "hr.npy")
    elif harm == "longer":  # crops that the journal does not know yet
        with (tmp_path / "lr.npy.part").open("ab") as file:
            file.write(bytes(5000))
    else:
        os.truncate(tmp_path / harm, 300)
    with caplog.at_level("INFO"):
        prepare_pool(photos, RECIPE, 0, tmp_path, workers=1)
    assert contents(tmp_path) == contents(whole)
    assert ("of them are there" in caplog.text) == (harm in ("a line", "renamed", "longer"))


def test_a_half_of_another_pool_is_not_gone_on_with(photos: list[Path], tmp_path: Path) -> None:
    prepare_pool(photos, RECIPE.model_copy(update={"candidates": 2}), 0, tmp_path, 1, stop=_at_the_first_job(photos))
    before = contents(tmp_path)
    with pytest.raises(TrainingError, match="choose another --out, or delete it"):
        prepare_pool(photos, RECIPE, 0, tmp_path, workers=1)
    assert contents(tmp_path) == before
    (tmp_path / "making.jsonl").write_text("{\n")
    with pytest.raises(TrainingError, match=r"making\.jsonl is missing or damaged .* delete"):
        prepare_pool(photos, RECIPE, 0, tmp_path, workers=1)


def _at_the_first_job(photos: list[Path], later: int = 0) -> Callable[[], bool]:
    """Asked once a photograph that is hashed, but the last, then once a job. Or at a ``later`` one."""
    answers = iter([False] * (len(photos) - 1 + later))
    return lambda: next(answers, True)


def test_the_minutes_may_end_before_all_photographs_are_looked_at(
    photos: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        prepare_pool(photos, RECIPE, 0, tmp_path, 1, stop=lambda: True)
    assert "1 of 12: the next call begins with that again" in caplog.text
    assert not list(tmp_path.iterdir())


def test_another_pool_is_told_even_when_there_is_no_time(whole: Path, photos: list[Path]) -> None:
    with pytest.raises(TrainingError, match="choose another --out"):
        prepare_pool(photos[1:], RECIPE, 0, whole, 1, stop=lambda: True)


def test_its_size_is_told_beforehand(whole: Path) -> None:
    pairs = sum(image["crops"] for image in read_manifest(whole)[1] if image.get("use") == "training")
    there = sum((whole / f"{side}.npy").stat().st_size - 128 for side in ("hr", "lr", "kind"))
    assert there == pool_bytes(RECIPE.model_copy(update={"pool": pairs + 1}))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_so(photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "hr.npy.part").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"hr\.npy\.part cannot be written: .*; what is done is kept"):
        prepare_pool(photos, RECIPE, 0, tmp_path, workers=1)
    assert not is_whole(tmp_path)


def children_of(pid: int) -> set[int]:
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except FileNotFoundError:
        return set()
    return set(map(int, words))


def command(photos: list[Path], out: Path) -> list[str]:
    recipe = out / "recipe.yaml"
    recipe.write_text("extends: lite\ndata: {pool: 40000, crop: 128, validation: 0}\n")
    words = [sys.executable, "-m", "lpnsr", "train", "upsampler", "--recipe", str(recipe), "--device", "cpu"]
    return [*words, "--data", str(photos[0].parent), "-o", str(out)]


@contextmanager
def degrading(photos: list[Path], out: Path, *, starting: bool = False) -> Iterator[subprocess.Popen[str]]:
    """The command, when its first crops are there, or its workers. Of a group of its own, as a terminal's."""
    words = command(photos, out)
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        while not (workers_of(process.pid) if starting else len(journal_of(out)) > 2):
            assert process.poll() is None
            time.sleep(0.01)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def workers_of(pid: int) -> list[int]:
    return [child for child in children_of(pid) if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def journal_of(out: Path) -> list[str]:
    path = out / "pool" / "making.jsonl"
    return path.read_text().splitlines() if path.exists() else []


needs_proc = pytest.mark.skipif(not Path(f"/proc/{os.getpid()}/task").exists(), reason="needs /proc")


@needs_proc
def test_killed_it_leaves_no_process_behind(photos: list[Path], tmp_path: Path) -> None:
    with degrading(photos, tmp_path) as process:
        children = children_of(process.pid)
        assert len(children) >= 2
        process.kill()
        process.wait()
        deadline = time.monotonic() + 20
        while any(Path(f"/proc/{pid}").exists() for pid in children):
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_of_them_ends_it_and_keeps_what_is_done(
    number: signal.Signals, photos: list[Path], tmp_path: Path
) -> None:
    with degrading(photos, tmp_path) as process:
        os.killpg(process.pid, number)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert "ending after the step at hand" in told
        assert "Traceback" not in told
        assert "bug" not in told
        assert len(journal_of(tmp_path)) > 2


@needs_proc
def test_ctrl_c_while_the_workers_start_shows_none_of_their_imports(photos: list[Path], tmp_path: Path) -> None:
    with degrading(photos, tmp_path, starting=True) as process:
        os.killpg(process.pid, signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGINT
        assert "Traceback" not in told


@needs_proc
def test_a_worker_that_is_killed_is_told_and_what_is_done_is_kept(photos: list[Path], tmp_path: Path) -> None:
    with degrading(photos, tmp_path) as process:
        os.kill(workers_of(process.pid)[0], signal.SIGKILL)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 1
        assert re.search(r"error: a process that degrades photographs was ended .* fewer --workers", told)
        assert len(journal_of(tmp_path)) > 2


def test_the_minutes_bound_it_too(photos: list[Path], tmp_path: Path) -> None:
    words = [*command(photos, tmp_path), "--minutes", "0.2"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert re.search("of 40000 crops are degraded|photographs are looked at", done.stderr)
    assert not (tmp_path / "upsampler").exists()
