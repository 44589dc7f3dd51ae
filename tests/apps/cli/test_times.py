"""Times that ``lpnsr upscale`` tells: of files, and of what is to come."""

from __future__ import annotations

import json
import re
import time
from types import SimpleNamespace

import pytest

from lpnsr.apps.files import times
from lpnsr.upscaling import batch
from support.upscale_command import run


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that take an eighth of a second for a pixel, and lite a fourth of that."""
    monkeypatch.setattr(times, "WORTH", 0)
    monkeypatch.setattr(times, "pixel_seconds", lambda up, options: 0.03125 if up.spec.name == "lite" else 0.125)


def test_the_time_of_a_file_has_no_loading_in_it(watched, folder, monkeypatch):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(batch, "time", SimpleNamespace(monotonic=lambda: clock.now))
    load = watched.load

    def loading(**options):
        clock.now += 100
        return load(**options)

    def working(rows):
        clock.now += 3

    watched.load, watched.before = loading, working
    lines = [json.loads(line) for line in run("photos", "-o", "out", "--json").stdout.splitlines()]
    assert [line["seconds"] for line in lines[:-1]] == [3, 3]


def test_a_long_run_is_told_before_it_begins(slow, folder):
    one = run("photos/b2.png", "-o", "out").stderr.splitlines()
    assert one[0] == "expected to take 15 s"
    assert len(one) == 2
    batch = run("photos", "-r", "-o", "many", "--json")
    assert "expected" not in batch.stdout
    told = [line for line in batch.stderr.splitlines() if "expected" in line]
    assert told == ["expected to take 45 s"]
    assert run("photos", "-o", "quiet", "-q").output == ""


def test_a_very_long_run_tells_what_the_fast_model_would_take(slow, folder, monkeypatch):
    monkeypatch.setattr(times, "VERY_LONG", 14)
    assert run("photos/b2.png", "-o", "out").stderr.startswith("expected to take 15 s; -n lite would take 4 s\n")


def test_a_short_run_is_not_measured(folder, monkeypatch):
    monkeypatch.setattr(times, "pixel_seconds", None)
    assert "expected" not in run("photos", "-o", "out").stderr


def test_what_is_there_is_not_counted(slow, folder):
    run("photos/b2.png", "-o", "out")
    assert "expected to take 15 s" in run("photos", "-o", "out", "--skip-existing").stderr


def test_the_bar_of_one_photograph_has_a_time_left(slow, watched, folder, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    watched.before = lambda rows: time.sleep(1)
    assert re.search(
        r"b2\.png.* 0:00:1[345]", re.sub(r"\x1b\[[^A-Za-z]*[A-Za-z]", "", run("photos/b2.png", "-o", "out").stderr)
    )
