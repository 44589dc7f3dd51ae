"""Standard streams: images in and out, and messages that nobody can read."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lpnsr.apps.cli import app
from support.upscale_command import arguments_of, make, run


def upscale(*arguments: object, data: bytes | None = None):
    result = CliRunner().invoke(app, arguments_of(*arguments), input=data, prog_name="lpnsr")
    assert "Traceback" not in result.output
    return result


def encoded(extension: str = "png") -> bytes:
    out = io.BytesIO()
    form = {"png": "PNG", "ppm": "PPM", "jpg": "JPEG"}[extension]
    Image.fromarray(np.full((10, 12, 3), 90, np.uint8)).save(out, form)
    return out.getvalue()


@pytest.mark.parametrize("extension", ["png", "ppm", "jpg"])
def test_from_standard_input_to_standard_output(folder, extension):
    result = upscale("-", "-o", "-", data=encoded(extension))
    assert result.exit_code == 0, result.stderr
    image = Image.open(io.BytesIO(result.stdout_bytes))
    assert (image.format, image.size) == ("PNG", (48, 40))
    assert sorted(p.name for p in folder.iterdir()) == ["photos"]


@pytest.mark.parametrize(
    ("source", "options", "form"),
    [
        ("photos/b10.jpg", [], "JPEG"),
        ("photos/b2.png", ["--ext", "webp"], "WEBP"),
        ("photos/b2.png", ["--quality", "50", "--ext", "jpg"], "JPEG"),
    ],
)
def test_the_format_of_standard_output(folder, source, options, form):
    result = upscale(source, "-o", "-", *options)
    assert Image.open(io.BytesIO(result.stdout_bytes)).format == form


def test_standard_input_into_a_file_or_folder(folder):
    assert upscale("-", "-o", "x.tif", data=encoded()).exit_code == 0
    assert Image.open("x.tif").size == (48, 40)
    assert upscale("-", "-o", "out/", data=encoded()).exit_code == 0
    assert Image.open("out/standard-input.png").size == (48, 40)


def test_devices_are_written_to_and_not_replaced(folder):
    assert upscale("photos/b2.png", "-o", "/dev/null").exit_code == 0
    assert not Path("/dev/null").is_file()
    os.mkfifo("pipe.png")
    reader = subprocess.Popen(["cat", "pipe.png"], stdout=subprocess.PIPE)
    assert upscale("photos/b2.png", "-o", "pipe.png").exit_code == 0
    assert Image.open(io.BytesIO(reader.communicate()[0])).size == (48, 40)


def test_messages_name_the_streams(folder):
    assert upscale("-", "-o", "x.png", data=encoded()).stderr.startswith("- -> x.png (48 x 40,")
    assert upscale("photos/b2.png", "-o", "-").stderr.startswith("photos/b2.png -> - (48 x 40,")
    assert upscale("-", "-o", "y.png", data=b"").stderr.startswith("error: -: the file is empty")
    record = json.loads(upscale("-", "-o", "/dev/null", "--json", data=encoded()).stdout.splitlines()[0])
    assert (record["input"], record["output"]) == ("-", "/dev/null")


def test_what_streams_cannot_take(folder):
    for arguments in (["photos", "-o", "-"], ["photos/b2.png", "photos/b10.jpg", "-o", "-"]):
        result = upscale(*arguments)
        assert result.exit_code == 2
        assert "one image" in result.stderr
    assert "both write to standard output" in upscale("photos/b2.png", "-o", "-", "--json").stderr
    assert "no place for the picture of --compare" in upscale("photos/b2.png", "-o", "-", "--compare").stderr
    assert "reads and writes files" in upscale("-", "-o", "out", "--engine", "ray").stderr
    assert "cannot be written: No space" in upscale("photos/b2.png", "-o", "/dev/full").stderr
    assert "not an image" in upscale("-", "-o", "x.png", data=b"text " * 50).stderr


def test_an_error_in_a_batch_is_told_once(folder):
    Path("photos/bad.png").write_bytes(b"no image")
    result = run("photos", "-o", "out", code=1)
    assert result.stderr.count("not an image") == 1
    assert "2 done, 1 failed" in result.stderr


def process(*arguments: str, stdout=None, stderr=None, preexec_fn=None, **environment: str):
    """Run ``lpnsr`` with these arguments in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lpnsr", *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        timeout=300,
        check=False,
        stdout=stdout,
        stderr=stderr,
        preexec_fn=preexec_fn,
    )


@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("arguments", [["models", "list"], ["--version"], ["bench", "--help"], None])
def test_a_full_disk_behind_standard_output_is_an_error_and_no_bug(folder, arguments, buffered):
    given = arguments or arguments_of("photos", "-o", "out", "--json")
    with Path("/dev/full").open("w") as full:
        result = process(*given, stdout=full, stderr=subprocess.PIPE, PYTHONUNBUFFERED=buffered)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [b"error: standard output cannot be written: No space left on device"]


@pytest.mark.parametrize("how", ["closed", "broken"])
def test_a_batch_goes_on_when_nobody_reads_what_it_says(folder, how):
    make("photos/d.png", "photos/e.png")
    Path("photos/bad.png").write_bytes(b"no image")
    given = arguments_of("photos", "-o", "out", "--json")
    if how == "closed":
        result = process(*given, stdout=subprocess.PIPE, preexec_fn=lambda: os.close(2))
    else:
        reading, writing = os.pipe()
        os.close(reading)
        result = process(*given, stdout=subprocess.PIPE, stderr=writing)
        os.close(writing)
    assert result.returncode == 1
    assert [json.loads(line)["status"] for line in result.stdout.splitlines()].count("done") == 4
    for path in Path("out").iterdir():
        Image.open(path).load()
