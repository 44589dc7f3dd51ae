"""Which file belongs to which, whatever tools append to names; what is not clear is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from lpnsr.errors import ConfigError
from lpnsr.evaluation.files import images_in
from lpnsr.evaluation.pairing import Problem, core_name, match, pair


def paths(*names: str) -> list[Path]:
    return [Path(name) for name in names]


@pytest.mark.parametrize(
    ("reference", "result"),
    [
        ("baby.png", "baby.png"),
        ("baby.png", "BABY.JPG"),
        ("0801.png", "0801x4.png"),
        ("baby.png", "babyx4.png"),
        ("baby.png", "baby_x4.png"),
        ("baby.png", "baby-4x-out.webp"),
        ("baby.png", "baby_SR.png"),
        ("baby_HR.png", "baby_x4_SR.png"),
        ("img_001_SRF_4_HR.png", "img_001_x4_SR.png"),
        ("baby.png", "baby_SwinIR-L_x4.png"),
        ("baby_GT.png", "baby.anything.png"),
        ("Caf\u00e9.png", "Cafe\u0301.png"),
    ],
)
def test_usual_names_are_paired(reference: str, result: str) -> None:
    others = paths("butterfly.png", "0802.png", "bab.png")
    found, problems = match(paths(result), [*others, Path(reference)], "A", "HR")
    assert found == {Path(reference): Path(result)}
    assert {p.file for p in problems} == {p.name for p in others}


def test_a_digit_of_the_name_is_no_mark() -> None:
    references = paths("box2.png", "box3.png", "x4.png")
    for mark in ("", "_x4", "x4", "_x4_SR"):
        results = [Path(f"{reference.stem}{mark}.png") for reference in references]
        assert match(results, references, "A", "HR") == (dict(zip(references, results, strict=True)), [])


def test_references_that_share_a_name_are_told() -> None:
    samples, problems = pair({"A": paths("a.png")}, paths("a.png", "a.jpg"))
    assert not samples
    assert [(p.where, p.file, p.failed) for p in problems] == [("HR", "a.png, a.jpg", True)]


def test_a_longer_name_is_not_a_shorter_one() -> None:
    found, problems = match(paths("photo10_x.png"), paths("photo1.png", "photo10.png", "photo.png"), "A", "HR")
    assert found == {Path("photo10.png"): Path("photo10_x.png")}
    assert len(problems) == 2
    assert match(paths("photo10_x.png"), paths("photo1.png"), "A", "HR")[0] == {}
    found, _ = match(paths("a_b_net.png"), paths("a.png", "a_b.png"), "A", "HR")
    assert found == {Path("a_b.png"): Path("a_b_net.png")}


def test_the_equal_name_wins_and_the_other_is_told() -> None:
    found, problems = match(paths("a.png", "a_x4.png"), paths("a.png"), "A", "HR")
    assert found == {Path("a.png"): Path("a.png")}
    assert problems == [Problem("A", "a_x4.png", "HR image a.png is paired with a.png already")]


def test_what_is_not_clear_is_ambiguous() -> None:
    found, problems = match(paths("a_x4.png", "a_sr.png", "b.png"), paths("a.png", "b.png"), "A", "HR")
    assert found == {Path("b.png"): Path("b.png")}
    assert [(p.file, p.failed) for p in problems] == [("a_x4.png, a_sr.png", True)]
    _, problems = match(paths("a.png", "b.png"), paths("a_x2.png", "a_x4.png", "b.png"), "A", "HR")
    assert problems[0].failed
    assert "a_x2.png, a_x4.png" in problems[0].reason


def test_a_folder_in_which_nothing_fits_is_one_problem() -> None:
    found, problems = match(paths("1.png", "2.png"), paths("a.png", "b.png"), "A", "HR")
    assert not found
    assert [(p.file, p.failed) for p in problems] == [("2 files", True)]
    assert "1.png" in problems[0].reason
    assert "a.png" in problems[0].reason


def test_folders(tmp_path: Path) -> None:
    for name in [
        "hr/a.png",
        "hr/b.png",
        "hr/c.png",
        "hr/c.JPG",
        "hr/.hidden.png",
        "hr/notes.txt",
        "lr/ax4.png",
        "lr/b.png",
        "one/a_out.png",
        "one/a.compare.png",
        "one/x.png",
        "two/A.jpg",
        "two/b.png",
    ]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    hr, lr, one, two = (images_in(tmp_path / name) for name in ("hr", "lr", "one", "two"))
    samples, problems = pair({"one": one, "two": two}, hr, lr)
    assert [s.name for s in samples] == ["a", "b"]
    assert [(s.hr and s.hr.name, s.lr and s.lr.name) for s in samples] == [("a.png", "ax4.png"), ("b.png", "b.png")]
    assert {m: p.name for m, p in samples[0].sr.items()} == {"one": "a_out.png", "two": "A.jpg"}
    assert set(samples[1].sr) == {"two"}
    assert [(p.where, p.file) for p in problems] == [("HR", "c.JPG, c.png"), ("one", "x.png"), ("one", "b.png")]
    samples, _ = pair({"two": two}, lr=lr)  # without HR, LR is what others belong to
    assert [(s.name, s.hr, len(s.sr)) for s in samples] == [("ax4", None, 1), ("b", None, 1)]
    samples, _ = pair({"one": one})
    assert [s.name for s in samples] == ["a_out", "x"]


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no folder"):
        images_in(tmp_path / "a")
    with pytest.raises(ConfigError, match="no images"):
        images_in(tmp_path)


def test_core_names_keep_something() -> None:
    assert core_name(Path("_x4.png")) == "_x4"
    assert core_name(Path("Photo_X4_SR_out.png")) == "photo"
