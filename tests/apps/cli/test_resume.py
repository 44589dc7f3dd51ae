"""``lpnsr upscale`` called again: what is there already, what is missing, what was killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lpnsr.imaging import Photo, read, resize, write
from support.upscale_command import arguments_of, files, make, run


def test_existing_results(watched, folder):
    run("photos/b2.png", "-o", "out")
    before = Path("out/b2.png").read_bytes()
    refused = run("photos", "-o", "out", code=1)
    assert "out/b2.png exists already; use --overwrite or --skip-existing" in refused.stderr
    assert files("out") == ["b10.jpg", "b2.png"]
    skipped = run("photos", "-o", "out", "--skip-existing", "--json")
    assert [json.loads(line)["status"] for line in skipped.stdout.splitlines()] == ["skipped", "skipped", "summary"]
    assert Path("out/b2.png").read_bytes() == before
    run("photos", "-o", "out", "--overwrite", "-s", "1")
    assert read("out/b2.png").pixels.shape == (10, 12, 3)


def test_nothing_left_to_do_loads_no_model(watched, folder):
    run("photos", "-o", "out")
    watched.loaded.clear()
    run("photos", "-o", "out", "--skip-existing")
    run("absent.png", "-o", "out", code=1)
    assert watched.loaded == []


def test_compare_picture(watched, folder):
    run("photos/b2.png", "-o", "out", "--compare", "-s", "2")
    assert files("out") == ["b2.compare.png", "b2.png"]
    picture = read("out/b2.compare.png").pixels
    assert picture.shape == (20, 24 + 2 + 24, 3)
    np.testing.assert_array_equal(picture[:, :24], resize(read("photos/b2.png").pixels, (20, 24)))
    np.testing.assert_array_equal(picture[:, 26:], read("out/b2.png").pixels)
    assert (picture[:, 24:26] == 255).all()


@pytest.mark.parametrize("options", [["--skip-existing"], ["--overwrite"]])
def test_results_in_the_folder_of_the_inputs(watched, folder, options):
    for _ in range(2):
        run("photos", "-o", "photos", "--suffix", "_x4", "-r", "--compare", *options)
        names = [f"{name}_x4{end}" for name, ext in (("b2", ".png"), ("b10", ".jpg")) for end in (ext, ".compare.png")]
        names += ["b2.png", "b10.jpg", "deep/c.png", "deep/c_x4.png", "deep/c_x4.compare.png"]
        assert files("photos") == sorted(names)
    assert len(watched.asked) == (3 if options == ["--skip-existing"] else 6)


def test_a_missing_compare_picture_is_made_of_the_result_that_is_there(watched, folder):
    run("photos", "-o", "out", "--compare")
    whole = Path("out/b2.compare.png").read_bytes()
    Path("out/b2.compare.png").unlink()
    watched.loaded.clear()
    result = run("photos", "-o", "out", "--compare", "--skip-existing", "--json")
    assert watched.loaded == []
    assert Path("out/b2.compare.png").read_bytes() == whole
    first, second, summary = map(json.loads, result.stdout.splitlines())
    assert (first["status"], first["compare"]) == ("skipped", "out/b2.compare.png")
    assert (second["status"], "compare" in second) == ("skipped", False)
    assert summary["skipped"] == 2
    Path("out/b2.compare.png").unlink()
    told = run("photos", "-o", "out", "--compare", "--skip-existing").stderr
    assert "out/b2.png is there already; wrote out/b2.compare.png\n" in told
    assert "out/b10.jpg is there already\n" in told


def test_a_compare_picture_that_cannot_be_made_is_a_failure(watched, folder):
    make("out/b2.png")
    Path("out/b10.jpg").write_text("no image")
    result = run("photos", "-o", "out", "--compare", "--skip-existing", code=1)
    assert "error: out/b10.jpg: the content is not an image" in result.stderr
    assert files("out") == ["b10.jpg", "b2.compare.png", "b2.png"]


def test_compare_of_a_transparent_16_bit_gray_picture(watched, folder):
    pixels = np.full((8, 8, 1), 30000, np.uint16)
    write(Photo(pixels, np.zeros((8, 8), np.uint16)), "gray.png")
    run("gray.png", "-o", "out", "--compare")
    compared = read("out/gray.compare.png")
    assert compared.gray
    assert (compared.pixels == 255).all()
    assert read("out/gray.png").pixels.dtype == np.uint16


def start_child(*arguments: object) -> subprocess.Popen:
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
        "from lpnsr.apps.cli import main; main()"
    )
    command = [sys.executable, "-c", code, *arguments_of(*arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_killed_and_run_again(folder, how):
    names = [f"many/{number}.png" for number in range(60)]
    make(*names, size=(40, 40))
    command = ["many", "-o", "out", "--skip-existing", "--jobs", "3"]
    stopped = 0
    for _ in range(2):
        child = start_child(*command)
        seen = len(list(Path("out").glob("*.png")))
        deadline = time.monotonic() + 60
        while child.poll() is None and len(list(Path("out").glob("*.png"))) < min(60, seen + 5):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child.send_signal(how)
        stderr = child.communicate(timeout=60)[1]
        if how == signal.SIGINT and child.returncode:
            assert child.returncode == 130
            assert stderr.endswith("interrupted\n")
            assert "Traceback" not in stderr
        if how == signal.SIGTERM and child.returncode:
            assert child.returncode == 143
            assert "Traceback" not in stderr
            assert not list(Path("out").glob(".lpnsr*"))
        stopped += child.returncode != 0
        for path in Path("out").glob("*.png"):
            assert read(path).pixels.shape == (160, 160, 3)
    assert stopped
    Path("out/.lpnsr-0123456789ab.tmp").write_bytes(b"left by a killed writer")
    child = start_child(*command)
    child.communicate(timeout=120)
    assert child.returncode == 0
    assert files("out") == sorted(Path(name).name for name in names)


def test_interruption(watched, folder):
    def interrupt(rows):
        raise KeyboardInterrupt

    watched.before = interrupt
    assert run("photos", "-o", "out", code=130).stderr.strip() == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("around", ["signals_end", "train._signals"])
def test_a_signal_within_an_import_is_not_swallowed_by_it(number, around, tmp_path):
    """Modules that make the best of what others lack catch everything."""
    raises = f"for _ in range(2):\n    signal.raise_signal({int(number)})"
    lines = ["import signal", "try:", *(f"    {line}" for line in raises.splitlines()), "except BaseException: pass"]
    (tmp_path / "careless.py").write_text("\n".join(lines))
    code = f"from lpnsr.apps.cli import signals_end, train\nwith {around}():\n    import careless\nprint('on')"
    words = [sys.executable, "-c", "import signal; signal.signal(2, signal.default_int_handler)\n" + code]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (128 + number, "")
    assert done.stderr.splitlines()[-1] == ("interrupted" if number == signal.SIGINT else "ended")
