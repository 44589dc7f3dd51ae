"""Frames, times and colours of video files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from lpnsr.errors import ConfigError, InputError
from lpnsr.imaging.video import ENCODERS, Frame, Segment, SegmentWriter, VideoReader, check_container
from support.clips import TIMES, Clip

BT709, BT601, BT2020 = 1, 5, 9


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Clip().write(tmp_path_factory.mktemp("clips") / "clip.mp4")


def test_frames_come_with_their_times_and_colours(clip: Path) -> None:
    with VideoReader(clip) as reader:
        frames = list(reader.frames())
        assert (reader.height, reader.width, reader.expected_frames) == (24, 32, len(TIMES))
    assert [frame.time for frame in frames] == list(TIMES)
    assert [frame.duration for frame in frames[:-1]] == list(np.diff(TIMES))
    for frame, drawn in zip(frames, Clip().frames(), strict=True):
        assert np.abs(frame.pixels.astype(int) - drawn).mean() < 6  # the chroma of 4:2:0


@pytest.mark.parametrize(
    ("start", "end", "times"),
    [
        (0.0, 0.1, [0, 3000, 6000, 7500]),
        (0.1, None, [0, 6000, 9000, 21_000, 24_000]),  # the first one is shown since .083 s
        (0.2, 0.34, [0, 12_000]),
        (0.15, 0.16, [0]),
    ],
)
def test_a_range_has_the_frames_shown_in_it(clip: Path, start: float, end: float | None, times: list[int]) -> None:
    with VideoReader(clip, start, end) as reader:
        frames = list(reader.frames())
    assert [frame.time for frame in frames] == times
    if end is not None:
        assert frames[-1].time + frames[-1].duration <= round((end - start) * 90_000)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
@pytest.mark.parametrize("codec", ENCODERS)
def test_an_encoder_leaves_the_scheduling_of_the_process(clip: Path, codec: str, tmp_path: Path) -> None:
    """libsvtav1 makes its threads and ours real-time ones for root; they took the processors from all others."""

    def policies() -> set[int]:
        return {os.sched_getscheduler(int(path.name)) for path in Path("/proc/self/task").iterdir()}

    expected = policies()
    with VideoReader(clip) as reader:
        writer = SegmentWriter(tmp_path / "0.mp4", (64, 64), reader, codec, 30)
        writer.put(Frame(0, 3000, np.zeros((64, 64, 3), np.uint8)))
        found = policies()
        writer.finish()
    assert found == policies() == expected


def test_frames_without_times_follow_each_other(clip: Path, tmp_path: Path) -> None:
    """A stream without a container, which cannot be wound back either."""
    path = tmp_path / "a.h264"
    with av.open(str(clip)) as source, av.open(str(path), "w", format="h264") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.pts is not None:
                packet.stream = stream
                out.mux(packet)
    with VideoReader(path) as reader:
        frames = list(reader.frames())
    durations = {frame.duration for frame in frames}
    assert [frame.time for frame in frames] == [durations.copy().pop() * number for number in range(len(TIMES))]
    assert len(durations) == 1


@pytest.mark.parametrize("matrix", [BT709, BT601, BT2020])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("deep", [False, True])
def test_a_segment_keeps_colours(clip: Path, tmp_path: Path, matrix: int, full: bool, deep: bool) -> None:
    """Even areas: 8 bits of limited range are a level and a half apart."""
    colours = np.array([[200, 40, 30], [20, 180, 60], [90, 90, 240], [128, 128, 128]], np.uint8)
    pixels = colours.repeat(16, 0)[None].repeat(32, 0)
    pixels = pixels.astype(np.uint16) * 257 if deep else pixels
    with VideoReader(clip) as reader:
        reader.look = replace(reader.look, matrix=matrix, full=full, deep=deep)
        path = tmp_path / "0.mp4"
        writer = SegmentWriter(path, pixels.shape[:2], reader, "h264", 1)
        writer.put(Frame(700, 3000, pixels))
        writer.finish()
    with VideoReader(path) as again:
        assert (again.look.matrix, again.look.full, again.look.deep) == (matrix, full, deep)
        (seen,) = again.frames()
    middle = seen.pixels[8:24, 8::16].astype(float) / (257 if deep else 1)
    assert np.abs(middle - colours).max() < (1.0 if deep else 3.0)


@pytest.mark.parametrize("codec", sorted(ENCODERS))
def test_every_codec_keeps_frames_in_their_order(clip: Path, tmp_path: Path, codec: str) -> None:
    path = tmp_path / "12.mp4"
    with VideoReader(clip) as reader:
        size = (72, 96)  # the least that all encoders take
        writer = SegmentWriter(path, size, reader, codec, 20)
        for frame in reader.frames():
            writer.put(replace(frame, pixels=np.full((*size, 3), 20 + frame.time // 200, np.uint8)))
        writer.finish()
    assert Segment.read(path) == Segment(path, 12, len(TIMES))
    with VideoReader(path) as again:
        seen = list(again.frames())
    assert [frame.time for frame in seen] == list(TIMES)
    for frame in seen:
        assert abs(frame.pixels.mean() - (20 + frame.time // 200)) < 4


@pytest.mark.parametrize(
    ("height", "times", "words"),
    [
        (48, (90_000, 93_000), "change their size from 32 x 24 to 32 x 48"),
        (24, (0, 3000), r"the clock jumps back after 0\.37 s"),
    ],
)
def test_joined_videos_are_refused(tmp_path: Path, height: int, times: tuple[int, ...], words: str) -> None:
    clips = Clip(sound=""), Clip(sound="", height=height, times=times)
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(clip.write(tmp_path / f"{n}.ts").read_bytes() for n, clip in enumerate(clips)))
    with VideoReader(path) as reader, pytest.raises(InputError, match=words):
        list(reader.frames())


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.mp4", b"not a video at all" * 20, "cannot be read as a video"),
        ("a.png", (Path(__file__).parents[1] / "data" / "otter.png").read_bytes(), "use lpnsr upscale"),
        ("a.mp4", None, "No such file"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path: Path, name: str, data: bytes | None, words: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=words):
        VideoReader(tmp_path / name)


def test_a_start_behind_the_end_is_refused(clip: Path) -> None:
    with pytest.raises(InputError, match=r"lasts 0\.40 s; --start 7 is after"):
        VideoReader(clip, 7.0)


@pytest.mark.parametrize(
    ("name", "codec", "words"),
    [
        ("a.webm", "h264", "video in h264, audio in aac; name a result that ends in .mkv"),
        ("a.avi", "h264", "has to end in .mp4"),
    ],
)
def test_a_container_that_cannot_hold_the_streams_is_refused(clip: Path, name: str, codec: str, words: str) -> None:
    with VideoReader(clip) as reader, pytest.raises(ConfigError, match=words):
        check_container(reader, Path(name), codec)
