"""The end of a queue of jobs: what is finished, what outlives the process, what a kill leaves."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lpnsr.apps.jobs import ClosedError, State
from lpnsr.errors import ConfigError
from support.jobs import FakeModels, colour_of, ended, engine, picture, running, until


@pytest.fixture
def models() -> FakeModels:
    return FakeModels("lite", "other")


def test_with_a_state_folder_everything_outlives_the_process(models: FakeModels, tmp_path: Path) -> None:
    first = engine(models, state_dir=tmp_path)
    first.start()
    done = first.submit(picture((1, 2, 3)))
    assert ended(first, done).state is State.DONE
    models.gate.clear()
    cut_short = first.submit(picture((4, 5, 6)), {"seed": 9}, owner="anna")
    waiting = first.submit(picture((7, 8, 9)))
    gone = first.submit(picture())
    running(first, cut_short)
    first.cancel(gone)
    with pytest.raises(ConfigError, match="in use"):
        engine(models, state_dir=tmp_path)
    first.close(grace=0)
    with pytest.raises(ClosedError):
        first.submit(picture())

    models.gate.set()
    with engine(models, state_dir=tmp_path) as second:
        assert second.status(done).state is State.DONE
        assert colour_of(second.result(done).read_bytes()) == (1, 2, 3)
        assert second.status(gone).state is State.CANCELLED
        assert [status.id for status in second.jobs("anna")] == [cut_short]
        for job, colour in ((cut_short, (4, 5, 6)), (waiting, (7, 8, 9))):
            assert ended(second, job).state is State.DONE
            assert colour_of(second.result(job).read_bytes()) == colour
        assert second.status(cut_short).options.seed == 9
    assert not (tmp_path / "jobs").stat().st_mode & 0o077


def test_what_runs_is_finished_on_closing(models: FakeModels, tmp_path: Path) -> None:
    models.gate.clear()
    queue = engine(models, state_dir=tmp_path)
    queue.start()
    first, second = queue.submit(picture()), queue.submit(picture())
    running(queue, first)
    threading.Timer(0.2, models.gate.set).start()
    queue.close(grace=20)
    assert queue.status(first).state is State.DONE
    assert queue.status(second).state is State.QUEUED


def test_without_a_state_folder_the_queue_is_worked_off(models: FakeModels) -> None:
    models.gate.clear()
    queue = engine(models)
    queue.start()
    jobs = [queue.submit(picture()) for _ in range(3)]
    threading.Timer(0.2, models.gate.set).start()
    root = queue.store.root
    queue.close(grace=20)
    assert [queue.status(job).state for job in jobs] == [State.DONE] * 3
    assert not root.exists()
    models.gate.clear()
    queue = engine(models)
    queue.start()
    jobs = [queue.submit(picture()) for _ in range(2)]
    running(queue, jobs[0])
    queue.close(grace=0)
    assert [queue.status(job).error for job in jobs] == ["the server was shut down"] * 2


def test_what_does_not_notice_that_it_is_to_stop_is_not_waited_for(models: FakeModels, tmp_path: Path) -> None:
    hold = threading.Event()
    models.behaviour = lambda photo: [hold.wait(20), None][1]
    for folder in (None, tmp_path):
        queue = engine(models, state_dir=folder)
        queue.start()
        job = queue.submit(picture())
        running(queue, job)
        threading.Thread(target=queue.finish, args=(1000,), daemon=True).start()
        queue.finish(0, patience=0.1)
        assert queue.finished
        assert queue.at_work
        assert queue.status(job).state is (State.CANCELLED if folder is None else State.QUEUED)
        queue.close()
        assert queue.store.root.exists() == (folder is not None)
    with pytest.raises(ConfigError, match="in use"):
        engine(models, state_dir=tmp_path)
    hold.set()
    until(lambda: not queue.at_work)
    queue.close()
    with engine(models, state_dir=tmp_path) as queue:
        assert ended(queue, job).state is State.DONE


def test_a_job_that_kills_the_process_is_not_tried_for_ever(models: FakeModels, tmp_path: Path) -> None:
    models.gate.clear()
    first = engine(models, state_dir=tmp_path)
    first.start()
    job = first.submit(picture())
    running(first, job)
    killed = (tmp_path / "jobs" / job / "job.json").read_bytes()
    first.close(grace=0)
    for attempts in (1, 2):
        (tmp_path / "jobs" / job / "job.json").write_bytes(killed.replace(b'"attempts":1', b'"attempts":%d' % attempts))
        queue = engine(models, state_dir=tmp_path)
        queue.start()
        if attempts == 1:
            running(queue, job)
        else:
            assert queue.status(job).state is State.FAILED
            assert "more than once" in str(queue.status(job).error)
        queue.close(grace=0)


def test_temporary_folders_of_killed_processes_are_deleted(
    models: FakeModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("lpnsr.apps.jobs.store._YOUNG", -1)
    (tmp_path / "lpnsr-jobs-killed" / "jobs").mkdir(parents=True)
    (tmp_path / "lpnsr-jobs-killed" / "lock").touch()
    with engine(models) as alive, engine(models) as other:
        assert sorted(tmp_path.iterdir()) == sorted([alive.store.root, other.store.root])
        assert ended(alive, alive.submit(picture())).state is State.DONE
    assert [*tmp_path.iterdir()] == []


def test_damaged_state_is_dropped(models: FakeModels, tmp_path: Path) -> None:
    for name, text in (("a", "{"), ("b", '{"id": "c"}'), ("c", None)):
        (tmp_path / "jobs" / name).mkdir(parents=True)
        if text is not None:
            (tmp_path / "jobs" / name / "job.json").write_text(text)
    with engine(models, state_dir=tmp_path) as queue:
        assert ended(queue, queue.submit(picture())).state is State.DONE
        assert len([*tmp_path.glob("jobs/*")]) == 1
