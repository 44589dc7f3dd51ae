"""Video files: frames as RGB arrays with exact times in, encoded segments and one finished file out (extra ``video``).

Times are integers in units of a stream's time base, as in the file: nothing is resampled in time.
"""

from __future__ import annotations

import heapq
import io
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from lpnsr.errors import ConfigError, InputError, MissingExtraError

try:
    import av
    from av.packet import Packet
    from av.sidedata.sidedata import Type
    from av.stream import Disposition, Stream
    from av.video.reformatter import ColorRange, Interpolation
    from av.video.stream import VideoStream
except ImportError:
    raise MissingExtraError("video", "av") from None

CONTAINERS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
ENCODERS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1", "vp9": "libvpx-vp9"}
CRF = {"h264": (18, 51), "hevc": (20, 51), "av1": (25, 63), "vp9": (25, 63)}
"""The default, and the largest."""
_UNSPECIFIED, _RGB, _BT709, _BT601 = 2, 0, 1, 5  # code points of ITU-T H.273
_HD = 720  # rows from which on players take an unspecified matrix for BT.709
_PRECISE = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


@dataclass(frozen=True)
class Look:
    """Tags and properties that tell a player how to show the frames.

    matrix, primaries, transfer: code points of ITU-T H.273. full: luma from 0 instead of 16. deep: more than 8 bits.
    aspect: width of a pixel to its height. display: the display matrix (rotation, mirroring), nine integers.
    """

    matrix: int
    primaries: int
    transfer: int
    full: bool
    deep: bool
    aspect: Fraction
    display: tuple[int, ...] | None


@dataclass(frozen=True)
class Frame:
    """pixels: (H, W, 3) uint8 or uint16. time, duration: in units of the reader's time base, from its start."""

    time: int
    duration: int
    pixels: NDArray[Any]


class VideoReader:
    """The first video stream of a file, and what lies beside it. Raises InputError for what is no video.

    start, end: seconds from the beginning of the file. Frames that are shown in between are read.
    time_base: seconds of a unit of time; start, end, cut: the range in seconds of the file's clock, and whether its
    beginning is left out.
    """

    def __init__(self, path: Path, start: float = 0.0, end: float | None = None) -> None:
        self.path = path
        with self._told():
            self.container = av.open(str(path), "r")
        photo = self.container.format.name.endswith("_pipe") or self.container.format.name == "image2"
        videos = [] if photo else self.container.streams.video
        pictures = [each for each in videos if Disposition.attached_pic not in each.disposition]
        if not pictures:
            self.container.close()
            raise InputError(f"{path}: there is no video in this file; for photographs use lpnsr upscale")
        self.stream: VideoStream = pictures[0]
        self.stream.thread_type = "AUTO"
        base = self.stream.time_base or Fraction(1, av.time_base)
        self.time_base, self._unit = Fraction(1, base.denominator), base.numerator
        began = Fraction(self.container.start_time or 0, av.time_base)
        length = Fraction(self.container.duration or 0, av.time_base)
        if length and start >= length:
            self.container.close()
            raise InputError(f"{path}: the video lasts {float(length):.2f} s; --start {start:g} is after its end")
        self.cut = start > 0
        self.start = began + Fraction(start).limit_denominator(10**6)
        self.end = None if end is None else began + Fraction(end).limit_denominator(10**6)
        until = length if end is None else min(length, Fraction(end))
        self.rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
        whole = self.stream.frames if until - Fraction(start) == length else 0
        self.expected_frames = whole or max(1, round((until - Fraction(start)) * self.rate))
        with self._told():
            first = next(self.container.decode(self.stream), None)
        if first is None:
            self.container.close()
            raise InputError(f"{path}: no frame of the video can be decoded; the file is damaged or empty")
        self.height, self.width = first.height, first.width
        self.interlaced = bool(first.interlaced_frame)
        self.look = _look(first, self.stream.sample_aspect_ratio)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def beside(self) -> list[Stream]:
        """Streams of sound and subtitles."""
        return [each for each in self.container.streams if each.type in ("audio", "subtitle")]

    def frames(self, skip: int = 0) -> Iterator[Frame]:
        """Decode the frames from the start to the end. skip: frames that are passed over, for instance done before."""
        with self._told(), av.open(str(self.path)) as file:  # anew: not every file can be wound back
            stream = next(each for each in file.streams.video if each.index == self.stream.index)
            stream.thread_type = "AUTO"
            for number, (frame, began, ended) in enumerate(self._shown(file.decode(stream))):
                if number < skip:
                    continue
                if (frame.height, frame.width) != (self.height, self.width):
                    raise InputError(
                        f"{self.path}: frames change their size from {self.width} x {self.height} to "
                        f"{frame.width} x {frame.height}; split the video there"
                    )
                yield Frame(began, ended - began, self._pixels(frame))

    def _shown(self, frames: Iterator[av.VideoFrame]) -> Iterator[tuple[av.VideoFrame, int, int]]:
        """The frames of the range, each with the times between which it is shown.

        A frame without a time, as in a stream without a container, follows the one before it at the usual rate.
        """
        last = None if self.end is None else round((self.end - self.start) / self.time_base)
        zero = round(self.start / self.time_base)
        usual, following = max(1, round(1 / self.rate / self.time_base)), 0
        held: tuple[av.VideoFrame, int] | None = None
        for frame in frames:
            time = following if frame.pts is None else frame.pts * self._unit - zero
            following = time + ((frame.duration or 0) * self._unit or usual)
            if held and time < held[1]:
                seconds = float(held[1] * self.time_base)
                raise InputError(f"{self.path}: the clock jumps back after {seconds:.2f} s; split the video there")
            if held and time == held[1]:
                continue
            if held and time > 0:
                yield held[0], max(0, held[1]), time if last is None else min(time, last)
            held = frame, time
            if last is not None and time >= last:
                return
        if held:
            yield held[0], max(0, held[1]), following if last is None else min(following, last)

    def _pixels(self, frame: av.VideoFrame) -> NDArray[Any]:
        look = self.look
        rgb = frame.reformat(
            format="rgb48le" if look.deep else "rgb24",
            src_colorspace=look.matrix,
            src_color_range=ColorRange.JPEG if look.full else ColorRange.MPEG,
            dst_color_range=ColorRange.JPEG,
            interpolation=_PRECISE,
        )
        return rgb.to_ndarray()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Turn the errors of FFmpeg into InputErrors."""
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            raise InputError(f"{self.path}: cannot be read as a video: {error.strerror or error}") from None


def _look(frame: av.VideoFrame, aspect: Fraction | None) -> Look:
    matrix = frame.colorspace
    if matrix in (_UNSPECIFIED, _RGB) or frame.format.is_rgb:
        matrix = _BT709 if frame.height >= _HD or frame.format.is_rgb else _BT601
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    display = next((bytes(each) for each in _side_data(frame) if each.type == Type.DISPLAYMATRIX), None)
    return Look(
        matrix=matrix,
        primaries=frame.color_primaries,
        transfer=frame.color_trc,
        full=full and not frame.format.is_rgb,
        deep=frame.format.components[0].bits > 8,
        aspect=aspect or Fraction(1),
        display=None if display is None else tuple(np.frombuffer(display, np.int32).tolist()),
    )


def _side_data(frame: av.VideoFrame) -> Iterator[Any]:
    yield from frame.side_data  # a mapping by its type, a sequence in fact


class SegmentWriter:
    """An MP4 file of a few frames, whose first one has the time 0.

    The frames have even sides (4:2:0), and 10 bits where the source has more than 8 and the codec allows them. No frame
    refers to a later one, so that segments can be joined.
    """

    def __init__(self, path: Path, size: tuple[int, int], reader: VideoReader, codec: str, crf: int) -> None:
        self.look = look = reader.look
        os.environ.setdefault("SVT_LOG", "1")  # errors only; it has no option for this
        self._container = av.open(
            str(path), "w", format="mp4", options={"video_track_timescale": str(reader.time_base.denominator)}
        )
        made = self._container.add_stream(ENCODERS[codec], rate=reader.rate, options=_encoder_options(codec, crf))
        self._stream = cast(VideoStream, made)
        context = self._stream.codec_context
        context.height, context.width = size
        deep = look.deep and "yuv420p10le" in (each.name for each in context.codec.video_formats or ())
        context.pix_fmt = "yuv420p10le" if deep else "yuv420p"
        context.time_base = reader.time_base
        context.max_b_frames = 0
        context.color_range = ColorRange.JPEG if look.full else ColorRange.MPEG
        context.colorspace, context.color_primaries, context.color_trc = look.matrix, look.primaries, look.transfer
        context.sample_aspect_ratio = look.aspect
        with _same_scheduling():
            self._container.start_encoding()
        self._began: int | None = None
        self._durations: dict[int, int] = {}

    def put(self, frame: Frame) -> None:
        """Encode a frame; times rise."""
        if self._began is None:
            self._began = frame.time
        picture = av.VideoFrame.from_ndarray(frame.pixels, "rgb48le" if self.look.deep else "rgb24").reformat(
            format=self._stream.codec_context.pix_fmt,
            dst_colorspace=self.look.matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG if self.look.full else ColorRange.MPEG,
            interpolation=_PRECISE,
        )
        picture.pts, picture.time_base = frame.time - self._began, self._stream.codec_context.time_base
        self._durations[picture.pts] = frame.duration
        self._mux(self._stream.encode(picture))

    def finish(self) -> None:
        """Write what the encoder holds back, and close the file."""
        self._mux(self._stream.encode(None))
        self._container.close()

    def _mux(self, packets: Sequence[Packet[Any]]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts or 0, 0)
            self._container.mux(packet)


@contextmanager
def _same_scheduling() -> Iterator[None]:
    """Restore the scheduling of threads that libsvtav1 makes real-time ones, as root: its own and the calling one.

    Real-time threads take the processors from all others.
    """
    threads = Path("/proc/self/task")
    if not threads.is_dir():  # only Linux has it
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    before = {path.name for path in threads.iterdir()} - {str(threading.get_native_id())}
    try:
        yield
    finally:
        for path in threads.iterdir():
            if path.name not in before:
                with suppress(ProcessLookupError):
                    os.sched_setscheduler(int(path.name), policy, parameters)


def _encoder_options(codec: str, crf: int) -> dict[str, str]:
    quality = {"crf": str(crf)}
    if codec == "vp9":
        return quality | {"b": "0", "row-mt": "1"}
    if codec == "hevc":
        return quality | {"x265-params": "log-level=error"}
    return quality


def check_container(reader: VideoReader, target: Path, codec: str) -> None:
    """Raise ConfigError if a file of the name ``target`` cannot hold the video, the sound and the subtitles."""
    container = CONTAINERS.get(target.suffix.lower())
    if container is None:
        raise ConfigError(f"{target}: the result has to end in {', '.join(CONTAINERS)}")
    with av.open(io.BytesIO(), "w", format=container) as trial:
        held = trial.supported_codecs
    streams = [("video", codec), *((each.type, each.codec_context.codec.canonical_name) for each in reader.beside)]
    refused = ", ".join(f"{kind} in {name}" for kind, name in streams if name not in held)
    if refused:
        raise ConfigError(f"{target}: {container} cannot hold {refused}; name a result that ends in .mkv")


@dataclass(frozen=True)
class Segment:
    """A finished segment: the number of its frames, and the time of the first, which is its file's name."""

    path: Path
    time: int
    frames: int

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InputError for a damaged file."""
        try:
            with av.open(str(path)) as file:
                return cls(path, int(path.stem), file.streams.video[0].frames)
        except (ValueError, OSError, IndexError):
            raise InputError(f"{path} is no part of a video; delete the folder {path.parent} to begin again") from None


def join(segments: Sequence[Segment], reader: VideoReader, file: Path, container: str) -> None:
    """Write segments, and what lies beside the video, into ``file``.

    Sound and subtitles are copied as they are, and so are chapters, titles and attached fonts.
    """
    with av.open(str(file), "w", format=container) as out, av.open(str(segments[0].path)) as first:
        video = out.add_stream_from_template(first.streams.video[0], opaque=True, rate=reader.rate)
        video.time_base = reader.time_base
        if reader.look.display:
            video.set_display_matrix(reader.look.display)
        copies = {each.index: out.add_stream_from_template(each, opaque=True) for each in reader.beside}
        for index, copy in copies.items():
            copy.metadata.update(reader.container.streams[index].metadata)
            copy.disposition = reader.container.streams[index].disposition
        video.metadata.update(reader.stream.metadata)
        out.metadata.update(reader.container.metadata)
        if container == "matroska":
            for font in reader.container.streams.attachments:
                out.add_attachment(font.name or "attachment", font.mimetype or "", font.data)
        out.set_chapters(_chapters(reader))
        moments = heapq.merge(
            _video_packets(segments, video), _packets_beside(reader, copies), key=lambda each: each[0]
        )
        for _, packet in moments:
            out.mux(packet)


def _video_packets(segments: Sequence[Segment], stream: Stream) -> Iterator[tuple[Fraction, Packet[Any]]]:
    for segment in segments:
        with av.open(str(segment.path)) as file:
            packets: Iterator[Packet[Any]] = file.demux(video=0)
            for packet in packets:
                if packet.pts is not None and packet.time_base is not None:
                    packet.pts = packet.dts = packet.pts + segment.time
                    packet.stream = stream
                    yield packet.pts * packet.time_base, packet


def _packets_beside(reader: VideoReader, copies: Mapping[int, Stream]) -> Iterator[tuple[Fraction, Packet[Any]]]:
    if not copies:
        return
    with av.open(str(reader.path)) as source:
        packets: Iterator[Packet[Any]] = source.demux([source.streams[index] for index in copies])
        for packet in packets:
            base = packet.time_base
            if packet.pts is None or base is None:
                continue
            time = packet.pts * base
            if (reader.cut and time < reader.start) or (reader.end is not None and time >= reader.end):
                continue
            shift = round(reader.start / base)
            packet.dts = (packet.pts if packet.dts is None else packet.dts) - shift
            packet.pts -= shift
            packet.stream = copies[packet.stream.index]
            yield packet.pts * base, packet


def _chapters(reader: VideoReader) -> list[Any]:
    """The chapters of the range, counted from its start."""
    kept = []
    for chapter in reader.container.chapters():
        base = chapter["time_base"] or Fraction(1, av.time_base)
        began, ended = (max(Fraction(0), chapter[name] * base - reader.start) for name in ("start", "end"))
        if reader.end is not None:
            ended = min(ended, reader.end - reader.start)
        if began < ended:
            kept.append(chapter | {"start": round(began / base), "end": round(ended / base)})
    return kept
