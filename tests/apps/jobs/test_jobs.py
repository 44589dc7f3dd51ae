"""The queue of jobs: order, limits, cancelling, expiry."""

from __future__ import annotations

import io
import struct
import threading
import time
import weakref
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from lpnsr.apps.jobs import (
    BusyError,
    Engine,
    GoneError,
    Models,
    NotReadyError,
    State,
    TooLargeError,
    UnknownJobError,
    Work,
    settings_in,
)
from lpnsr.apps.jobs.settings import JobOptions, clean_name
from lpnsr.errors import CheckpointError, ConfigError, ImageReadError, InputError, OutputError
from lpnsr.imaging import read
from support.foreign import network_file
from support.jobs import TILES, FakeModels, colour_of, ended, engine, picture, running, until, warn
from support.tiny_model import tiny_upscaler


@pytest.fixture
def models() -> FakeModels:
    return FakeModels("lite", "other")


def test_a_job_is_done_and_its_file_says_how(models: FakeModels, tmp_path: Path) -> None:
    (tmp_path / "in.jpg").write_bytes(picture(kind="JPEG", size=(12, 10)))
    with engine(models) as queue:
        job = queue.submit(tmp_path / "in.jpg", {"scale": 2, "seed": 7}, name="../../holiday.jpg")
        seen = [*queue.watch(job, every=0)]
        status = seen[-1]
        assert (status.state, status.progress, status.error) == (State.DONE, 1.0, None)
        assert (status.width, status.height, status.file_name) == (24, 20, "holiday_24x20.png")
        assert status.tiles_done == status.tiles == TILES
        photo = read(queue.result(job))
        assert (photo.height, photo.width, photo.format) == (20, 24, "PNG")
        made = settings_in(queue.result(job))
        assert made is not None
        assert {k: made[k] for k in ("model", "seed", "steps", "scale", "fidelity")} == {
            "model": "lite",
            "seed": 7,
            "steps": 4,
            "scale": 2.0,
            "fidelity": models.specs["lite"].inference.fidelity,
        }
        assert queue.counts()["done"] == queue.counts()["submitted"] == 1
    assert settings_in(tmp_path / "in.jpg") is None


def test_models_that_are_offered_are_looked_at_when_they_are_asked_for(tmp_path: Path) -> None:
    offered = {name: str(network_file(tmp_path / name)) for name in ("a.pth", "b.pth", "c.pth", "d.pth")}
    (tmp_path / "d.pth").write_bytes(b"no network")
    models = Models(["lite"], offered=offered, memory="2G")
    models.kept = 2
    assert models.names == ("lite", *offered)
    assert [*models.specs] == ["lite"]
    with engine(models) as queue:
        for name in ("a.pth", "b.pth", "a.pth", "c.pth"):
            job = queue.submit(picture(size=(12, 10)), {"model": name})
            status = ended(queue, job)
            assert (status.state, status.width, status.height) == (State.DONE, 24, 20)
            assert settings_in(queue.result(job))["model"] == name
        assert [*queue._workers[0]._loaded] == ["a.pth", "c.pth"]
        with pytest.raises(ConfigError, match=r"steps = 2: a\.pth is a network without a chain"):
            queue.submit(picture(), {"model": "a.pth", "steps": 2})
        with pytest.raises(CheckpointError, match=r"d\.pth is damaged"):
            queue.submit(picture(), {"model": "d.pth"})


@pytest.mark.parametrize(("given", "form"), [("jpg", "jpeg"), ("tif", "tiff"), ("JPG", "jpeg"), ("png", "png")])
def test_formats_have_the_names_of_their_extensions_too(given: str, form: str) -> None:
    assert JobOptions.parse({"format": given}, "options").format == form


@pytest.mark.parametrize("form", ["png", "jpeg", "webp", "tiff", "avif"])
def test_settings_travel_in_every_format_beside_the_metadata(models: FakeModels, form: str) -> None:
    exif = Image.Exif()
    exif[0x010F], exif[0x9213] = "Camera maker", "developed twice"
    with engine(models) as queue:
        job = queue.submit(picture(exif=exif.tobytes()), {"format": form, "quality": 80, "seed": 2**63 - 1})
        assert ended(queue, job).state is State.DONE
        path = queue.result(job)
        made = settings_in(path)
        assert made is not None
        assert made["seed"] == 2**63 - 1
        with Image.open(path) as image:
            assert image.format == form.upper()
            assert image.getexif()[0x010F] == "Camera maker"
            assert image.getexif()[0x9213].startswith("developed twice\n")


def test_the_same_settings_give_the_same_picture_as_the_upscaler_alone(models: FakeModels, monkeypatch: Any) -> None:
    tiny = tiny_upscaler()
    monkeypatch.setattr(models, "load", lambda name, device: tiny)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    with engine(models) as queue:
        job = queue.submit(_png(image), {"steps": 2, "seed": 5, "max_side": 60})
        seen = [*queue.watch(job, every=0)]
        assert seen[-1].state is State.DONE
        assert any(0 < status.progress < 1 and status.steps == 2 for status in seen)
        assert np.array_equal(np.asarray(Image.open(queue.result(job))), tiny(pixels, steps=2, seed=5, max_side=60))


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


def test_one_at_a_time_in_order_with_positions(models: FakeModels) -> None:
    models.gate.clear()
    with engine(models) as queue:
        jobs = [queue.submit(picture((n, 0, 0)), {"model": "other" if n % 2 else None}) for n in range(5)]
        running(queue, jobs[0])
        assert [queue.status(job).position for job in jobs] == [None, 1, 2, 3, 4]
        with pytest.raises(NotReadyError, match="running"):
            queue.result(jobs[0])
        models.gate.set()
        for n, job in enumerate(jobs):
            assert ended(queue, job).state is State.DONE
            assert colour_of(queue.result(job).read_bytes()) == (n, 0, 0)
        done = [queue.status(job).ended for job in jobs]
        assert done == sorted(done)  # type: ignore[type-var]
    assert models.most_at_work == 1
    assert models.loaded == [("lite", "cpu"), ("other", "cpu")]


def test_several_devices_work_at_once(models: FakeModels) -> None:
    models.gate.clear()
    with Engine(models, devices=("cpu", "cpu")) as queue:
        jobs = [queue.submit(picture()) for _ in range(3)]
        until(lambda: models.at_work == 2)
        assert queue.counts()["running"] == 2
        models.gate.set()
        assert all(ended(queue, job).state is State.DONE for job in jobs)


def test_full_queues_say_when_to_come_back(models: FakeModels) -> None:
    models.gate.clear()
    with engine(models, queue=3, owner_queue=2) as queue:
        first = queue.submit(picture(), owner="a")
        running(queue, first)
        queue.submit(picture(), owner="a")
        with pytest.raises(BusyError, match="2 of your jobs") as caught:
            queue.submit(picture(), owner="a")
        assert 1 <= caught.value.retry_after <= 600
        queue.submit(picture(), owner="b")
        queue.submit(picture(), owner="c")
        with pytest.raises(BusyError, match="the queue is full with 3 jobs"):
            queue.submit(picture(), owner="d")
        assert len(queue.jobs("a")) == 2
        assert queue.counts()["rejected"] == 2
        assert len([*queue.store.root.glob("jobs/*")]) == 4
        models.gate.set()


def test_times_are_told_when_something_is_known_of_them(models: FakeModels, monkeypatch: Any) -> None:
    loading, load = threading.Event(), models.load
    monkeypatch.setattr(models, "load", lambda *given: [loading.wait(20), load(*given)][1])
    models.gate.clear()
    with engine(models) as queue:
        jobs = [queue.submit(picture()) for _ in range(3)]
        running(queue, jobs[0])

        def left() -> list[float | None]:
            return [queue.status(job).seconds_left for job in jobs]

        assert left() == [None] * 3
        time.sleep(0.5)
        loading.set()
        until(lambda: models.at_work == 1)
        assert left() == [None] * 3
        record, progress = queue._jobs[jobs[0]].record, queue._running[0].progress
        assert progress is not None
        assert progress.at_work < progress.seconds - 0.4
        assert progress.begun is not None
        monkeypatch.setattr(progress, "update", lambda *_: None)
        progress.begun -= 100
        progress.done, progress.total = 1, 4
        queue._pace.glimpse(record, progress)
        assert left() == pytest.approx([300, 700, 1100], abs=20)
        queue._pace.learn(record, 1000)
        assert left() == pytest.approx([300, 1300, 2300], abs=20)
        progress.done = 0
        assert left() == pytest.approx([900, 1900, 2900], abs=20)
        progress.begun -= 1000  # longer than was expected
        assert left() == [None, pytest.approx(1000), pytest.approx(2000)]
        queue._pace._rates.clear()
        queue._pace._last = 0.0
        assert left() == [None, 1, 1]
        models.gate.set()


def test_a_warm_engine_knows_its_pace_before_the_first_job(tiny_model: Path) -> None:
    models = Models([str(tiny_model)])
    with engine(models, warm=True) as queue:
        usual, alone = (models.check(JobOptions(steps=steps)) for steps in (None, 0))
        until(lambda: queue.expected_seconds(usual, 1) is not None, 60)
        times = [queue.expected_seconds(options, 1000) for options in (alone, usual)]
        assert times[0] is not None
        assert times[1] is not None
        assert 0 < times[0] < times[1]
        assert queue.expected_seconds(usual, 2000) == 2 * times[1]
        assert queue.expected_seconds(usual.model_copy(update={"model": "other"}), 1) is None


def test_who_is_refused_comes_back_when_there_may_be_room(models: FakeModels) -> None:
    models.gate.clear()
    with engine(models, queue=9, owner_queue=8) as queue:

        def refused(owner: str) -> list[int]:
            seconds = []
            for _ in range(200):
                with pytest.raises(BusyError) as caught:
                    queue.check_room(owner)
                seconds.append(caught.value.retry_after)
            return seconds

        first = queue.submit(picture(), owner="a")
        running(queue, first)
        for _ in range(8):
            last = queue.submit(picture(), owner="b")
        assert set(refused("b")) <= {5, 6, 7, 8, 9, 10}
        queue._pace.learn(queue._jobs[first].record, 40.0)
        for owner, first_end in (("b", 80), ("c", 40)):
            seconds = refused(owner)
            assert len(set(seconds)) > 50
            assert first_end - 20 <= min(seconds) <= first_end + 20
            assert 300 <= max(seconds) <= 400
            if owner == "b":
                queue.submit(picture(), owner="a")
        queue._pace.learn(queue._jobs[last].record, 4000.0)
        assert max(refused("c")) == 600
        models.gate.set()


def test_cancelling_what_waits_runs_and_is_done(models: FakeModels) -> None:
    models.gate.clear()
    with engine(models) as queue:
        first, second, third = (queue.submit(picture()) for _ in range(3))
        running(queue, first)
        assert queue.cancel(second).state is State.CANCELLED
        assert queue.status(third).position == 1
        assert queue.cancel(first).state is State.CANCELLED
        running(queue, third)  # the device is free although the gate is shut
        until(lambda: models.at_work == 1)
        models.gate.set()
        assert ended(queue, third).state is State.DONE
        path = queue.result(third)
        assert queue.cancel(third).state is State.EXPIRED
        assert not path.exists()
        for job in (first, second, third):
            with pytest.raises(GoneError):
                queue.result(job)
        assert queue.counts()["cancelled"] == 2
        until(lambda: not [*queue.store.root.glob("jobs/*/*")])


def test_a_stopped_job_frees_what_it_held(models: FakeModels, monkeypatch: Any) -> None:
    held: list[Any] = []

    class Big:
        pass

    def upscale_rows(rows: Any, *, callback: Any, **_options: Any) -> Any:
        big = Big()
        big.itself = big  # type: ignore[attr-defined]  # freed by the collector alone
        held.append(weakref.ref(big))
        while True:
            callback(type("P", (), {"done": 0, "total": 1, "step": None}))

    upscaler = models.load("lite", "cpu")
    upscaler.upscale_rows = upscale_rows
    monkeypatch.setattr(models, "load", lambda name, device: upscaler)
    with engine(models) as queue:
        job = queue.submit(picture())
        until(lambda: bool(held))
        queue.cancel(job)
        until(lambda: held[0]() is None)


def test_a_job_that_takes_too_long_is_stopped(models: FakeModels) -> None:
    models.gate.clear()
    with engine(models, timeout=0.2) as queue:
        job = queue.submit(picture())
        status = ended(queue, job)
        assert status.state is State.FAILED
        assert "longer than 0.2 s" in str(status.error)
        until(lambda: models.at_work == 0)


def test_results_expire_and_are_forgotten(models: FakeModels, monkeypatch: pytest.MonkeyPatch) -> None:
    later = 0.0
    clock = SimpleNamespace(time=lambda: time.time() + later)
    with engine(models, ttl=1000) as queue:
        job = queue.submit(picture())
        assert ended(queue, job).expires is not None
        path = queue.result(job)
        monkeypatch.setattr("lpnsr.apps.jobs.queue.time", clock)
        later = 999
        queue.sweep()
        assert queue.status(job).state is State.DONE
        later = 1001
        queue.sweep()
        assert queue.status(job).state is State.EXPIRED
        assert queue.jobs("") == []
        assert queue.counts()["expired"] == 1
        later = 1010
        queue.sweep()
        assert not path.exists()
        with pytest.raises(GoneError):
            queue.result(job)
        later = 2001
        queue.sweep()
        with pytest.raises(UnknownJobError):
            queue.status(job)


def test_the_oldest_results_go_when_there_are_too_many_bytes(models: FakeModels) -> None:
    with engine(models) as queue:
        ended(queue, queue.submit(picture()))
        size = queue.counts()["stored_bytes"]
    with engine(models, max_stored=size * 3 // 2) as queue:
        jobs = [queue.submit(picture()) for _ in range(3)]
        until(lambda: queue.counts()["expired"] == 2)
        assert [queue.status(job).state for job in jobs] == [State.EXPIRED, State.EXPIRED, State.DONE]


def test_what_goes_wrong_is_told_without_paths_and_the_next_job_runs(models: FakeModels) -> None:
    def behaviour(photo: Any) -> None:
        warn("tiles are smaller")
        if photo.pixels[0, 0, 0] == 1:
            raise MemoryError
        if photo.pixels[0, 0, 0] == 2:
            raise KeyError("secret")

    models.behaviour = behaviour
    cut = picture(kind="JPEG", size=(200, 200))[:-300]
    with engine(models) as queue:
        jobs = [
            queue.submit(data, name="my photo.png") for data in (picture((1, 1, 1)), picture((2, 2, 2)), cut, picture())
        ]
        states = [ended(queue, job) for job in jobs]
        assert [status.state for status in states] == [State.FAILED] * 3 + [State.DONE]
        assert "memory" in str(states[0].error)
        assert "secret" not in str(states[1].error)
        assert str(states[2].error).startswith("my photo.png: ")
        assert str(queue.store.root) not in "".join(str(status.error) for status in states)
        assert states[3].warnings == ("tiles are smaller",)
        with pytest.raises(GoneError, match="memory"):
            queue.result(jobs[0])


@pytest.mark.parametrize(
    ("data", "options", "error", "words"),
    [
        (b"", {}, InputError, "^x.png: the file is empty .0 bytes."),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", {}, ImageReadError, "x.png: "),
        (b"x" * 5001, {}, TooLargeError, "4.88 KiB"),
        (picture(size=(101, 100)), {}, TooLargeError, "101 x 100"),
        (picture(size=(100, 100)), {"scale": 4.1}, TooLargeError, "410 x 410"),
        (picture(), {"steps": 5}, ConfigError, "steps = 5"),
        (picture(), {"model": "gone"}, ConfigError, "lite, other"),
        (picture(), {"scael": 2}, ConfigError, "did you mean 'scale'"),
        (picture(), {"tile": 16}, ConfigError, "tile"),
        (picture(), {"scale": 2, "width": 3}, ConfigError, "scale"),
        (picture(), {"scale": float("inf")}, ConfigError, "scale"),
        (picture(), {"format": "gif"}, ConfigError, "'png', 'jpeg'"),
        (picture(size=(3, 10)), {"format": "webp", "width": 4, "height": 20000}, OutputError, "16383"),
    ],
)
def test_what_cannot_be_done_takes_no_place(
    models: FakeModels, data: bytes, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with engine(models, max_upload=5000, max_pixels=10_000) as queue:
        with pytest.raises(error, match=words):
            queue.submit(data, options, name="x.png")
        assert [*queue.store.root.glob("jobs/*")] == []
        assert queue.counts()["submitted"] == 0


def test_an_orientation_behind_the_pixels_does_not_pass_the_limit(models: FakeModels) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    data = picture(size=(100, 4))
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with engine(models, max_pixels=1000) as queue, pytest.raises(TooLargeError, match="500 x 12500 pixels"):
        queue.submit(data[:-12] + chunk + data[-12:], {"width": 500}, name="tall.png")


def test_unknown_jobs_and_models(tmp_path: Path) -> None:
    with engine() as queue, pytest.raises(UnknownJobError):
        queue.status("../lock")
    with pytest.raises(CheckpointError, match="absent"):
        Models(["absent"])


def test_another_kind_of_job(models: FakeModels) -> None:
    def count(upscaler: Any, work: Work) -> Path:
        (work.folder / "count.txt").write_text(f"{len(work.source.read_bytes())} {work.options.seed}")
        return work.folder / "count.txt"

    with engine(models, kinds={"count": count}) as queue:
        job = queue.submit(picture(), {"seed": 3}, kind="count")
        ended(queue, job)
        assert queue.result(job).read_text() == f"{len(picture())} 3"
        with pytest.raises(ConfigError, match="count"):
            queue.submit(picture(), kind="cuont")


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("a/b.png", "b.png"),
        ("..\\..\\c.png", "c.png"),
        ("/etc/passwd", "passwd"),
        ("..", "image"),
        ("", "image"),
        ("x\r\nSet-Cookie: a.png", "xSet-Cookie a.png"),
        ("\0", "image"),
        ("猫.jpg", "猫.jpg"),
        ("n" * 500, "n" * 120),
    ],
)
def test_names_are_only_names(said: str, kept: str) -> None:
    assert clean_name(said) == kept


def test_warnings_tell_no_paths(models: FakeModels) -> None:
    frames = picture(kind="GIF", save_all=True, append_images=[Image.new("RGB", (12, 10))])
    with engine(models) as queue:
        status = ended(queue, queue.submit(frames, name="two.gif"))
        assert len(status.warnings) == 1
        assert status.warnings[0].startswith("two.gif has 2 frames")


def test_warnings_of_the_encoder_are_those_of_the_job(models: FakeModels) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Title", "a title")
    with engine(models) as queue:
        job = queue.submit(picture(pnginfo=texts), JobOptions(format="webp"), name="a.png")
        assert ended(queue, job).warnings == ("a.png: WEBP has no place for the text 'Title': left out",)
