"""``lpnsr degrade`` through the command: reproducible, strict, and unharmed by single bad files."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lpnsr import imaging
from lpnsr.apps.cli import app
from lpnsr.apps.cli.degrade_record import NAME as RECORD
from lpnsr.imaging import read


def run(*words: str | Path) -> tuple[int, str]:
    """Exit code and what was said, in one line."""
    done = CliRunner().invoke(app, ["degrade", *map(str, words)])
    assert "Traceback" not in done.output
    return done.exit_code, " ".join(done.output.split())


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, channels), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def images(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "HR"
    (folder / "sub").mkdir(parents=True)
    for index, name in enumerate(("b.png", "a.jpg", "sub/été 夏.png")):
        Image.fromarray(noise(64, 48, seed=index)).save(folder / name)
    return folder


@pytest.fixture
def lr(photos: Path, tmp_path: Path) -> Path:
    assert run(photos, "-o", tmp_path / "LR")[0] == 0
    return tmp_path / "LR"


def test_hidden_files_are_no_photographs_and_a_name_need_not_be_text(photos: Path, tmp_path: Path) -> None:
    data = (photos / "b.png").read_bytes()
    (photos / "._b.png").write_bytes(b"what macOS puts beside a file")
    (photos / ".thumbnails").mkdir()
    (photos / ".thumbnails" / "b.png").write_bytes(data)
    odd = os.fsdecode(b"\xff.png") if sys.platform == "linux" else "odd.png"
    (photos / odd).write_bytes(data)
    assert run(photos, "-o", tmp_path / "LR")[0] == 0
    assert set(images(tmp_path / "LR")) == {"a.png", "b.png", odd, "sub/été 夏.png"}


def test_names_that_are_one_file_on_macos(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (photos / "B.jpg").write_bytes((photos / "a.jpg").read_bytes())
    monkeypatch.setattr("lpnsr.imaging.names.sys.platform", "darwin")
    code, said = run(photos, "-o", tmp_path / "LR")
    assert (code, "would both become" in said) == (2, True)


def test_every_photograph_becomes_a_quarter_at_the_same_place(lr: Path) -> None:
    assert set(images(lr)) == {"a.png", "b.png", "sub/été 夏.png"}
    assert {read(p).pixels.shape for p in lr.rglob("*.png")} == {(16, 12, 3)}


def test_warnings_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "HR").mkdir()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "HR" / "a.gif", save_all=True, append_images=frames[1:])
    _, said = run(tmp_path / "HR", "-o", tmp_path / "LR", "--preset", "classic")
    assert said.startswith(f"warning: {tmp_path / 'HR' / 'a.gif'} has 2 frames: only the first is used 1 of 1")


def test_a_subset_gives_the_same_files(photos: Path, lr: Path, tmp_path: Path) -> None:
    (photos / "a.jpg").unlink()
    Image.fromarray(noise(32, 32)).save(photos / "0.png")
    assert run(photos, "-o", tmp_path / "subset")[0] == 0
    for name in ("b.png", "sub/été 夏.png"):
        assert images(tmp_path / "subset")[name] == images(lr)[name]


def test_the_folder_may_be_named_otherwise(photos: Path, lr: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(photos)
    assert run(".", "-o", "../relative")[0] == 0
    assert images(tmp_path / "relative") == images(lr)


def test_another_seed_is_another_result(photos: Path, lr: Path, tmp_path: Path) -> None:
    assert run(photos, "-o", tmp_path / "other", "--seed", "1")[0] == 0
    for name, data in images(tmp_path / "other").items():
        assert data != images(lr)[name]


def test_two_files_of_equal_pixels_are_degraded_differently(photos: Path, tmp_path: Path) -> None:
    (photos / "c.png").write_bytes((photos / "b.png").read_bytes())
    assert run(photos, "-o", tmp_path / "LR")[0] == 0
    assert (tmp_path / "LR" / "b.png").read_bytes() != (tmp_path / "LR" / "c.png").read_bytes()


def test_presets(photos: Path, tmp_path: Path) -> None:
    results = []
    for preset in ("real", "light", "classic"):
        assert run(photos, "-o", tmp_path / preset, "--preset", preset)[0] == 0
        results.append(images(tmp_path / preset)["b.png"])
    assert len(set(results)) == 3
    small = read(tmp_path / "classic" / "b.png").pixels.astype(float)
    box = read(photos / "b.png").pixels.reshape(16, 4, 12, 4, 3).mean((1, 3))
    assert np.abs(small - box).mean() < 3
    code, said = run(photos, "-o", tmp_path / "reel", "--preset", "reel")
    assert code == 2
    assert all(f"'{preset}'" in said for preset in ("real", "light", "classic"))


def test_a_recipe_of_ones_own(photos: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "classic.yaml"
    recipe.write_text(
        "antialias: true\nblur: null\nresize: null\nnoise: null\njpeg: null\n"
        "second_probability: 0\nfinal_sinc_probability: 0\nfinal_jpeg: null\n"
    )
    assert run(photos, "-o", tmp_path / "own", "--recipe", recipe)[0] == 0
    assert run(photos, "-o", tmp_path / "classic", "--preset", "classic")[0] == 0
    assert images(tmp_path / "own") == images(tmp_path / "classic")
    code, said = run(photos, "-o", tmp_path / "both", "--recipe", recipe, "--preset", "real")
    assert (code, "exclude each other" in said) == (2, True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nois: null", "did you mean 'noise'?"),
        ("noise: {sigmaa: [1, 2]}", "did you mean 'sigma'?"),
        ("jpeg: [95, 30]", "swap them"),
        ("second_probability: 2", "second_probability = 2"),
        ("- a list", "not a mapping"),
        ("a: [", "cannot be read"),
        (None, "own.yaml"),
    ],
)
def test_a_wrong_recipe_is_named(text: str | None, words: str, photos: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "own.yaml"
    if text is not None:
        recipe.write_text(text)
    code, said = run(photos, "-o", tmp_path / "LR", "--recipe", recipe)
    assert code == 2
    assert words in said
    assert "own.yaml" in said
    assert not (tmp_path / "LR").exists()


def test_a_broken_image_is_reported_and_the_others_are_made(photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no image")
    (photos / "cut.png").write_bytes((photos / "b.png").read_bytes()[:200])
    Image.fromarray(noise(3, 40)).save(photos / "flat.png")
    code, said = run(photos, "-o", tmp_path / "LR")
    assert code == 1
    assert all(name in said for name in ("broken.jpg", "cut.png", "flat.png: 40 x 3 px is too small"))
    assert "3 of 6 images" in said
    assert set(images(tmp_path / "LR")) == {"a.png", "b.png", "sub/été 夏.png"}


def test_what_this_command_did_not_make_is_kept_unless_overwritten(photos: Path, lr: Path) -> None:
    whole = images(lr)
    (lr / "a.png").write_bytes(b"mine")
    code, said = run(photos, "-o", lr)
    assert code == 2
    assert "a.png exists and is not what this call would make, 1 in all: give --overwrite" in said
    assert (lr / "a.png").read_bytes() == b"mine"
    assert run(photos, "-o", lr, "--overwrite")[0] == 0
    assert images(lr) == whole


def test_results_without_a_record_are_refused(photos: Path, lr: Path) -> None:
    (lr / RECORD).unlink()
    code, said = run(photos, "-o", lr)
    assert (code, "3 in all: give --overwrite" in said) == (2, True)


CHILD = """
    import os, signal, sys, threading
    from lpnsr.apps.cli import main
    from lpnsr.imaging import writing

    left, moment = int(sys.argv.pop(1)), sys.argv.pop(1)
    replace, one_at_a_time = os.replace, threading.Lock()

    def killed(source, target):
        global left
        with one_at_a_time:
            left -= str(target).endswith(".png")
            if left < 0 and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    writing.os.replace = killed
    main()
"""


def killed(left: int, moment: str, *words: str | Path) -> None:
    """Run the command and kill it when it has written ``left`` results, before or after the next one appears."""
    command = [sys.executable, "-c", textwrap.dedent(CHILD), str(left), moment, "degrade", *map(str, words)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("options", [[], ["--overwrite"]])
def test_killed_and_run_again(photos: Path, lr: Path, tmp_path: Path, moment: str, options: list[str]) -> None:
    out = tmp_path / "killed"
    if options:  # what is there is of another seed
        assert run(photos, "-o", out, "--seed", 1)[0] == 0
        assert not set(images(out).values()) & set(images(lr).values())
    killed(1, moment, photos, "-o", out, *options)
    with (out / RECORD).open("a") as file:
        file.write('{"key": "a line that the kill cut sh')
    finished = {p: p.stat().st_ino for p in out.rglob("*.png") if p.read_bytes() in images(lr).values()}
    assert len(finished) == {"before": 1, "after": 2}[moment]
    code, said = run(photos, "-o", out, *options)
    assert code == 0
    assert f"3 of 3 images degraded into {out}, {len(finished)} of them before" in said
    assert {p: p.stat().st_ino for p in finished} == finished
    assert images(out) == images(lr)
    assert (out / RECORD).read_text() == (lr / RECORD).read_text()
    assert {p.name for p in out.rglob("*") if p.is_file() and p.suffix != ".png"} == {RECORD}
    assert f"{out}, 3 of them before" in run(photos, "-o", out)[1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seed", "1"], "seed was 0 and is 1"),
        (["--preset", "light"], "antialias was false and is true, blur.probability was 1.0 and is 0.7,"),
    ],
)
def test_results_of_another_recipe_or_seed_are_not_mixed(
    photos: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    out = tmp_path / "LR"
    killed(1, "after", photos, "-o", out)
    before = images(out)
    code, said = run(photos, "-o", out, *options)
    assert (code, words in said, "give --overwrite to make them anew, or another --out" in said) == (2, True, True)
    for path in out.glob("[ab].png"):  # none of what is left would be in the way
        path.rename(path.with_name(f"else {path.name}"))
    assert run(photos, "-o", out, *options)[0] == 2
    assert set(images(out).values()) == set(before.values())
    assert run(photos, "-o", out, *options, "--overwrite")[0] == 0
    assert run(photos, "-o", tmp_path / "other", *options)[0] == 0
    assert images(tmp_path / "other").items() <= images(out).items()


def test_the_record_of_an_empty_folder_is_in_nobodys_way(photos: Path, lr: Path) -> None:
    before = images(lr)
    for path in lr.rglob("*.png"):
        path.unlink()
    assert run(photos, "-o", lr, "--seed", "1")[0] == 0
    assert not set(images(lr).values()) & set(before.values())


def test_a_photograph_that_changed_is_noticed(photos: Path, lr: Path, tmp_path: Path) -> None:
    Image.fromarray(noise(64, 48, seed=9)).save(photos / "b.png")
    code, said = run(photos, "-o", lr)
    assert (code, "b.png exists and is not what this call would make, 1 in all" in said) == (2, True)
    assert "2 of them before" in run(photos, "-o", lr, "--overwrite")[1]
    assert run(photos, "-o", tmp_path / "fresh")[0] == 0
    assert images(lr) == images(tmp_path / "fresh")


def test_sides_that_are_no_multiples_are_cropped_at_the_right_and_bottom(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "even").mkdir()
    pixels = noise(67, 50)
    Image.fromarray(pixels).save(tmp_path / "odd" / "a.png")
    Image.fromarray(pixels[:64, :48]).save(tmp_path / "even" / "a.png")
    for name in ("odd", "even"):
        assert run(tmp_path / name, "-o", tmp_path / f"{name} LR")[0] == 0
    assert images(tmp_path / "odd LR") == images(tmp_path / "even LR")


def test_gray_alpha_and_16_bit_become_8_bit_colour(tmp_path: Path) -> None:
    source = tmp_path / "HR"
    source.mkdir()
    gray = noise(32, 32, 1)[..., 0]
    Image.fromarray(gray).save(source / "gray.png")
    Image.fromarray(np.dstack([gray] * 3 + [np.zeros_like(gray)])).save(source / "transparent.png")
    cv2.imwrite(str(source / "deep.png"), noise(32, 32).astype(np.uint16)[..., ::-1] * 257)
    Image.fromarray(noise(32, 32)).save(source / "eight.png")
    assert run(source, "-o", tmp_path / "LR", "--preset", "classic")[0] == 0
    lr = {p.stem: read(p).pixels for p in (tmp_path / "LR").glob("*.png")}
    assert all(pixels.shape == (8, 8, 3) and pixels.dtype == np.uint8 for pixels in lr.values())
    assert np.ptp(lr["gray"], axis=2).max() == 0
    assert lr["transparent"].min() == 255
    np.testing.assert_array_equal(lr["deep"], lr["eight"])


def test_the_output_may_lie_inside_the_input_and_is_not_degraded_again(photos: Path, monkeypatch) -> None:
    assert run(photos, "-o", photos / "LR")[0] == 0
    before = images(photos / "LR")
    assert len(before) == 3
    assert run(photos, "-o", photos / "LR", "--overwrite")[0] == 0
    assert images(photos / "LR") == before
    monkeypatch.chdir(photos)  # one path absolute, the other not
    assert run(photos, "-o", "LR", "--overwrite")[0] == 0
    assert images(photos / "LR") == before


@pytest.mark.parametrize(
    ("source", "out", "code", "words"),
    [
        ("LR", "out", 2, "no images below"),
        ("nowhere", "out", 2, "is no folder"),
        ("HR", "HR/sub/..", 2, "photographs themselves"),
        ("HR", "out", 2, "would both become"),
        ("HR/sub", "LR/notes.txt", 1, "cannot be made"),
    ],
)
def test_folders_that_will_not_do(photos: Path, tmp_path: Path, source: str, out: str, code: int, words: str) -> None:
    (tmp_path / "LR").mkdir()
    (tmp_path / "LR" / "notes.txt").touch()
    Image.fromarray(noise(32, 32)).save(photos / "a.png")  # beside a.jpg
    done, said = run(tmp_path / source, "-o", tmp_path / out)
    assert (done, words in said) == (code, True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "no permission")]
)
def test_a_disk_that_takes_nothing_ends_the_run_and_leaves_no_part(
    number: int, words: str, photos: Path, tmp_path: Path, monkeypatch
) -> None:
    for index in range(60):
        Image.fromarray(noise(32, 32, seed=index)).save(photos / f"more {index}.png")
    written: list[object] = []
    replace = os.replace

    def refuse(source: Path, target: Path) -> None:
        if not str(target).endswith(".png"):
            return replace(source, target)
        written.append(target)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(imaging.writing.os, "replace", refuse)
    code, said = run(photos, "-o", tmp_path / "LR")
    assert code == 1
    assert words in said
    assert [p.name for p in (tmp_path / "LR").rglob("*") if p.is_file()] == [RECORD]
    assert 0 < len(written) < 40  # not once for every photograph
