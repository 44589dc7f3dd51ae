"""The page for blind choices: what it holds, and what a visitor does with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lpnsr.apps.cli import app

FILES = ("one", "two", "three")
GREY = {"ours": 60, "theirs": 200}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for place, grey in GREY.items():
        (tmp_path / place).mkdir()
        for name in FILES:
            pixels = (grey + rng.integers(-20, 20, (48, 64, 3))).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / place / f"{name}.png")
    (tmp_path / "lr").mkdir()
    for name in FILES:
        Image.new("RGB", (16, 12), "red").save(tmp_path / "lr" / f"{name}.png")
    return tmp_path


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["compare", *map(str, arguments)])


def test_a_visitor_chooses_blindly_and_takes_the_result(folders: Path, browser: Any, tmp_path: Path) -> None:
    (folders / "theirs" / "alone.png").write_bytes((folders / "theirs" / "one.png").read_bytes())
    page_file = tmp_path / "page.html"
    done = run(folders / "ours", folders / "theirs", "--lr", folders / "lr", "-o", page_file)
    assert done.exit_code == 0, done.output
    assert "alone.png" in done.output
    page, lefts = browser.new_page(), []
    troubles: list[str] = []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto(page_file.as_uri())
    keys = {"left": "ArrowLeft", "right": "ArrowRight"}

    def dark_side() -> str:
        """The side of ``ours``, which is darker; nothing that can be read says so."""
        levels = {}
        for side in keys:
            page.wait_for_function(f"document.getElementById('{side}').complete")
            levels[side] = page.evaluate(
                """id => { const c = document.createElement("canvas"); c.width = c.height = 1;
                const g = c.getContext("2d"); g.drawImage(document.getElementById(id), 0, 0, 1, 1);
                return g.getImageData(0, 0, 1, 1).data[0]; }""",
                side,
            )
        lefts.append(levels["left"] < levels["right"])
        return min(levels, key=levels.__getitem__)

    assert "ours" not in page.inner_text("body")
    assert "Picture 1 of 3" in page.inner_text("body")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Backspace")
    assert "Picture 1 of 3" in page.inner_text("body")
    assert page.is_visible("#lr")
    page.keyboard.press(keys[dark_side()])
    page.click(f"#choose-{dark_side()}")
    page.keyboard.press("ArrowDown")
    with page.expect_download() as download:
        page.click("#download")
    result = json.loads(download.value.path().read_text())
    assert result["counts"] == {"ours": 2, "theirs": 0, "no difference": 1}
    assert result["share"] == 1
    assert result["interval"] == pytest.approx([0.34238, 1], abs=1e-4)  # Wilson 1927, two of two
    assert sorted(choice["picture"] for choice in result["choices"]) == sorted(FILES)
    assert [choice["left"] == "ours" for choice in result["choices"]][:2] == lefts
    assert not troubles


def test_a_model_is_one_side(folders: Path, tiny_model: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run(folders / "ours", tiny_model, "--lr", folders / "lr", "-o", page, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert page.read_text().count("data:image/png") == len(FILES)


def test_what_cannot_be_compared_is_told(folders: Path, tiny_model: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run(folders / "ours", tiny_model, "-o", page)
    assert (done.exit_code, "--lr" in done.output) == (2, True)
    done = run(folders / "ours", f"ours={folders / 'theirs'}", "-o", page)
    assert (done.exit_code, "one name" in done.output) == (2, True)
    done = run(folders / "ours", folders / "lr", "-o", page)
    assert (done.exit_code, "two sizes" in done.output) == (2, True)
    done = run(f"LR={folders / 'ours'}", folders / "theirs", "-o", page)
    assert (done.exit_code, "cannot name a method" in done.output) == (2, True)
    assert not page.exists()
    (folders / "theirs" / "one.png").write_bytes(b"damaged")
    done = run(folders / "ours", folders / "theirs", "-o", page)
    assert (done.exit_code, "error: ours and theirs: one" in done.output) == (1, True)
    assert page.exists()
