"""``lpnsr upscale``: options, messages and failures, around a stand-in for the model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lpnsr.apps.cli import app
from lpnsr.errors import ConfigError, LpnsrWarning
from lpnsr.imaging import read
from support.fake_upscaler import files, run


def test_one_file(fake, folder):
    run("photos/b2.png", "-o", "x.png")
    assert read("x.png").pixels.shape == (40, 48, 3)
    machine = {"device": "auto", "dtype": "auto", "runtime": "auto", "cache_dir": None, "memory": None}
    assert fake.loaded == [{"model": "lite", "revision": None, **machine}]
    assert fake.asked[0] == {
        "height": 40,
        "width": 48,
        "steps": None,
        "noise": "predicted",
        "fidelity": None,
        "start": "upsampler",
        "seed": 0,
        "tile": "auto",
        "colour_fix": "wavelet",
    }


def test_every_option_arrives(fake, folder):
    machine = "--device cpu --runtime onnx --fp32 -t 64 --cache-dir kept --memory 2G"
    options = f"--steps 1 --noise mode --fidelity 0.5 --start bicubic --seed 7 --color-fix adain {machine}"
    run("-i", "photos/b2.png", "-o", "out", "-n", "official", "--outscale", 3.5, *options.split())
    machine = {"device": "cpu", "dtype": "float32", "runtime": "onnx", "cache_dir": Path("kept"), "memory": "2G"}
    assert fake.loaded == [{"model": "official", "revision": None, **machine}]
    expected = {"steps": 1, "noise": "mode", "fidelity": 0.5, "start": "bicubic", "seed": 7, "tile": 64}
    assert fake.asked == [{"height": 35, "width": 42, "colour_fix": "adain", **expected}]


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (["-s", "2"], (20, 24)),
        (["--scale", "0.25"], (2, 3)),
        (["--width", "30"], (25, 30)),
        (["--height", "30"], (30, 36)),
        (["--width", "5", "--height", "50"], (50, 5)),
        (["--max-side", "24"], (20, 24)),
    ],
)
def test_sizes(fake, folder, options, size):
    run("photos/b2.png", "-o", "x.png", *options)
    assert read("x.png").pixels.shape[:2] == size


@pytest.mark.parametrize("jobs", [1, 3])
def test_bad_files_do_not_stop_the_others(fake, folder, jobs):
    Path("photos/a_text.png").write_text("hello")
    Path("photos/a_cut.jpg").write_bytes(Path("photos/b10.jpg").read_bytes()[:-100])
    result = run("absent.png", "photos", "-o", "out", "--json", "--jobs", jobs, code=1)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["status"] for line in lines] == ["failed"] * 3 + ["done"] * 2 + ["summary"]
    assert [
        next(text for text in ("no such file", "cut short", "not an image") if text in line["error"])
        for line in lines[:3]
    ] == ["no such file", "cut short", "not an image"]
    assert result.stderr.count("failed: ") == 3
    assert files("out") == ["b10.jpg", "b2.png"]


def test_a_crash_of_the_model_is_one_line(fake, folder):
    def crash(photo):
        raise RuntimeError("something\nstrange")

    fake.behaviour = staticmethod(crash)
    result = run("photos/b2.png", "-o", "out", code=1)
    assert "photos/b2.png: unexpected RuntimeError: something strange" in result.stderr
    assert not Path("out").exists()
    shown = CliRunner().invoke(app, ["--debug", "upscale", "photos/b2.png", "-o", "out"])
    assert isinstance(shown.exception, RuntimeError)


def test_a_model_that_is_not_there_stops_at_once(fake, folder):
    result = run("photos", "-o", "out", "--model", "absent", code=1)
    assert result.stderr.strip() == "error: there is no model 'absent'"
    assert len(fake.loaded) == 1


def test_wrong_options_that_only_the_model_knows(fake, folder):
    def refuse(photo):
        raise ConfigError("steps = 9: the model has 4")

    fake.behaviour = staticmethod(refuse)
    assert "error: steps = 9" in run("photos", "-o", "out", code=2).stderr


def test_wrong_options_are_told_before_a_model_is_looked_for(folder):
    result = run("photos/b2.png", "-o", "out", "-t", "10", "--model", "absent", code=2)
    assert result.stderr == "error: options: tile = 10; allowed: a whole number from 16, or 0 or auto\n"


@pytest.mark.parametrize("names", [["photos", "-o", "s3://bucket/out"], ["file:///photos", "-o", "out"]])
def test_urls_are_no_folders_here(fake, folder, names):
    assert "is a URL; only --engine ray reads and writes these" in run(*names, code=2).stderr
    assert sorted(path.name for path in folder.iterdir()) == ["photos"]


def test_warnings_are_lines(fake, folder):
    fake.behaviour = staticmethod(lambda photo: warnings.warn("mind the gap", LpnsrWarning, stacklevel=1))
    assert "warning: mind the gap\n" in run("photos/b2.png", "-o", "out").stderr
    assert run("photos/b2.png", "-o", "out", "--overwrite", "-q").output == ""


def test_lines_when_piped(fake, folder):
    result = run("photos/b2.png", "-o", "out")
    assert result.stdout == ""
    assert result.stderr.startswith("photos/b2.png -> out/b2.png (48 x 40, ")


def test_help_imports_nothing_heavy():
    code = "import sys; import lpnsr.apps.cli; print([m for m in ('torch', 'numpy', 'PIL', 'cv2') if m in sys.modules])"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.strip() == "[]"


def test_missing_files_are_reported_without_torch(tmp_path):
    code = textwrap.dedent("""
        import sys
        from lpnsr.apps.cli import main
        try:
            main()
        except SystemExit as stop:
            print(stop.code, "torch" in sys.modules)
    """)
    command = [sys.executable, "-c", code, "upscale", str(tmp_path / "absent.png"), "-o", str(tmp_path / "out")]
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "1 False"
    assert "there is no such file" in output.stderr


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, ["PASSIVE", "1000"]),
        ({"GOMP_SPINCOUNT": "7"}, ["PASSIVE", "7"]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["ACTIVE", "None"]),
    ],
)
def test_threads_that_wait_leave_the_processor_to_others(given, kept):
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    code = f"import atexit, os; atexit.register(lambda: print(*map(os.environ.get, {names})))\n"
    code += "from lpnsr.apps.cli import main; main()"
    environment = {name: value for name, value in os.environ.items() if name not in names} | given
    command = [sys.executable, "-c", code, "--version"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert output.split()[-2:] == kept


def test_version_and_unknown_command():
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("lpnsr ")
    assert CliRunner().invoke(app, ["enlarge"]).exit_code == 2
