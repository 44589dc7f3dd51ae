"""``lpnsr upscale --engine ray`` without Ray's processes: what is refused, listed, noted, and done by one worker."""

from __future__ import annotations

import glob
import os
import pickle
import zipfile
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from support.upscale_command import files, make, run

pytest.importorskip("ray")
pq = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("fsspec")

from lpnsr.apps.files.plan import Naming  # noqa: E402
from lpnsr.apps.files.report import Report  # noqa: E402
from lpnsr.apps.ray import cluster, prepare  # noqa: E402
from lpnsr.apps.ray.batch import RayOptions, _Batch  # noqa: E402
from lpnsr.apps.ray.bundles import BundleTracker  # noqa: E402
from lpnsr.apps.ray.listing import Entry, Listing, bundles  # noqa: E402
from lpnsr.apps.ray.manifest import Manifest  # noqa: E402
from lpnsr.apps.ray.places import Place  # noqa: E402
from lpnsr.apps.ray.worker import MOST_DEATHS, Actor, ActorSettings  # noqa: E402
from lpnsr.errors import ConfigError, LpnsrError  # noqa: E402
from lpnsr.upscaling.batch import BatchSettings  # noqa: E402
from lpnsr.upscaling.options import ModelOptions  # noqa: E402


def manifest(folder: str = "out/manifest.parquet") -> list[dict]:
    return pq.read_table(folder).to_pylist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photos", "-o", "out", "--compare"], "--compare is not for --engine ray"),
        (["photos/b2.png", "-o", "x.png"], "-o x.png names a file; --engine ray writes into a folder"),
        (["photos", "-o", "photos", "--suffix", "_x4"], "the results need a folder outside of the input"),
        (["photos/deep", "-o", "photos"], "the results need a folder outside of the input"),
        (["photos", "-o", "out", "--device", "cuda:1"], "--device cuda:1: with --engine ray choose auto, cpu, cuda"),
        (["s3://bucket/*.png", "-o", "out"], "patterns are for names on this machine"),
        (["photos", "-o", "nothing://x"], "nothing://x"),
        (["photos", "-o", "http://localhost:1/x"], "http://localhost:1/x: nothing can be written to a web address"),
        (["photos", "-o", "out", "--manifest", "https://host/m"], "https://host/m: nothing can be written to a web"),
        (["photos", "-o", "out", "-r", "--ext", "xyz"], "--ext xyz"),
        (["photos", "photos/deep/c.png", "photos/deep", "other", "-o", "out"], "would both be written to"),
        (["photos/*.png", "-o", "photos", "--suffix", "_x4"], "the results need a folder outside of the input"),
        (["photos", "-o", "out", "--manifest", "photos/b2.png"], "b2.png is no folder, and the manifest needs one"),
        (["photos/b2.png", "photos/b2_x.png", "-o", "photos", "--suffix", "_x"], "would overwrite the input"),
        (["photos/deep/c.png", "more", "-r", "-o", "photos", "--overwrite"], "deep/c.png would overwrite the input"),
        (["photos/nothing", "-o", "out"], "no images in photos/nothing"),
        (["photos", "-o", "out", "-t", "10"], "tile = 10"),
        (["photos", "-o", "out", "--memory", "much"], "much"),
        (["photos", "-o", "out", "--address", "ray://x:1"], "Ray's client protocol is not for this"),
    ],
)
def test_what_is_refused(folder, arguments, message):
    make("other/c.png", "more/deep/c.png", "photos/b2_x.png")
    Path("photos/nothing").mkdir()
    result = run(*arguments, "--engine", "ray", code=2)
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("out").exists()


def test_folders_that_cannot_be_made(folder, monkeypatch):
    make("out/b2.png", "out/b10.jpg")
    options = ["photos", "-o", "out", "--engine", "ray", "--skip-existing"]
    refused = run(*options, "--manifest", "photos/b2.png/m", code=1).stderr
    assert "the manifest cannot be written: " in refused
    assert "b2.png is not a folder (--manifest names another folder)" in refused
    refused = run("photos", "-o", "photos/b2.png/out", "--manifest", "m", "--engine", "ray", code=1).stderr
    assert refused == f"error: {folder}/photos/b2.png/out: {folder}/photos/b2.png is not a folder\n"
    monkeypatch.setenv("LPNSR_SCRATCH", "absent")
    refused = run(*options, code=2).stderr
    assert refused.startswith("error: LPNSR_SCRATCH=absent: no folder can be made there (No such file or directory); ")


def test_what_is_done_is_told_whatever_ends_the_batch(folder, monkeypatch):
    def rows(*names):
        return [{"input": name, "output": name, "status": "failed", "seconds": 0.0, "died": True} for name in names]

    def outcomes(*_):
        yield rows(*"abcdefghijkl")

    monkeypatch.setattr("lpnsr.apps.ray.batch.prepare", lambda address, **_: address)
    monkeypatch.setattr(cluster, "cluster", lambda *_, **__: nullcontext(True))
    monkeypatch.setattr(cluster, "pool", lambda *_, **__: cluster.Pool(1, 1, 1, 0, "cpu"))
    monkeypatch.setattr(cluster, "open_tracker", BundleTracker)
    monkeypatch.setattr(cluster, "outcomes", outcomes)
    monkeypatch.setattr(cluster, "unclaimed", lambda tracker: rows("m"))
    Listing(folder / "listing").close()
    with Report(13) as report:
        book = Manifest(Place("m"), "run", {})
        batch = _Batch(Naming("out"), Place("out"), BatchSettings(), report, book, folder)
        with pytest.raises(LpnsrError, match="the workers were killed at each of the last 10 images"):
            batch.work(13, RayOptions())
    assert report.failed == 13
    book.flush()
    assert len(manifest("m")) == 13


def test_what_ray_finds_in_the_environment(monkeypatch, tmp_path):
    monkeypatch.setattr("lpnsr.apps.ray._TOKEN", tmp_path / "token")
    for address in (None, "auto", "host:6379"):
        environment: dict[str, str] = {}
        monkeypatch.setattr(os, "environ", environment)
        assert prepare(address) == (address or "local")
        assert environment["RAY_USAGE_STATS_ENABLED"] == "0"
        assert environment["RAY_DEDUP_LOGS_SKIP_REGEX"] == "^"
        assert ("RAY_AUTH_TOKEN" in environment) == ("RAY_AUTH_MODE" in environment) == (address is None)
    (tmp_path / "token").write_text("x")
    monkeypatch.setattr(os, "environ", {"RAY_ADDRESS": "host:1", "RAY_USAGE_STATS_ENABLED": "1"})
    assert prepare(None) == "host:1"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "1"


@pytest.mark.parametrize(
    ("said", "workers", "threads", "each"),
    [
        ("", 8, None, 1),
        ("", 2, None, 2),
        ("", None, None, 4),
        ("", 8, 3, 3),
        ("2", 8, None, 2),
        ("4,2", 1, None, 4),
        ("many", 1, None, 4),
        ("0", 3, None, 1),
    ],
)
def test_as_many_workers_as_asked_for_have_processors(monkeypatch, said, workers, threads, each):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    cpus = cluster.cpus_for(workers, threads, 4)
    monkeypatch.setattr(cluster.ray, "cluster_resources", lambda: {"CPU": cpus})
    monkeypatch.setattr(cluster.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": cpus}}])
    pool = cluster.pool(ModelOptions(device="cpu"), workers, threads, own=True)
    assert pool.threads == each
    assert pool.workers == (workers or 1)
    assert pool.workers * pool.cpus <= cpus


def test_options_of_the_engine_are_not_for_the_plain_one(watched, folder):
    for option in (["--workers", "2"], ["--threads", "2"], ["--manifest", "m"], ["--address", "auto"]):
        assert f"{option[0]} is for --engine ray" in run("photos", "-o", "out", *option, code=2).stderr


def test_results_that_are_there_need_no_ray(folder):
    make("out/b2.png", "out/b10.jpg")
    assert run("photos", "-o", "out", "--engine", "ray", "--skip-existing").stderr.endswith(" s\n")
    refused = run("photos", "-o", "out", "--engine", "ray", code=1)
    assert "out/b2.png exists already; use --overwrite or --skip-existing" in refused.stderr
    assert Counter(row["status"] for row in manifest()) == {"skipped": 2, "failed": 2}
    assert len(files("out/manifest.parquet")) == 2


def test_a_missing_extra(folder, monkeypatch):
    monkeypatch.setattr("lpnsr.apps.ray.find_spec", lambda name: None if name == "ray" else object())
    message = "error: ray is not installed, and this needs it. Install the extra with: pip install 'lpnsr[scale]'\n"
    assert run("photos", "-o", "out", "--engine", "ray", code=1).stderr == message


def test_a_listing_is_the_same_each_time(tmp_path):
    listing = Listing(tmp_path / "listing")
    names = [os.fsdecode(b"a\xff.png"), "b.png", "deep/ü.png"]
    assert [listing.find(Entry(number, name), name) for number, name in enumerate(names)] == [None] * 3
    assert listing.find(Entry(7, "x"), "b.png") == Entry(1, "b.png")
    for some in listing.all(2):
        for entry in some:
            if entry.name != "b.png":
                listing.add(entry)
    listing.close()
    wanted = [Entry(0, names[0]), Entry(2, names[2])]
    for _ in range(2):
        assert list(bundles(tmp_path / "listing", 1)) == [[entry] for entry in wanted]


@pytest.mark.filterwarnings("error::lpnsr.errors.LpnsrWarning")
def test_images_of_a_folder_as_of_a_url(folder):
    make("photos/.hidden.png", "photos/out/r.png", "photos/.git/x.png")
    Path("photos/notes.txt").touch()
    Path("photos/circle").symlink_to("circle")
    wanted = {"b2.png", "b10.jpg", "deep/c.png"}
    for text in ("photos", f"file://{folder}/photos", f"dir://photos::file://{folder}"):
        place = Place(text)
        outside = Place(f"dir://photos/out::file://{folder}" if "dir" in text else "photos/out")
        assert set(place.images(recursive=True, leave_out=outside)) == wanted
        assert set(place.images(recursive=False, leave_out=outside)) == {"b2.png", "b10.jpg"}
        assert place.exists("deep/c.png")
        assert not place.exists("deep/d.png")


@pytest.mark.parametrize(
    "text", ["zip://b.jpg::file:///photos.zip", "zip://deep/b.jpg::/photos.zip", "https://host/b.jpg", "/photos/b.jpg"]
)
def test_an_image_given_by_name(tmp_path, text):
    with Report(0) as report:
        batch = _Batch(Naming("out"), Place("out"), BatchSettings(), report, None, tmp_path)
        entry = batch._named(text)
    assert entry.name == "b.jpg"
    assert batch.places[entry.place].name(entry.name) == text


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("memory://b/photos/a.jpg", "memory://b/photos"),
        ("memory://b/photos/a.jpg", "memory:///b/photos/"),
        ("s3://b/photos/a.jpg", "s3://b/photos"),
        ("photos/b10.jpg", "photos"),
        ("file://photos/b10.jpg", "linked"),
    ],
)
def test_no_result_replaces_its_input(folder, text, output):
    Path("linked").symlink_to("photos")
    with Report(0) as report:
        batch = _Batch(Naming(output), Place(output), BatchSettings(), report, None, folder)
        listing = Listing(batch.listing)
        with pytest.raises(ConfigError, match=r"would overwrite the input .*; choose another folder or a --suffix"):
            batch._find(listing, batch._named(text))
        batch.naming = replace(batch.naming, suffix="_x4")
        if not text.startswith("s3"):  # asks for a connection
            batch._find(listing, batch._named(text))
    assert not listing.todo


def test_patterns_mean_what_they_mean_to_the_plain_engine(folder, monkeypatch):
    make("[2024]/a.png", "[2024]/~b.png", "[2024]/up/a.png", "[2024]/un/c.png")
    monkeypatch.chdir("[2024]")
    with Report(0) as report:
        batch = _Batch(Naming("up"), Place("up"), BatchSettings(), report, None, folder)
        for text, names in {
            "*.png": ["a.png", "~b.png"],
            "u*": ["c.png"],
            "file://u*": ["c.png"],
            f"{glob.escape(str(Path.cwd()))}/?.png": ["a.png"],
        }.items():
            assert sorted(entry.name for entry in batch._expand(text, False)) == names


def test_names_of_places():
    place = Place("sftp://me:secret@host/photos")
    assert place.name("a/b.png") == "sftp://me:***@host/photos/a/b.png"
    assert place.below("m").text == "sftp://me:secret@host/photos/m"
    assert Place("s3://bucket/x?region=a").below("m").text == "s3://bucket/x/m?region=a"
    assert pickle.loads(pickle.dumps(place)).text == place.text


def test_a_manifest_takes_names_that_are_no_text(tmp_path):
    book = Manifest(Place(str(tmp_path / "m")), "run", {"seed": 3})
    for name in (b"a\xff.png", "ü.png".encode()):
        book.add({"input": os.fsdecode(name), "status": "done"})
        book.flush()
    book.flush()
    assert [row["input"] for row in manifest(tmp_path / "m")] == ["a\\xff.png", "ü.png"]
    assert files(tmp_path / "m") == ["run-00000.parquet", "run-00001.parquet"]


class _Remote:
    """A tracker whose methods answer at once."""

    def __init__(self, tracker: BundleTracker) -> None:
        self.tracker = tracker

    def __getattr__(self, name):
        method = getattr(self.tracker, name)
        return type("Method", (), {"remote": staticmethod(method)})


@pytest.fixture
def actor(watched, folder, tiny_model, monkeypatch):
    """Makes an actor, by the fields of its settings that are not the usual ones, and its tracker."""
    monkeypatch.setattr("ray.get", lambda value: value)
    monkeypatch.setattr("warnings.showwarning", None)

    def make(model=str(tiny_model), places=None, output=None):
        settings = BatchSettings(ModelOptions(model=model))
        tracker = BundleTracker()
        return Actor(
            ActorSettings(settings, Naming("out"), places or [Place("photos")], output or Place("out"), 2, ""),
            _Remote(tracker),
        ), tracker

    return make


def test_from_a_zip_into_a_place_behind_a_url(watched, actor, folder):
    with zipfile.ZipFile("photos.zip", "w") as archive:
        for name in ("b2.png", "deep/c.png"):
            archive.write(f"photos/{name}", name)
        archive.writestr("deep/bad.png", "no image")
    url = f"file://{folder}"
    source, target = Place(f"zip://::{url}/photos.zip"), Place(f"dir://out::{url}")
    actor, _ = actor(places=[source], output=target)
    names = sorted(source.images(recursive=True, leave_out=target))
    assert names == ["b2.png", "deep/bad.png", "deep/c.png"]
    rows = actor._bundle(0, [Entry(0, name) for name in names])
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    run("photos", "-r", "-o", "plain")
    for name in ("b2.png", "deep/c.png"):
        assert Path("out", name).read_bytes() == Path("plain", name).read_bytes()
    assert files("out") == ["b2.png", "deep/c.png"]
    assert rows[0]["input"] == f"zip://b2.png::{url}/photos.zip"
    assert rows[0]["output"] == f"dir://out/b2.png::{url}"
    assert rows[0]["input_bytes"] == Path("photos/b2.png").stat().st_size
    assert rows[1]["error"].startswith(f"zip://deep/bad.png::{url}/photos.zip: the content is not an image")
    assert not list(Path(actor._work._scratch.name).iterdir())
    [again] = actor._bundle(1, [Entry(0, "b2.png")])
    assert again["error"] == f"dir://out/b2.png::{url} exists already; use --overwrite or --skip-existing"
    [missing] = actor._bundle(2, [Entry(0, "none.png")])
    assert missing["error"] == f"zip://none.png::{url}/photos.zip: there is no such file"


ENTRIES = [Entry(0, "b2.png"), Entry(0, "b10.jpg")]


def test_an_image_that_kills_its_workers_is_given_up(watched, actor):
    actor, _ = actor()
    one = ENTRIES[:1]

    class Killed(BaseException):
        pass

    def kill(rows):
        raise Killed

    watched.before = kill
    for _ in range(1 + MOST_DEATHS):
        with pytest.raises(Killed):
            actor._bundle(3, one)
    [row] = actor._bundle(3, one)
    assert row["status"] == "failed"
    assert "the worker's process was killed each time that it worked on this image" in row["error"]
    assert row["died"]
    watched.before = lambda rows: None
    assert [row["status"] for row in actor._bundle(4, one)] == ["done"]


def test_what_a_killed_worker_had_done_is_not_done_again(watched, actor):
    actor, tracker = actor()
    rows = actor._bundle(1, ENTRIES)
    assert [row["status"] for row in rows] == ["done", "done"]
    times = [Path("out", name).stat().st_mtime_ns for name in ("b2.png", "b10.jpg")]
    assert actor._bundle(1, ENTRIES) == rows
    assert [Path("out", name).stat().st_mtime_ns for name in ("b2.png", "b10.jpg")] == times
    del tracker._bundles[1].rows[1]  # it was written, but the worker died before it said so
    assert [row["status"] for row in actor._bundle(1, ENTRIES)] == ["done", "done"]
    assert len(watched.asked) == 3
    assert [row["status"] for row in actor._bundle(2, ENTRIES)] == ["failed", "failed"]  # exists already


def test_a_model_that_cannot_be_loaded_ends_the_batch(watched, actor):
    actor, _ = actor(model="absent")
    [row] = actor._bundle(1, ENTRIES)
    assert "absent" in row["fatal"]
    assert not row["asked"]
