"""A video from file to file: frame by frame, in bounded memory, in segments that survive a kill.

    frames -> Upscaler -> segments of a few frames in OUT.parts/ -> one file, with the sound and subtitles of the source

All frames share one noise field, so that what stands still stays still.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from filelock import FileLock, Timeout
from pydantic import Field, model_validator

from lpnsr.errors import ConfigError, InputError, OutputError
from lpnsr.system.atomic import AtomicFile, check_writable, make_folder_of, remove_leftovers, write_bytes
from lpnsr.system.config import StrictConfig
from lpnsr.upscaling.options import Cli, Options

if TYPE_CHECKING:
    from lpnsr.imaging.video import Segment, VideoReader
    from lpnsr.upscaling.upscaler import Upscaler

SEGMENT = 24
"""Frames of a segment: the work that a kill can lose."""
_VIDEO = Cli("Video")


class VideoOptions(StrictConfig):
    """Options of the video file."""

    codec: Annotated[
        Literal["h264", "hevc", "av1", "vp9"] | None,
        Field(description="Codec of the result. Default: h264, and vp9 for .webm."),
        _VIDEO,
    ] = None
    crf: Annotated[
        int | None,
        Field(ge=0, le=63, description="Constant rate factor; lower is better and larger. Default: 18 for h264."),
        _VIDEO,
    ] = None
    start: Annotated[float, Field(ge=0, description="First second of the source."), _VIDEO] = 0.0
    end: Annotated[float | None, Field(gt=0, description="Last second of the source."), _VIDEO] = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.end is not None and self.end <= self.start:
            raise ValueError(f"end = {self.end:g} has to be after start = {self.start:g}")
        return self


def upscale_video(
    upscaler: Upscaler,
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    video: VideoOptions | None = None,
    *,
    overwrite: bool = False,
    begun: Callable[[VideoReader, int], None] | None = None,
    done: Callable[[int], None] | None = None,
    **options: Any,
) -> None:
    """Upscale the video ``source`` into the file ``target`` (.mp4, .m4v, .mov, .mkv or .webm).

    Frame times, pixel aspect, rotation and colour tags are kept; sound and subtitles are copied. Finished segments lie
    in ``target``.parts until the end; a repeated call continues after them. begun: is called once with the reader and
    the number of frames that were done before; done: with the number of finished frames. options: those of
    ``Upscaler.__call__``. Raises ConfigError, InputError, OutputError, MissingExtraError.
    """
    from lpnsr.imaging.video import CONTAINERS, CRF, SegmentWriter, VideoReader, check_container, join
    from lpnsr.upscaling.provenance import settings_of

    source, target, video = Path(source), Path(target), video or VideoOptions()
    chosen = Options.parse(options, "upscale").settled(upscaler.spec, upscaler.parts)
    codec = video.codec or ("vp9" if target.suffix.lower() == ".webm" else "h264")
    usual, most = CRF[codec]
    crf = usual if video.crf is None else video.crf
    if crf > most:
        raise ConfigError(f"crf = {crf}: {codec} allows 0 to {most}")
    check_writable(target)
    if target.exists() and not overwrite:
        raise OutputError(f"{target} exists; choose another name, or replace it with --overwrite")
    with VideoReader(source, video.start, video.end) as reader:
        check_container(reader, target, codec)
        height, width = chosen.output_size((reader.height, reader.width), upscaler.scale)
        size = height // 2 * 2, width // 2 * 2
        if min(size) < 2:
            raise ConfigError(f"a video of {width} x {height} pixels is too small; choose a larger size")
        make_folder_of(target)
        settings = {
            "source": [source.name, source.stat().st_size, source.stat().st_mtime_ns],
            "video": {"codec": codec, "crf": crf, "start": video.start, "end": video.end},
            "options": settings_of(upscaler.spec, upscaler.parts, chosen),
            "weights": upscaler.spec.sha256,
            "dtype": str(upscaler.dtype),
        }
        with _Parts(target, settings) as parts:
            count = sum(segment.frames for segment in parts.segments)
            if begun:
                begun(reader, count)
            frames = reader.frames(skip=count)
            for first in frames:
                with parts.next(first.time) as file:
                    writer = SegmentWriter(file.path, size, reader, codec, crf)
                    for frame in chain([first], islice(frames, SEGMENT - 1)):
                        pixels = upscaler(frame.pixels, **chosen.model_dump())[: size[0], : size[1]]
                        writer.put(replace(frame, pixels=pixels))
                        count += 1
                        if done:
                            done(count)
                    writer.finish()
                    file.commit()
            if not count:
                raise InputError(f"{source}: there is no frame between --start and --end")
            with AtomicFile(target) as file:
                join(parts.segments, reader, file.path, CONTAINERS[target.suffix.lower()])
                file.commit()
            parts.remove()


class _Parts:
    """The folder of the finished segments, for one process at a time."""

    def __init__(self, target: Path, settings: dict[str, Any]) -> None:
        self.folder = target.with_name(f"{target.name}.parts")
        self._lock = FileLock(self.folder / "lock", timeout=0)
        described = self.folder / "settings.json"
        text = json.dumps(settings, indent=2)
        make_folder_of(described)
        try:
            self._lock.acquire()
        except Timeout:
            raise OutputError(f"{target}: another process is making it") from None
        try:
            if described.exists() and described.read_text(encoding="utf-8") != text and self.segments:
                raise ConfigError(
                    f"{self.folder} holds {len(self.segments)} parts that were made from another file or with another "
                    "model or other options; repeat the command with those, or delete the folder"
                )
            write_bytes(described, text.encode())
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> Self:
        remove_leftovers(self.folder)
        return self

    def __exit__(self, *_: object) -> None:
        if not any(self.folder.glob("*.mp4")):
            shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.release()

    @property
    def segments(self) -> list[Segment]:
        """The finished segments in their order."""
        from lpnsr.imaging.video import Segment

        return [Segment.read(path) for path in sorted(self.folder.glob("*.mp4"))]

    def next(self, time: int) -> AtomicFile:
        """A file for the segment whose first frame is shown at ``time``."""
        return AtomicFile(self.folder / f"{time:015d}.mp4")

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
