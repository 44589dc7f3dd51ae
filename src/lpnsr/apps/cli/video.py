"""``lpnsr video``: a video from file to file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lpnsr.apps.cli.common import bars
from lpnsr.apps.cli.described import described, model_and_image, parsed
from lpnsr.upscaling.options import ModelOptions, Options
from lpnsr.upscaling.video import VideoOptions, upscale_video

if TYPE_CHECKING:
    from lpnsr.imaging.video import VideoReader

PANELS = ("Video", "Size", "Model", "Machine")


@described(VideoOptions, ModelOptions, Options, panels=PANELS)
def video(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Video file.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="OUT", help="Result: .mp4, .m4v, .mov, .mkv or .webm.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing result.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No messages except errors.")] = False,
    **chosen: Any,
) -> None:
    """Upscale a video: lpnsr video clip.mp4 -o clip_x4.mp4

    Sound and subtitles are copied. The command can be interrupted: repeat it to continue.
    """
    import lpnsr.imaging.video  # noqa: F401 (a missing extra is told before a model is loaded)
    from lpnsr import Upscaler
    from lpnsr.apps.files.times import spoken
    from lpnsr.upscaling.estimate import pixel_seconds

    settings = parsed(VideoOptions, chosen)
    model, options = model_and_image(chosen | {"start": None})  # which is a time here
    upscaler = Upscaler.from_pretrained(**model.model_dump())
    with bars(hidden=quiet) as shown:
        task = shown.add_task("frames", total=None)

        def begun(reader: VideoReader, done: int) -> None:
            shown.update(task, total=max(done, reader.expected_frames), completed=done)
            if quiet:
                return
            if done:
                shown.console.print(f"{done} frames are done already")
            if reader.interlaced:
                shown.console.print("warning: the video is interlaced; deinterlace it first for a better result")
            seconds = pixel_seconds(upscaler, options) * reader.height * reader.width
            left = max(0, reader.expected_frames - done)
            shown.console.print(f"{left} frames, expected to take {spoken(seconds * left)}")

        upscale_video(
            upscaler,
            source,
            out,
            settings,
            overwrite=overwrite,
            begun=begun,
            done=lambda frames: shown.update(task, completed=frames),
            **options.model_dump(),
        )
    if not quiet:
        typer.echo(f"{source} -> {out}", err=True)
