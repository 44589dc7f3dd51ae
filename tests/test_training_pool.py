"""Making the pool: on from where a call was ended, in as much time as there is, with nothing left running."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lpnsr.checkpoints.hashes import file_sha256
from lpnsr.errors import TrainingError
from lpnsr.training.data import PairPool, is_whole, read_manifest, validation_pairs
from lpnsr.training.pool import pool_bytes, prepare_pool
from lpnsr.training.recipe import DataRecipe

RECIPE = DataRecipe(crop=64, pool=600, candidates=1, validation=1, degradations={"classic": 1.0})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten that can be used, and two that cannot, of which one has the smallest hash."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    paths = [folder / f"{index}.png" for index in range(12)]
    for path in paths:
        Image.fromarray(rng.integers(0, 256, (90, 100, 3), dtype=np.uint8)).save(path)
    paths[3].write_bytes(b"broken")
    Image.new("RGB", (20, 20)).save(paths[5])
    return paths


@pytest.fixture(scope="module")
def whole(photos: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    prepare_pool(photos, RECIPE, 0, folder, workers=1)
    return folder


def contents(pool: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in pool.iterdir() if path.suffix != ".npz"}


def test_stopped_after_each_job_it_is_the_same_pool(whole: Path, photos: list[Path], tmp_path: Path) -> None:
    calls = 0
    while not is_whole(tmp_path):
        prepare_pool(photos, RECIPE, 0, tmp_path, 1, stop=_at_the_first_job(photos))
        calls += 1
    assert calls == 10 + 9 - 1  # a job a photograph, nine more for what one could not give; the first of these at once
    assert contents(tmp_path) == contents(whole)
    with np.load(tmp_path / "validation.npz") as again, np.load(whole / "validation.npz") as once:
        assert np.array_equal(again["lr"], once["lr"])


def test_what_cannot_be_read_costs_no_crops(whole: Path, photos: list[Path]) -> None:
    entries = read_manifest(whole)[1]
    assert [Path(entry["file"]).name for entry in entries if "passed_over" in entry] == ["3.png", "5.png"]
    assert sum(entry["crops"] for entry in entries if entry.get("use") == "training") == RECIPE.pool
    crops = {crop.numpy().tobytes() for crop in PairPool(whole).hr}
    assert len(crops) > 0.9 * RECIPE.pool


def test_what_is_kept_from_training_can_be_read(photos: list[Path], tmp_path: Path) -> None:
    """Rubbish whose hash comes first of all."""
    rubbish = [tmp_path / "0.png", tmp_path / "1.png"]
    smallest = min(file_sha256(path) for path in photos)
    texts = iter(range(10**6))
    for path in rubbish:
        path.write_text(next(str(i) for i in texts if hashlib.sha256(str(i).encode()).hexdigest() < smallest))
    prepare_pool([*rubbish, *photos], RECIPE, 0, tmp_path / "pool", workers=1)
    entries = {entry["file"]: entry for entry in read_manifest(tmp_path / "pool")[1]}
    assert all("passed_over" in entries[str(path)] for path in rubbish)
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


def _at_the_first_job(photos: list[Path]) -> Callable[[], bool]:
    """Asked once a photograph that is hashed, but the last, then once a job."""
    answers = iter([False] * (len(photos) - 1))
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
    there = sum((whole / f"{side}.npy").stat().st_size - 128 for side in ("hr", "lr"))
    assert there == pool_bytes(RECIPE.model_copy(update={"pool": pairs}))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_says_so(photos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "validation.npz").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=r"cannot be written: No space left on device; what is done is kept"):
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
    words = [sys.executable, "-m", "lpnsr.training", "upsampler", "--recipe", str(recipe), "--device", "cpu"]
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
