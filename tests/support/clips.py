"""Small videos with everything that has to survive: uneven times, sound, subtitles, chapters, rotation, colour tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BASE = Fraction(1, 90_000)
TIMES = (0, 3000, 6000, 7500, 15_000, 18_000, 30_000, 33_000)
"""Of the frames, in units of ``BASE``: a variable frame rate."""
RATE = 16_000


@dataclass(frozen=True)
class Clip:
    """A clip to write. height, width: of a frame. subtitles: second of each."""

    times: Sequence[int] = TIMES
    height: int = 24
    width: int = 32
    codec: str = "libx264"
    pixels: str = "yuv420p"
    rotation: int = 0
    sound: str = "aac"
    subtitles: Sequence[float] = ()
    options: dict[str, str] = field(default_factory=lambda: {"crf": "5"})

    def frames(self) -> list[np.ndarray]:
        """RGB frames, uint8: a gradient under a block that wanders."""
        y, x = np.mgrid[: self.height, : self.width]
        ground = np.stack([x * 255 // self.width, y * 255 // self.height, 128 + 0 * x], -1).astype(np.uint8)
        made = []
        for number in range(len(self.times)):
            frame = ground.copy()
            frame[4:12, 2 * number : 2 * number + 8] = (230, 40, 30)
            made.append(frame)
        return made

    def write(self, path: Path) -> Path:
        with av.open(str(path), "w") as out:
            video = out.add_stream(self.codec, rate=30, options=self.options)
            context = video.codec_context
            context.height, context.width, context.pix_fmt, context.time_base = (
                self.height,
                self.width,
                self.pixels,
                BASE,
            )
            context.colorspace, context.color_primaries, context.color_trc = 9, 9, 16
            context.color_range = 1
            context.sample_aspect_ratio = Fraction(4, 3)
            if self.rotation:
                video.set_display_rotation(self.rotation)
            sound = out.add_stream(self.sound, rate=RATE) if self.sound else None
            words = out.add_mux_stream("subrip") if self.subtitles else None
            if sound:
                sound.metadata["language"] = "deu"
            out.metadata["title"] = "A clip"
            out.set_chapters(
                [{"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "One"}}]
            )
            for time, pixels in zip(self.times, self.frames(), strict=True):
                frame = av.VideoFrame.from_ndarray(pixels, "rgb24").reformat(
                    format=self.pixels, dst_colorspace=9, src_color_range=2, dst_color_range=1
                )
                frame.pts, frame.time_base = time, BASE
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
            if sound:
                wave = np.sin(np.arange(RATE * 2 // 5) / 20).astype(np.float32)[None]
                heard = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
                heard.sample_rate, heard.pts = RATE, 0
                out.mux(sound.encode(heard))
                out.mux(sound.encode(None))
            for second in self.subtitles:
                packet = av.Packet(b"words")
                packet.stream, packet.time_base = words, Fraction(1, 1000)
                packet.pts = packet.dts = round(second * 1000)
                packet.duration = 100
                out.mux(packet)
        return path
