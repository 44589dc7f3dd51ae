"""``lpnsr upscale``: options, messages and failures, with a tiny model."""

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
from lpnsr.errors import LpnsrWarning
from lpnsr.imaging import read
from lpnsr.upscaling.options import ModelOptions, Options
from lpnsr.upscaling.provenance import settings_in
from support.foreign import network_file
from support.tiny_model import NETWORKS, tiny_upscaler
from support.upscale_command import MODEL, arguments_of, files, run


def test_one_file(watched, folder):
    run("photos/b2.png", "-o", "x.png")
    assert read("x.png").pixels.shape == (40, 48, 3)
    assert watched.loaded == [ModelOptions(model=os.environ[MODEL]).model_dump()]
    assert watched.asked == [Options().model_dump()]


def test_every_option_arrives(watched, folder):
    machine = "--device cpu --runtime torch --fp32 -t 64 --cache-dir kept --memory 4G"
    options = f"--steps 1 --noise mode --fidelity 0.5 --start bicubic --seed 7 --color-fix adain {machine}"
    run("-i", "photos/b2.png", "-o", "out", "--outscale", 3.5, *options.split())
    machine = {"device": "cpu", "dtype": "float32", "runtime": "torch", "cache_dir": Path("kept"), "memory": "4G"}
    assert watched.loaded == [{"model": os.environ[MODEL], "start": None, "revision": None, **machine}]
    expected = {"steps": 1, "noise": "mode", "fidelity": 0.5, "start": "bicubic", "seed": 7, "tile": 64}
    assert watched.asked == [Options(scale=3.5, colour_fix="adain", **expected).model_dump()]
    assert read("out/b2.png").pixels.shape == (35, 42, 3)


def test_what_a_result_was_made_with_is_in_it(folder):
    run("photos/b2.png", "-o", "out", "-s", 2, "--seed", 3, "--start", "bicubic", "--strength", "balanced")
    made = settings_in("out/b2.png")
    expected = {"model": "tiny", "scale": 2.0, "steps": 4, "noise": "predicted", "fidelity": 0.75, "start": "bicubic"}
    assert made == expected | {"version": made["version"], "seed": 3, "colour_fix": "wavelet"}


@pytest.mark.parametrize(
    ("part", "option", "message"),
    [
        ("noise_predictor", "--noise=predicted", "noise = predicted: tiny has no noise predictor; choose gaussian"),
        ("noise_predictor", "--noise=mode", "noise = mode: tiny has no noise predictor; choose gaussian"),
        ("upsampler", "--start=upsampler", "start = upsampler: tiny has no pre-upsampler; choose bicubic"),
    ],
)
def test_a_control_that_the_model_does_not_have_is_refused(folder, part, option, message):
    networks = {name: config for name, config in NETWORKS.items() if name != part}
    tiny_upscaler(networks=networks).save_pretrained("bare")
    assert run("photos/b2.png", "-o", "out", "-n", "bare", option, code=2).stderr == f"error: {message}\n"
    run("photos/b2.png", "-o", "out", "-n", "bare")
    made = settings_in("out/b2.png")
    assert (made["noise"], made["start"]) == (
        "gaussian" if part == "noise_predictor" else "predicted",
        "bicubic" if part == "upsampler" else "upsampler",
    )


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
def test_sizes(watched, folder, options, size):
    run("photos/b2.png", "-o", "x.png", *options)
    assert read("x.png").pixels.shape[:2] == size


@pytest.mark.parametrize("jobs", [1, 3])
def test_bad_files_do_not_stop_the_others(watched, folder, jobs):
    Path("photos/a_text.png").write_text("hello")
    Path("photos/a_cut.jpg").write_bytes(Path("photos/b10.jpg").read_bytes()[:-100])
    result = run("absent.png", "photos", "-o", "out", "--json", "--jobs", jobs, code=1)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["status"] for line in lines] == ["failed"] * 3 + ["done"] * 2 + ["summary"]
    assert [
        next(text for text in ("no such file", "cut short", "not an image") if text in line["error"])
        for line in lines[:3]
    ] == ["no such file", "cut short", "not an image"]
    assert result.stderr.count("error: ") == 3
    assert files("out") == ["b10.jpg", "b2.png"]


def test_a_crash_of_the_model_is_one_line(watched, folder):
    def crash(rows):
        raise RuntimeError("something\nstrange")

    watched.before = crash
    result = run("photos/b2.png", "-o", "out", code=1)
    assert "photos/b2.png: unexpected RuntimeError: something strange" in result.stderr
    assert not Path("out").exists()
    shown = CliRunner().invoke(app, ["--debug", *arguments_of("photos/b2.png", "-o", "out")])
    assert isinstance(shown.exception, RuntimeError)


def test_a_network_of_another_project(folder):
    network_file(Path("kept/models/x2.pth"), 2)
    run("photos", "-o", "alone", "-n", "x2", "--cache-dir", "kept")
    assert [read(f"alone/{name}").pixels.shape for name in ("b2.png", "b10.jpg")] == [(20, 24, 3)] * 2
    assert settings_in("alone/b2.png")["model"] == "x2.pth"
    refused = run("photos", "-o", "out", "-n", "x2.pth", "--cache-dir", "kept", "--fidelity", 1, code=2)
    assert refused.stderr == "error: fidelity = 1.0: x2.pth is a network without a chain, and has no such option\n"


def test_a_chain_starts_from_a_network_of_another_project(watched, folder):
    network_file(Path("x4.pth"), 4)
    run("photos/b2.png", "-o", "x.png", "--start", "x4.pth")
    run("photos/b2.png", "-o", "usual.png")
    assert [each["start"] for each in watched.loaded] == ["x4.pth", None]
    assert (read("x.png").pixels != read("usual.png").pixels).any()
    assert (settings_in("x.png")["model"], settings_in("x.png")["start"]) == ("tiny + x4.pth", "upsampler")
    network_file(Path("x2.pth"), 2)
    for file, message in (("x2.pth", "enlarges 2x; 4x is needed"), ("x3.pth", "there is no file x3.pth")):
        result = run("photos", "-o", "out", "--start", file, code=1)
        assert message in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_model_that_is_not_there_stops_at_once(watched, folder):
    result = run("photos", "-o", "out", "--model", "absent", code=1)
    assert result.stderr.startswith("error: ")
    assert "absent" in result.stderr
    assert len(result.stderr.splitlines()) == len(watched.loaded) == 1


def test_wrong_options_that_only_the_model_knows(watched, folder):
    refused = run("photos", "-o", "out", "--steps", 9, code=2)
    assert refused.stderr == "error: steps = 9: allowed are 0 (the pre-upsampler alone) to 4\n"


def test_wrong_options_are_told_before_a_model_is_looked_for(folder):
    result = run("photos/b2.png", "-o", "out", "-t", "10", "--model", "absent", code=2)
    assert (
        result.stderr == "error: options: tile = 10: should be greater than or equal to 16, or should be 0 or 'auto'\n"
    )


@pytest.mark.parametrize("names", [["photos", "-o", "s3://bucket/out"], ["file:///photos", "-o", "out"]])
def test_urls_are_no_folders_here(watched, folder, names):
    assert "is a URL; only --engine ray reads and writes these" in run(*names, code=2).stderr
    assert sorted(path.name for path in folder.iterdir()) == ["photos"]


def test_warnings_are_lines(watched, folder):
    watched.before = lambda rows: warnings.warn("mind the gap", LpnsrWarning, stacklevel=1)
    assert "warning: mind the gap\n" in run("photos/b2.png", "-o", "out").stderr
    assert run("photos/b2.png", "-o", "out", "--overwrite", "-q").output == ""


def test_lines_when_piped(watched, folder):
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
