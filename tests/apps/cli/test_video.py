"""``lpnsr video`` as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lpnsr.apps.cli import app
from lpnsr.imaging.video import VideoReader
from support.clips import TIMES, Clip


def test_a_clip_is_upscaled(tmp_path: Path, tiny_model: Path) -> None:
    source, out = Clip().write(tmp_path / "clip.mp4"), tmp_path / "large.mkv"
    called = ["video", str(source), "-o", str(out), "-n", str(tiny_model), "-s", "2", "--steps", "1", "--end", "0.3"]
    result = CliRunner().invoke(app, called)
    assert result.exit_code == 0, result.output
    assert "frames, expected to take" in result.output
    with VideoReader(out) as made:
        assert (made.height, made.width) == (48, 64)
        assert len(list(made.frames())) == len([time for time in TIMES if time < 27_000])
    again = CliRunner().invoke(app, called)
    assert again.exit_code == 1
    assert "replace it with --overwrite" in again.output


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--start", "2", "--end", "1"], 2, "end = 1 has to be after start = 2"),
        (["--start", "9"], 1, "is after its end"),
        (["--crf", "60"], 2, "h264 allows 0 to 51"),
        (["--noise", "green"], 2, "green"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, tiny_model: Path, more: list[str], code: int, words: str) -> None:
    source = Clip().write(tmp_path / "clip.mp4")
    result = CliRunner().invoke(
        app, ["video", str(source), "-o", str(tmp_path / "x.mp4"), "-n", str(tiny_model), *more]
    )
    assert (result.exit_code, words in result.output) == (code, True), result.output
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]
