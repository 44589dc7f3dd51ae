"""Which files ``lpnsr upscale`` reads and writes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from lpnsr.apps.files import plan
from lpnsr.apps.files.plan import Naming
from lpnsr.errors import ConfigError
from lpnsr.imaging import left_out
from support.upscale_command import files, make, run


def test_folder_keeps_structure_and_natural_order(watched, folder):
    make("photos/.hidden.png")
    Path("photos/notes.txt").write_text("no image")
    result = run("photos", "-o", "out", "-r", "--suffix", "_x4", "--json")
    assert files("out") == ["b10_x4.jpg", "b2_x4.png", "deep/c_x4.png"]
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(line["input"]).name for line in lines[:-1]] == ["b2.png", "b10.jpg", "c.png"]
    assert lines[-1].pop("seconds") >= 0
    assert lines[-1] == {"status": "summary", "done": 3, "skipped": 0, "failed": 0, "passed_over": 0}
    assert (lines[0]["status"], lines[0]["width"], lines[0]["height"]) == ("done", 48, 40)


def test_not_recursive_by_default_and_ext(watched, folder):
    run("photos/", "-o", "out", "--ext", "webp")
    assert files("out") == ["b10.webp", "b2.webp"]
    assert Image.open("out/b2.webp").format == "WEBP"


def test_patterns_are_expanded_here_too(watched, folder):
    run("photos/*.png", "photos/**/c.*", "-o", "out")
    assert files("out") == ["b2.png", "c.png"]
    make("photos/[odd] name ü.png")
    run("photos/[odd] name ü.png", "-o", "odd/")
    assert files("odd") == ["[odd] name ü.png"]


@pytest.mark.parametrize("pattern", ["br [x]/*.png", "br [[]x]/*.png", "br [x]/photo*", "br [x]/photo [[]1]*"])
def test_brackets_in_names_and_in_patterns(tmp_path, monkeypatch, pattern):
    make(f"{tmp_path}/br [x]/photo [1].png")
    for start in ("", f"{tmp_path}/"):
        monkeypatch.chdir(tmp_path)
        assert sources([start + pattern], "out") == ["photo [1].png"]


def test_files_that_are_no_images_are_told(folder, tmp_path):
    make(f"{tmp_path}/in/a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "b.ppm")
    for name in ("clip.mp4", "clip.MOV", "raw.NEF", "notes.txt", ".hidden.txt"):
        (tmp_path / "in" / name).write_bytes(b"x")
    result = run(str(tmp_path / "in"), "-o", str(tmp_path / "out"))
    assert sorted(files(tmp_path / "out")) == ["a.png", "b.png"]
    assert "warning: left out 4 files that cannot be read as images" in result.stderr
    assert "1 .mov (video), 1 .mp4 (video), 1 .nef (raw photograph), 1 .txt" in result.stderr


def test_heic_without_the_plugin_is_told_with_the_line_that_helps(tmp_path, monkeypatch):
    monkeypatch.setattr("lpnsr.imaging.codecs.formats.READABLE", (".png",))
    assert left_out([tmp_path / "a.HEIC", tmp_path / "b.png", tmp_path / "c.heic"]) == (
        "left out 2 files that cannot be read as images: 2 .heic (pip install 'lpnsr[heif]' reads them)"
    )


def test_an_empty_output_is_not_the_working_directory(watched, folder):
    assert "where to?" in run("photos/b2.png", "-o", "", code=2).stderr


def test_output_folder_inside_the_input_is_not_read_again(watched, folder):
    for _ in range(2):
        run("photos", "-o", "photos/out", "-r", "--overwrite")
    assert files("photos/out") == ["b10.jpg", "b2.png", "deep/c.png"]


@pytest.mark.parametrize("options", [[], ["--suffix", "_x4"], ["--ext", "webp"]])
def test_results_of_an_earlier_run_in_an_inner_folder_are_no_inputs(folder, options):
    run("photos", "-r", "-o", "photos/one", *options)
    make("photos/other/c.png")  # of the name of an input, and no result
    result = run("photos", "-r", "-o", "photos/two", "--json")
    assert files("photos/two") == ["b10.jpg", "b2.png", "deep/c.png", "other/c.png"]
    assert result.stdout.count("an earlier result") == 3
    [given] = [file for file in files("photos/one") if "b10" in file]
    run(f"photos/one/{given}", "-o", "three/", "--scale", "1")
    assert len(files("three")) == 1


def sources(inputs: list[str], output: str, suffix: str = "_x4", recursive: bool = False, **naming) -> list[str]:
    return [task.source.name for task in plan.plan(inputs, Naming(output, suffix, **naming), recursive=recursive).tasks]


@pytest.mark.parametrize("ext", ["gif", "bmp"])
def test_results_that_hold_no_note_are_known_by_the_suffix(folder, ext):
    make(f"photos/one/b2_x4.{ext}", f"photos/one/deep/c_x4.{ext}", f"photos/one/b10.{ext}", f"photos/one/lone_x4.{ext}")
    inputs = ["b2.png", "b10.jpg", "c.png", f"b10.{ext}", f"lone_x4.{ext}"]
    assert sources(["photos"], "photos/two", recursive=True) == inputs
    assert f"b2_x4.{ext}" in sources(["photos"], "photos/two", "", recursive=True)


@pytest.mark.parametrize("inputs", [["photos"], ["photos/*.*"], ["photos/b*.png", "photos/*"]])
def test_results_beside_their_inputs_are_no_inputs(folder, inputs):
    make("photos/b2_x4.png", "photos/b2_x4_x4.png", "photos/b10_x4.png", "photos/lone_x4.png")
    Path("photos/deep/c.png").unlink()
    make("photos/b2_x4.compare.png", "photos/b2.compare.png", "photos/odd.compare.png", "photos/b10_x2.jpg")
    found = sources(inputs, "photos")
    assert sorted(found) == ["b10.jpg", "b10_x2.jpg", "b2.png", "lone_x4.png", "odd.compare.png"]


def test_what_is_passed_over_is_told(watched, folder):
    make("photos/b2_x4.png", "photos/b10.compare.png")
    lines = run("photos", "-o", "photos", "--suffix", "_x4", "--skip-existing").stderr.splitlines()
    assert lines[0] == "passed over as earlier results: photos/b2_x4.png, photos/b10.compare.png"
    records = [json.loads(line) for line in run("photos", "-o", "out", "--json").stdout.splitlines()]
    assert records[0] == {"input": "photos/b10.compare.png", "status": "passed_over", "reason": "an earlier result"}
    assert [record["status"] for record in records[1:]] == ["done"] * 4 + ["summary"]
    assert (records[-1]["done"], records[-1]["passed_over"]) == (4, 1)
    assert run("photos", "-o", "out", "--overwrite", "-q").output == ""
    make(*(f"many/{n}{end}" for n in range(5) for end in (".png", ".compare.png")))
    told = run("many", "-o", "out").stderr.splitlines()[0]
    assert told.endswith(": many/0.compare.png, many/1.compare.png, many/2.compare.png and 2 more")


def test_what_is_given_by_name_is_an_input_even_if_it_looks_like_a_result(watched, folder):
    make("photos/b10_x4.png", "photos/b10.compare.png")
    named = ["photos/b10.jpg", "photos/b10_x4.png", "photos/b10.compare.png"]
    for before, after in [([], []), (["photos"], []), ([], ["photos"]), (["photos/*"], ["photos/*"])]:
        found = sources([*before, *named, *after], "photos")
        assert sorted(set(found) - {"b2.png", "c.png"}) == ["b10.compare.png", "b10.jpg", "b10_x4.png"]
    result = run(*named, "-o", "photos", "--suffix", "_x4")
    assert "passed over" not in result.stderr
    assert {"b10_x4.jpg", "b10_x4_x4.png", "b10.compare_x4.png"} <= set(files("photos"))


def test_a_named_file_where_a_result_would_go(watched, folder):
    make("photos/b2_x4.png")
    command = ["photos/b2.png", "photos/b2_x4.png", "-o", "photos", "--suffix", "_x4"]
    for options in ([], ["--overwrite"]):
        refused = " ".join(run(*command, *options, code=2).stderr.split())
        assert "photos/b2_x4.png would overwrite the input photos/b2_x4.png" in refused
        assert "if it is an earlier result, give the folder or a quoted pattern, or --skip-existing" in refused
    told = run(*command, "--skip-existing").stderr
    assert told.splitlines()[:2] == [
        "passed over as earlier results: photos/b2_x4.png",
        "photos/b2_x4.png is there already",
    ]
    assert "no such file" in run("photos/b10.jpg", "photos/b10_x4.jpg", *command[2:], "--skip-existing", code=1).stderr


def test_a_suffix_without_a_mark_takes_no_input_away(folder):
    make("photos/b22.png")
    with pytest.raises(ConfigError, match=r"would overwrite|both be written"):
        sources(["photos"], "photos", "2")
    assert sources(["photos"], "out", "2") == ["b2.png", "b10.jpg", "b22.png"]


def test_results_of_other_places_are_inputs_but_before_after_pictures_are_not(folder):
    make("photos/b2_x4.png", "photos/b2_x4.compare.png", "photos/b10.jpg.compare.png")
    assert sources(["photos"], "out") == ["b2.png", "b2_x4.png", "b10.jpg"]
    assert sources(["photos"], "out", "") == ["b2.png", "b2_x4.png", "b10.jpg"]
    assert sources(["photos/b2_x4.png"], "photos") == ["b2_x4.png"]
    assert sources(["photos/b2_x4.compare.png"], "out") == ["b2_x4.compare.png"]


@pytest.mark.parametrize("name", ["photos/b2_x4.compare.png", "photos/b2_x4.png.compare.png"])
def test_a_before_after_picture_whose_result_was_not_written_is_no_input(folder, name):
    make(name)
    assert sources(["photos"], "photos", compare=True) == ["b2.png", "b10.jpg"]


def test_without_a_suffix_a_file_of_the_same_name_is_an_input_and_is_not_overwritten(folder):
    make("photos/b10.png")
    with pytest.raises(ConfigError, match=r"would overwrite|both be written"):
        sources(["photos"], "photos", "", ext="png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to do"),
        (["photos"], "where to"),
        (["photos", "-o", "out", "--tile", "big"], "tile = 'big'"),
        (["photos", "-o", "out", "-s", "0"], "scale = 0.0: should be greater than 0"),
        (["photos", "-o", "out", "-s", "nan"], "scale = nan: should be a finite number"),
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
def test_usage_errors_come_before_the_model(watched, folder, arguments, message):
    Path("empty").mkdir()
    make("more/c.png", "same/b2.jpg")
    before = files(folder)
    result = run(*arguments, code=2)
    assert message in " ".join(result.stderr.split())
    assert watched.loaded == []
    assert files(folder) == before


def test_both_inputs_of_a_collision_are_named(folder):
    make("same/b2.jpg")
    with pytest.raises(ConfigError, match=r"photos/b2\.png and same/b2\.jpg would both be written to out/b2\.png"):
        plan.plan(["photos", "same"], Naming("out", ext="png"))
    once = plan.plan(["photos/b2.png", "photos/b2.png", "photos"], Naming("out")).tasks
    assert [task.source.name for task in once] == ["b2.png", "b10.jpg"]


def test_an_input_under_another_name_is_still_not_overwritten(folder):
    Path("out").mkdir()
    os.link("photos/b2.png", "out/b2.png")
    with pytest.raises(ConfigError, match=r"out/b2\.png would overwrite the input photos/b2\.png"):
        plan.plan(["photos/b2.png"], Naming("out"))
    Path("link").symlink_to("photos")
    with pytest.raises(ConfigError, match="would overwrite"):
        plan.plan(["photos"], Naming("link"))


def test_compare_pictures_of_one_stem(folder):
    make("photos/b2.jpg")
    tasks = plan.plan(["photos"], Naming("out", compare=True)).tasks
    assert [task.compare.name for task in tasks] == ["b2.jpg.compare.png", "b2.png.compare.png", "b10.compare.png"]


def test_names_that_are_no_unicode(watched, folder):
    name = os.fsdecode(b"photos/\xff[b]:x:.png")
    os.rename("photos/b2.png", name)  # noqa: PTH104
    result = run(name, "-o", "out", "--json")
    assert json.loads(result.stdout.splitlines()[0])["input"] == name
    assert len(files("out")) == 1
    assert "[b]:x:.png -> out/" in run(name, "-o", "out", "--overwrite").stderr


@pytest.mark.parametrize("arguments", [["photos/b2.png", "-o", "n" * 300 + ".png"], ["photos", "-o", "n" * 300 + "/"]])
def test_names_that_no_file_can_have(watched, folder, arguments):
    assert "the file name is too long" in run(*arguments, code=1).stderr
    assert "File name too long" in run("n" * 300, "-o", "out", code=1).stderr
    assert watched.asked == []


def test_a_folder_without_permission_is_told_before_the_work(watched, folder, monkeypatch):
    Path("locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")
    for output in ("locked", "locked/deep/er"):
        result = run("photos", "-o", output, code=1)
        assert f"{output}/b2.png: no permission to write into {folder}/locked; write elsewhere" in result.stderr
    Path("out/b2.png").mkdir(parents=True)
    assert "there is a folder of this name" in run("photos/b2.png", "-o", "out", "--overwrite", code=1).stderr
    assert watched.asked == []


def test_output_that_cannot_be_written(watched, folder):
    Path("blocked").write_text("a file")
    result = run("photos/b2.png", "-o", "blocked/x.png", code=1)
    assert "blocked is not a folder" in result.stderr


def test_results_too_large_are_refused_before_the_work(watched, folder):
    result = run("photos/b2.png", "-o", "x.webp", "--width", "20000", code=1)
    assert "16383" in result.stderr
    result = run("photos/b2.png", "-o", "x.png", "--max-pixels", "120", "-s", "5", code=1)
    assert "--max-pixels" in result.stderr
    assert "limit of 119" in run("photos/b2.png", "-o", "x.png", "--max-pixels", "119", code=1).stderr
    assert watched.asked == []


@pytest.mark.parametrize(("platform", "one_file"), [("darwin", True), ("linux", False)])
def test_names_that_differ_in_case(platform, one_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lpnsr.imaging.names.sys.platform", platform)
    make("été.png", "ÉTÉ.jpg")
    if one_file:
        with pytest.raises(ConfigError, match="would both be written to"):
            sources(["."], "out", "", ext="png")
    else:
        assert len(sources(["."], "out", "", ext="png")) == 2


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all folders")
def test_a_folder_that_cannot_be_read_is_told(watched, folder):
    Path("photos/deep").chmod(0)
    result = run("photos", "-r", "-o", "out")
    Path("photos/deep").chmod(0o755)
    assert "warning: photos/deep: the folder cannot be read (Permission denied) and is left out" in result.stderr
    assert files("out") == ["b10.jpg", "b2.png"]
