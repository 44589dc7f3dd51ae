"""``lpnsr upscale`` around a stand-in for the model, which enlarges by repetition."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lpnsr.apps.cli import app, plan
from lpnsr.apps.cli.plan import Naming
from lpnsr.errors import CheckpointError, ConfigError, LpnsrWarning
from lpnsr.imaging import Photo, read, resize, write


class FakeUpscaler:
    """Records what it is asked; ``behaviour`` may be replaced by a test."""

    loaded: ClassVar[list[dict]] = []
    asked: ClassVar[list[dict]] = []
    behaviour = staticmethod(lambda photo: None)

    @classmethod
    def from_pretrained(cls, model="lite", **options):
        cls.loaded.append({"model": model, **options})
        if model == "absent":
            raise CheckpointError("there is no model 'absent'")
        return cls()

    def upscale_photo(self, photo, *, height, width, callback=None, **options):
        self.asked.append({"height": height, "width": width, **options})
        self.behaviour(photo)
        for done in range(3):
            callback(SimpleNamespace(done=done, total=2, step=None))
        alpha = None if photo.alpha is None else resize(photo.alpha, (height, width))
        return replace(photo, pixels=resize(photo.pixels, (height, width)), alpha=alpha)


@pytest.fixture
def fake(monkeypatch):
    module = ModuleType("lpnsr.pipeline")
    fresh = type("Upscaler", (FakeUpscaler,), {"loaded": [], "asked": []})
    module.Upscaler = fresh
    monkeypatch.setitem(sys.modules, "lpnsr.pipeline", module)
    return fresh


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with three pictures of 12 x 10."""
    monkeypatch.chdir(tmp_path)
    make("photos/b2.png", "photos/b10.jpg", "photos/deep/c.png")
    return tmp_path


def make(*names: str, size: tuple[int, int] = (10, 12)) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        seed = sum(name.encode())
        pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(name)


def run(*arguments: object, code: int = 0):
    result = CliRunner().invoke(app, ["upscale", *map(str, arguments)], prog_name="lpnsr")
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    return result


def files(folder: Path | str) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file())


def test_one_file(fake, folder):
    run("photos/b2.png", "-o", "x.png")
    assert read("x.png").pixels.shape == (40, 48, 3)
    assert fake.loaded == [{"model": "lite", "device": "auto", "dtype": "auto", "revision": None}]
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
    options = (
        "--steps 1 --noise mode --fidelity 0.5 --start bicubic --seed 7 --device cpu --fp32 -t 64 --color-fix adain"
    )
    run("-i", "photos/b2.png", "-o", "out", "-n", "official", "--outscale", 3.5, *options.split())
    assert fake.loaded == [{"model": "official", "device": "cpu", "dtype": "float32", "revision": None}]
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


def test_folder_keeps_structure_and_natural_order(fake, folder):
    make("photos/.hidden.png")
    Path("photos/notes.txt").write_text("no image")
    result = run("photos", "-o", "out", "-r", "--suffix", "_x4", "--json")
    assert files("out") == ["b10_x4.jpg", "b2_x4.png", "deep/c_x4.png"]
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["input"]).name for line in lines[:-1]] == ["b2.png", "b10.jpg", "c.png"]
    assert lines[-1].pop("seconds") >= 0
    assert lines[-1] == {"status": "summary", "done": 3, "skipped": 0, "failed": 0}
    assert (lines[0]["status"], lines[0]["width"], lines[0]["height"]) == ("done", 48, 40)


def test_not_recursive_by_default_and_ext(fake, folder):
    run("photos/", "-o", "out", "--ext", "webp")
    assert files("out") == ["b10.webp", "b2.webp"]
    assert Image.open("out/b2.webp").format == "WEBP"


def test_patterns_are_expanded_here_too(fake, folder):
    run("photos/*.png", "photos/**/c.*", "-o", "out")
    assert files("out") == ["b2.png", "c.png"]
    make("photos/[odd] name ü.png")
    run("photos/[odd] name ü.png", "-o", "odd/")
    assert files("odd") == ["[odd] name ü.png"]


def test_output_folder_inside_the_input_is_not_read_again(fake, folder):
    for _ in range(2):
        run("photos", "-o", "photos/out", "-r", "--overwrite")
    assert files("photos/out") == ["b10.jpg", "b2.png", "deep/c.png"]


def test_existing_results(fake, folder):
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


def test_nothing_left_to_do_loads_no_model(fake, folder):
    run("photos", "-o", "out")
    fake.loaded.clear()
    run("photos", "-o", "out", "--skip-existing")
    run("absent.png", "-o", "out", code=1)
    assert fake.loaded == []


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


def test_interruption(fake, folder):
    def interrupt(photo):
        raise KeyboardInterrupt

    fake.behaviour = staticmethod(interrupt)
    assert run("photos", "-o", "out", code=130).stderr.strip() == "interrupted"


def test_a_model_that_is_not_there_stops_at_once(fake, folder):
    result = run("photos", "-o", "out", "--model", "absent", code=1)
    assert result.stderr.strip() == "error: there is no model 'absent'"
    assert len(fake.loaded) == 1


def test_wrong_options_that_only_the_model_knows(fake, folder):
    def refuse(photo):
        raise ConfigError("steps = 9: the model has 4")

    fake.behaviour = staticmethod(refuse)
    assert "error: steps = 9" in run("photos", "-o", "out", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to do"),
        (["photos"], "where to"),
        (["photos", "-o", "out", "--tile", "big"], "--tile 'big'"),
        (["photos", "-o", "out", "-s", "0"], "above 0"),
        (["photos", "-o", "out", "-s", "nan"], "above 0"),
        (["photos", "-o", "out", "-s", "2", "--width", "9"], "choose one"),
        (["photos", "-o", "out", "--width", "9", "--max-side", "9"], "choose one"),
        (["photos", "-o", "out", "--overwrite", "--skip-existing"], "exclude"),
        (["photos", "-o", "out", "--fp32", "--dtype", "float16"], "exclude"),
        (["photos", "-o", "out", "--ext", "heic"], "--ext heic"),
        (["photos", "-o", "out.png"], "names one file"),
        (["photos", "-o", "photos/b2.png"], "is a file"),
        (["photos/b2.png", "-o", "x.heic"], "no format"),
        (["photos/b2.png", "-o", "x.png", "--suffix", "_x"], "names the result in full"),
        (["empty", "-o", "out"], "no images in empty"),
        (["*.xyz", "-o", "out"], "no images"),
        (["photos/b2.png", "-o", "photos"], "overwrite the input photos/b2.png"),
        (["photos/b2.png", "-o", "photos/b2.png", "--overwrite"], "overwrite the input"),
        (["photos", "photos/deep", "more", "-o", "out"], "both be written to out/c.png"),
        (["photos", "-o", "out", "--ext", "png", "same"], "both be written to out/b2.png"),
        (["photos/b2.png", "-o", "out", "--steps", "-1"], "steps"),
        (["photos/b2.png", "-o", "out", "--noise", "loud"], "noise"),
    ],
)
def test_usage_errors_come_before_the_model(fake, folder, arguments, message):
    Path("empty").mkdir()
    make("more/c.png", "same/b2.jpg")
    before = files(folder)
    result = run(*arguments, code=2)
    assert message in " ".join(result.stderr.split())
    assert fake.loaded == []
    assert files(folder) == before


def test_both_inputs_of_a_collision_are_named(folder):
    make("same/b2.jpg")
    with pytest.raises(ConfigError, match=r"photos/b2\.png and same/b2\.jpg would both be written to out/b2\.png"):
        plan.plan(["photos", "same"], Naming("out", ext="png"))
    once = plan.plan(["photos/b2.png", "photos/b2.png", "photos"], Naming("out"))
    assert [task.source.name for task in once] == ["b2.png", "b10.jpg"]


def test_an_input_under_another_name_is_still_not_overwritten(folder):
    Path("out").mkdir()
    os.link("photos/b2.png", "out/b2.png")
    with pytest.raises(ConfigError, match=r"out/b2\.png would overwrite the input photos/b2\.png"):
        plan.plan(["photos/b2.png"], Naming("out"))
    Path("link").symlink_to("photos")
    with pytest.raises(ConfigError, match="would overwrite"):
        plan.plan(["photos"], Naming("link"))


def test_compare_picture(fake, folder):
    run("photos/b2.png", "-o", "out", "--compare", "-s", "2")
    assert files("out") == ["b2.compare.png", "b2.png"]
    picture = read("out/b2.compare.png").pixels
    assert picture.shape == (20, 24 + 2 + 24, 3)
    np.testing.assert_array_equal(picture[:, :24], resize(read("photos/b2.png").pixels, (20, 24)))
    np.testing.assert_array_equal(picture[:, 26:], read("out/b2.png").pixels)
    assert (picture[:, 24:26] == 255).all()


def test_compare_pictures_of_one_stem(folder):
    make("photos/b2.jpg")
    tasks = plan.plan(["photos"], Naming("out", compare=True))
    assert [task.compare.name for task in tasks] == ["b2.jpg.compare.png", "b2.png.compare.png", "b10.compare.png"]


def test_compare_of_a_transparent_16_bit_gray_picture(fake, folder):
    pixels = np.full((8, 8, 1), 30000, np.uint16)
    write(Photo(pixels, np.zeros((8, 8), np.uint16)), "gray.png")
    run("gray.png", "-o", "out", "--compare")
    compared = read("out/gray.compare.png")
    assert compared.gray
    assert (compared.pixels == 255).all()
    assert read("out/gray.png").pixels.dtype == np.uint16


def test_results_too_large_are_refused_before_the_work(fake, folder):
    result = run("photos/b2.png", "-o", "x.webp", "--width", "20000", code=1)
    assert "16383" in result.stderr
    result = run("photos/b2.png", "-o", "x.png", "--max-pixels", "120", "-s", "5", code=1)
    assert "--max-pixels" in result.stderr
    assert "limit of 119" in run("photos/b2.png", "-o", "x.png", "--max-pixels", "119", code=1).stderr
    assert fake.asked == []


def test_output_that_cannot_be_written(fake, folder):
    Path("blocked").write_text("a file")
    result = run("photos/b2.png", "-o", "blocked/x.png", code=1)
    assert "blocked is not a folder" in result.stderr


def test_warnings_are_lines(fake, folder):
    fake.behaviour = staticmethod(lambda photo: warnings.warn("mind the gap", LpnsrWarning, stacklevel=1))
    assert "warning: mind the gap\n" in run("photos/b2.png", "-o", "out").stderr
    assert run("photos/b2.png", "-o", "out", "--overwrite", "-q").output == ""


def test_lines_when_piped(fake, folder):
    result = run("photos/b2.png", "-o", "out")
    assert result.stdout == ""
    assert result.stderr.startswith("photos/b2.png -> out/b2.png (48 x 40, ")


def test_names_that_are_no_unicode(fake, folder):
    name = os.fsdecode(b"photos/\xff[b]:x:.png")
    os.rename("photos/b2.png", name)  # noqa: PTH104
    result = run(name, "-o", "out", "--json")
    assert json.loads(result.stdout.splitlines()[0])["input"] == name
    assert len(files("out")) == 1
    assert "[b]:x:.png -> out/" in run(name, "-o", "out", "--overwrite").stderr


CHILD = """
    import sys, time
    from types import ModuleType
    from dataclasses import replace
    import numpy as np

    class Upscaler:
        @classmethod
        def from_pretrained(cls, *args, **options):
            return cls()
        def upscale_photo(self, photo, *, height, width, **options):
            time.sleep(0.02)
            return replace(photo, pixels=np.repeat(np.repeat(photo.pixels, 4, 0), 4, 1))

    module = ModuleType("lpnsr.pipeline")
    module.Upscaler = Upscaler
    sys.modules["lpnsr.pipeline"] = module
    from lpnsr.apps.cli import main
    main()
"""


def start_child(*arguments: str) -> subprocess.Popen:
    code = textwrap.dedent(CHILD)
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_killed_and_run_again(folder, how):
    names = [f"many/{number}.png" for number in range(20)]
    make(*names, size=(40, 40))
    command = ["upscale", "many", "-o", "out", "--skip-existing", "--jobs", "3"]
    stopped = 0
    for _ in range(2):
        child = start_child(*command)
        seen = len(list(Path("out").glob("*.png")))
        deadline = time.monotonic() + 60
        while child.poll() is None and len(list(Path("out").glob("*.png"))) < min(20, seen + 5):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child.send_signal(how)
        stderr = child.communicate(timeout=60)[1]
        if how == signal.SIGINT and child.returncode:
            assert child.returncode == 130
            assert stderr.endswith("interrupted\n")
            assert "Traceback" not in stderr
        stopped += child.returncode != 0
        for path in Path("out").glob("*.png"):
            assert read(path).pixels.shape == (160, 160, 3)
    assert stopped
    Path("out/.lpnsr-0123456789ab.tmp").write_bytes(b"left by a killed writer")
    child = start_child(*command)
    child.communicate(timeout=120)
    assert child.returncode == 0
    assert files("out") == sorted(Path(name).name for name in names)


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


def test_version_and_unknown_command():
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output.startswith("lpnsr ")
    assert CliRunner().invoke(app, ["enlarge"]).exit_code == 2
