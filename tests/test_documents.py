"""What README.md and docs/ tell people to type works: Python blocks run, each by itself; commands exist as written."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer import Context
from typer.main import get_command

from lpnsr.apps.cli import app
from lpnsr.checkpoints.card import parts_table
from lpnsr.checkpoints.folder import build_part
from lpnsr.checkpoints.spec import read_spec
from lpnsr.diffusion import NoiseField, NoiseSource, reverse_chain
from lpnsr.evaluation.cache import Cache
from lpnsr.imaging import Photo, read, write
from lpnsr.networks import build
from lpnsr.reproduce.experiments import table4
from lpnsr.reproduce.lab import Lab
from lpnsr.reproduce.model import Model
from lpnsr.training.recipe import load_recipe
from support.repository import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
TEXTS = {str(page.relative_to(REPOSITORY)): page.read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    \S.*\n)+", re.MULTILINE)
EXTENDING = "docs/extending.md"  # its blocks register names, which can be done once: see test_extending
INPUTS = {"photo.jpg", "scan.tif"}
MANIFEST = "upscaled/manifest.parquet"
PYTHON = [
    pytest.param(block, id=f"{page}-{number}")
    for page, text in TEXTS.items()
    if page != EXTENDING
    for number, block in enumerate([code for kind, code in FENCE.findall(text) if kind == "python"], start=1)
]


@pytest.mark.parametrize("block", PYTHON)
def test_python(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg")
    write(Photo(pixels.astype(np.uint16) * 257), tmp_path / "scan.tif")
    monkeypatch.chdir(tmp_path)
    if MANIFEST in block:
        pytest.importorskip("pyarrow")
        write_manifest(Path(MANIFEST))
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(block, "a block of Python", "exec", dont_inherit=True), names)
    for made in {path.name for path in tmp_path.iterdir() if path.is_file()} - INPUTS:
        assert min(read(made).pixels.shape[:2]) >= 16
    if "x0" in names:
        assert names["sr"].shape == (1, 3, 128, 128)


def test_the_mixture_of_the_examples_is_that_of_table_4(tmp_path: Path) -> None:
    block = next(str(block.values[0]) for block in PYTHON if "MixedNoise" in str(block.values[0]))
    said = re.search(r"# predicted, but Gaussian (at t = \d)", block)
    assert said is not None
    made: dict[str, Any] = {}
    exec(compile(block, "a block of Python", "exec"), made)
    model = Model("lite", made["model"], torch.device("cpu"))
    cases = {case.label: case.setting for case in table4.chains(Lab(model, (), (), Cache(tmp_path / "cache"), print))}
    setting = cases[f"off {said[1]}"]

    def x0(noise: NoiseSource) -> torch.Tensor:
        draw = NoiseField(seed=0).draw()
        return reverse_chain(made["denoise"], made["model"].schedule, made["guide"].y0, noise, draw)

    torch.testing.assert_close(made["x0"], x0(setting.source(made["model"], made["guide"], dict)), rtol=0, atol=0)
    assert not torch.equal(made["x0"], x0(made["model"].noise_source("predicted", made["guide"])))


def write_manifest(folder: Path) -> None:
    from lpnsr.apps.ray.manifest import Manifest
    from lpnsr.apps.ray.places import Place

    rows = Manifest(Place(str(folder)), "run", {})
    rows.add({"input": "a.png", "status": "failed", "error": "it is empty"})
    rows.flush()


def test_there_are_python_blocks_and_the_files_that_they_name_are_prepared() -> None:
    assert len(PYTHON) >= 8
    code = "".join(str(block.values[0]) for block in PYTHON)
    named = re.findall(r'(?:up|read|open|upscale_file)\("(\w+\.\w+)"', code)
    assert set(named) == INPUTS


def test_recipes(tmp_path: Path) -> None:
    texts = [text for page, text in TEXTS.items() if page != EXTENDING]
    blocks = [code for text in texts for kind, code in FENCE.findall(text) if kind == "yaml"]
    assert blocks
    for block in blocks:
        (tmp_path / "mine.yaml").write_text(block, encoding="utf-8")
        load_recipe(str(tmp_path / "mine.yaml"))


def shell_lines(text: str) -> list[str]:
    """The lines of shell blocks and of indented blocks, without comments: what a # or a wide gap sets apart."""
    fenced = "".join(code for kind, code in FENCE.findall(text) if kind == "sh")
    rest = re.sub(r"^(?::::|\?\?\? ).*\n(?:\n|    .*\n)*", "", FENCE.sub("", text), flags=re.MULTILINE)
    lines = (re.sub(r"\\\n\s*", "", fenced) + "".join(INDENTED.findall(rest))).splitlines()
    return [line for line in (re.split(r"(?:^|\s+)#\s|\s{4,}", each.strip())[0] for each in lines) if line]


COMMANDS = sorted(
    {(page, line) for page, text in TEXTS.items() for line in shell_lines(text) if not page.startswith("docs/results")}
)


def check_lpnsr(arguments: list[str]) -> None:
    """Raise what typer raises for a command, option or value that the program does not know."""
    command: Any = get_command(app)
    context = Context(command, info_name="lpnsr")
    while hasattr(command, "resolve_command"):
        name, command, arguments = command.resolve_command(context, arguments)
        context = Context(command, parent=context, info_name=name)
    command.make_context(context.info_name, arguments, parent=context.parent)


def check(line: str) -> None:
    """Raise for a line that would not work; AssertionError for a program that no page should name."""
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    targets = re.findall(r"^(\w+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    for part in line.split(" && "):
        words = shlex.split(part)
        if words[0] == "lpnsr" and "|" in words:  # lpnsr models list | info: one of several
            for name in (word for word in words[2:] if word != "|"):
                assert name in get_command(app).commands[words[1]].commands  # type: ignore[attr-defined]
        elif words[0] == "lpnsr":
            check_lpnsr(words[1:])
        elif words[:3] == ["accelerate", "launch", "-m"]:
            assert words[3] == "lpnsr"
            check_lpnsr(words[4:])
        elif words[:2] == ["pip", "install"]:
            assert words[2].startswith("."), line
            assert set(re.findall(r"\w+", words[2])) <= extras.keys(), line
        elif words[0] == "python":
            assert (REPOSITORY / words[1]).is_file(), line
        elif words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= set(targets), line
        else:
            assert words[0] in {"git", "cd", "curl", "ray", "sha256sum"}, f"is this a command? {line}"


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_command(page: str, line: str) -> None:
    check(line)


def test_there_are_commands_and_wrong_ones_are_found() -> None:
    assert len(COMMANDS) >= 15
    for wrong in (
        "lpnsr upscale a -o b --no-such-option",
        "lpnsr upscale a -o b --fidelity 2",
        "lpnsr models nothing",
        "lpnsr train all --nothing",
        "lpnsr models list | nothing",
        "pip install '.[nothing]'",
        "make nothing",
        "python nothing.py",
    ):
        with pytest.raises(Exception, match=r"\w"):
            check(wrong)


def test_every_command_of_the_program_is_somewhere() -> None:
    everything = "\n".join(TEXTS.values())
    for name in get_command(app).commands:  # type: ignore[attr-defined]
        assert f"lpnsr {name}" in everything


COUNT = re.compile(r"(\d[\d.,]*)\s?(k|M|thousand|million)?\s(parameters|FLOP)|(\d[\d.,]*)\s([MG])FLOP")
MODELS = sorted(path.parent for path in (REPOSITORY / "src" / "lpnsr" / "weights").glob("*/model.json"))


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_cards_state_what_the_networks_have(folder: Path) -> None:
    spec = read_spec(folder)
    parts = {name: build_part(folder / place) for name, place in spec.parts.items()}
    card = (folder / "README.md").read_text(encoding="utf-8")
    table = parts_table(spec, parts)
    assert table in card
    assert not COUNT.search(card.replace(table, ""))


def test_the_paper_has_the_networks_that_it_is_said_to_have() -> None:
    """Documents state counts of the paper's networks in one table, and refer to the cards for others."""
    stated = {page: [found[0] for found in COUNT.finditer(text)] for page, text in TEXTS.items()}
    stated = {page: found for page, found in stated.items() if found and not page.startswith("docs/results")}
    assert stated.keys() == {"docs/how-it-works.md"}
    rows = re.findall(r"^\| ([\w -]+) \|.* (\d+\.\d M parameters) \|$", TEXTS["docs/how-it-works.md"], re.MULTILINE)
    assert [count for _, count in rows] == stated["docs/how-it-works.md"]
    pytest.importorskip("spandrel")
    networks = load_recipe("paper").networks
    counted = {name: sum(p.numel() for p in build(config).parameters()) for name, config in networks.items()}
    said = {TITLE[name]: f"{count / 1e6:.1f} M parameters" for name, count in counted.items()}
    assert dict(rows) == said


TITLE = {
    "autoencoder": "autoencoder",
    "upsampler": "pre-upsampler",
    "denoiser": "denoiser",
    "noise_predictor": "noise predictor",
}
