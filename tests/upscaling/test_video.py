"""A video from file to file, on a tiny random model."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from lpnsr.errors import ConfigError, InputError, OutputError
from lpnsr.imaging.video import VideoReader
from lpnsr.upscaling.upscaler import Upscaler
from lpnsr.upscaling.video import SEGMENT, VideoOptions, upscale_video
from support.clips import TIMES, Clip
from support.tiny_model import tiny_upscaler


@pytest.fixture(scope="module")
def up() -> Upscaler:
    return tiny_upscaler()


def packets(path: Path, kind: str) -> list[tuple[Any, ...]]:
    with av.open(str(path)) as file:
        streams = [each for each in file.streams if each.type == kind]
        return [(each.pts, each.duration, bytes(each)) for each in file.demux(streams) if each.pts is not None]


def test_all_that_travels_along_is_kept(up: Upscaler, tmp_path: Path) -> None:
    source = Clip(rotation=90).write(tmp_path / "clip.mp4")
    upscale_video(up, source, tmp_path / "out" / "large.mp4", steps=0)
    with VideoReader(source) as before, VideoReader(tmp_path / "out" / "large.mp4") as after:
        assert (after.height, after.width) == (4 * before.height, 4 * before.width)
        assert after.look == before.look
        assert after.look.display is not None
        assert [frame.time for frame in after.frames()] == list(TIMES)
        assert after.container.metadata["title"] == "A clip"
        assert after.container.chapters()[0]["metadata"] == {"title": "One"}
        assert after.container.streams.audio[0].metadata["language"] == "deu"
    assert packets(tmp_path / "out" / "large.mp4", "audio") == packets(source, "audio")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["large.mp4"]


def test_subtitles_and_ten_bits_are_kept(up: Upscaler, tmp_path: Path) -> None:
    source = Clip(subtitles=(0.1, 0.2), sound="libopus", pixels="yuv420p10le").write(tmp_path / "clip.mkv")
    upscale_video(up, source, tmp_path / "large.mkv", steps=0)
    for kind in ("audio", "subtitle"):
        assert packets(tmp_path / "large.mkv", kind) == packets(source, kind)
    with VideoReader(tmp_path / "large.mkv") as after:
        assert after.look.deep
        assert after.stream.average_rate == 30


def test_a_range_begins_at_zero(up: Upscaler, tmp_path: Path) -> None:
    source = Clip().write(tmp_path / "clip.mp4")
    upscale_video(up, source, tmp_path / "cut.mp4", VideoOptions(start=0.1, end=0.34), steps=0)
    with VideoReader(tmp_path / "cut.mp4") as after:
        assert [frame.time for frame in after.frames()] == [0, 6000, 9000, 21_000]
    heard = [time for time, *_ in packets(tmp_path / "cut.mp4", "audio")]
    assert heard == [time - 1600 for time in (2048, 3072, 4096, 5120)]


@pytest.mark.parametrize("scale", [1.0, 2.3])
def test_odd_sizes_lose_their_last_row(up: Upscaler, tmp_path: Path, scale: float) -> None:
    source = Clip(times=(0, 3000), height=26, width=34).write(tmp_path / "clip.mp4")
    upscale_video(up, source, tmp_path / "large.mp4", steps=0, scale=scale)
    with VideoReader(tmp_path / "large.mp4") as after:
        assert (after.height, after.width) == (round(scale * 26) // 2 * 2, round(scale * 34) // 2 * 2)


def test_what_stands_still_stays_still(up: Upscaler, tmp_path: Path) -> None:
    """Equal frames have equal results: one noise field for all."""
    clip = Clip(times=(0, 3000, 6000))
    with av.open(str(tmp_path / "still.mkv"), "w") as out:
        video = out.add_stream("ffv1", rate=30)
        video.width, video.height, video.pix_fmt = clip.width, clip.height, "yuv420p"
        for time in clip.times:
            frame = av.VideoFrame.from_ndarray(clip.frames()[0], "rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = time // 3000, Fraction(1, 30)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    seen: list[np.ndarray] = []

    class Watched:
        spec, parts, scale, dtype = up.spec, up.parts, up.scale, up.dtype

        def __call__(self, pixels: np.ndarray, **options: Any) -> np.ndarray:
            seen.append(up(pixels, **options))
            return seen[-1]

    upscale_video(Watched(), tmp_path / "still.mkv", tmp_path / "large.mkv", noise="gaussian")
    assert len(seen) == 3
    assert all(np.array_equal(seen[0], each) for each in seen)


def test_an_interrupted_call_goes_on_and_gives_the_same(up: Upscaler, tmp_path: Path) -> None:
    source = Clip(times=range(0, 3000 * (SEGMENT + 8), 3000), height=16, width=16).write(tmp_path / "clip.mp4")
    upscale_video(up, source, tmp_path / "whole.mp4", steps=0)

    def interrupt(frames: int) -> None:
        if frames == SEGMENT + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upscale_video(up, source, tmp_path / "large.mp4", steps=0, done=interrupt)
    assert not (tmp_path / "large.mp4").exists()
    with pytest.raises(ConfigError, match="other options"):
        upscale_video(up, source, tmp_path / "large.mp4", VideoOptions(crf=30), steps=0)
    retrained = tiny_upscaler()
    retrained.spec = retrained.spec.model_copy(update={"sha256": {"denoiser/model.safetensors": "0" * 64}})
    with pytest.raises(ConfigError, match="another model"):
        upscale_video(retrained, source, tmp_path / "large.mp4", steps=0)
    begun: list[int] = []
    upscale_video(up, source, tmp_path / "large.mp4", steps=0, begun=lambda _, done: begun.append(done))
    assert begun == [SEGMENT]
    assert (tmp_path / "large.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert not (tmp_path / "large.mp4.parts").exists()


def test_an_existing_result_is_kept(up: Upscaler, tmp_path: Path) -> None:
    source = Clip(times=(0, 3000)).write(tmp_path / "clip.mp4")
    target = tmp_path / "large.mp4"
    target.write_bytes(b"mine")
    with pytest.raises(OutputError, match="exists; choose another name"):
        upscale_video(up, source, target)
    assert target.read_bytes() == b"mine"
    upscale_video(up, source, target, overwrite=True, steps=0)
    with pytest.raises(ConfigError, match="allows 0 to 51"):
        upscale_video(up, source, target, VideoOptions(crf=60), overwrite=True)


def test_the_folder_of_parts_is_there_for_its_parts(up: Upscaler, tmp_path: Path) -> None:
    source, parts = Clip(times=(0, 3000)).write(tmp_path / "clip.mp4"), tmp_path / "large.mp4.parts"
    with pytest.raises(OutputError, match="cannot be written"):
        upscale_video(up, source, tmp_path / "large.mp4", VideoOptions(codec="hevc"), steps=0, width=16, height=2)
    assert not parts.exists()
    parts.mkdir()
    (parts / "000000000000000.mp4").write_bytes(b"rubbish")
    with pytest.raises(InputError, match=r"delete the folder .*\.parts"):
        upscale_video(up, source, tmp_path / "large.mp4", steps=0)
