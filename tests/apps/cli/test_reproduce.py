"""``lpnsr reproduce`` end to end, with a tiny random model and tiny images."""

from __future__ import annotations

import json
import re
import shutil
from importlib import import_module
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from lpnsr.apps.cli import app
from lpnsr.apps.cli.reproduce import What, command_line
from lpnsr.errors import MissingExtraError
from lpnsr.evaluation.metrics import Metric, available_metrics
from lpnsr.reproduce import plots
from lpnsr.reproduce import run as module
from lpnsr.reproduce.experiments import EXPERIMENTS
from lpnsr.reproduce.experiments import experiment as run_experiment
from lpnsr.reproduce.model import Model
from support.pairs import make_images
from support.tiny_model import GUIDED, tiny_upscaler


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch):
    """A cheap stand-in for LPIPS; one thread, for tensors this small only wait for the other."""
    cheap = Metric(
        "lpips", "LPIPS", False, True, "stand-in", "1", score=lambda sr, hr: float((sr - hr).abs().sqrt().mean())
    )

    def available(names, *given):
        others, missing = available_metrics([name for name in names if name != "lpips"], *given)
        return others + [cheap] * ("lpips" in names), missing

    monkeypatch.setattr(module, "available_metrics", available)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five pairs of images, and two tiny models with guided chains."""
    folder = tmp_path_factory.mktemp("place")
    make_images(folder, 5)
    upscaler = tiny_upscaler(networks=GUIDED)
    upscaler.save_pretrained(folder / "model")
    upscaler.restorer.denoiser.out[2].weight.data *= -1
    upscaler.save_pretrained(folder / "bicubic-model")
    return folder


def reproduce(place: Path, out: Path, *words: str, code: int = 0):
    usual = ["--lr", f"one={place / 'lr'}", "--hr", place / "hr", "--model", place / "model", "-o", out]
    result = CliRunner().invoke(
        app, ["reproduce", *words, *map(str, usual), "--device", "cpu", "--metrics", "psnr,lpips"]
    )
    assert result.exit_code == code, result.output
    return result


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every image that is upscaled."""
    calls: list[int] = []
    original = Model.restore
    monkeypatch.setattr(Model, "restore", lambda self, *a: calls.append(1) or original(self, *a))
    return calls


def test_the_command_offers_every_experiment() -> None:
    assert {"all", *EXPERIMENTS} == {what.value for what in What}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment(place: Path, tmp_path: Path, name: str) -> None:
    extra = {
        "table2": ["--method", f"HR={place / 'hr'}"],
        "table6": ["--start", f"other={place / 'bicubic-model'}"],
        "mismatch": ["--bicubic-model", str(place / "bicubic-model")],
    }
    reproduce(place, tmp_path / "out", name, "--quick", *extra.get(name, []))
    text = (tmp_path / "out" / f"{name}.md").read_text()
    assert text.splitlines()[2].startswith(f"    lpnsr reproduce {name} --lr one=")
    assert "- Model: tiny " in text
    assert "one (4)" in text
    assert "- PSNR: Y channel" in text
    assert "LPIPS (training loss)" in text  # the tiny model is not one that was converted
    assert re.search(r"one: \*\*(holds|holds in part|fails|no effect of interest|not decided)\*\*\. .* to ", text)
    report = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    assert report["claims"]
    assert all(table["rows"] for table in report["tables"])
    assert (tmp_path / "out" / f"{name}.csv").read_text().startswith("table,row,number,mean,low,high,paper\none")
    plots = re.findall(r"\]\(([\w-]+\.png)\)", text)
    assert bool(plots) == (name in ("figure2", "tradeoff"))
    for plot in plots:
        data = (tmp_path / "out" / plot).read_bytes()
        assert len(data) < 100_000
        image = Image.open(BytesIO(data)).convert("RGB")
        assert image.width > 500
        assert len(image.getcolors(1 << 20)) > 30


def test_table_2_takes_models_networks_and_folders(place: Path, tmp_path: Path) -> None:
    pytest.importorskip("spandrel")
    net = import_module("spandrel.architectures.Compact").Compact(num_feat=8, num_conv=1, upscale=4)
    torch.save(net.state_dict(), tmp_path / "net.pth")
    shutil.copytree(place / "hr", tmp_path / "theirs" / "one")
    shutil.copytree(place / "hr", tmp_path / "theirs" / "two")
    words = ["--limit", "2", "--lr", f"two={place / 'lr'}", "--method", f"other={place / 'bicubic-model'}"]
    words += ["--method", f"net={tmp_path / 'net.pth'}", "--method", f"theirs={tmp_path / 'theirs'}"]
    reproduce(place, tmp_path / "out", "table2", *words)
    report = json.loads((tmp_path / "out" / "table2.json").read_text())
    assert [(table["title"], table["images"]) for table in report["tables"]] == [("two", 2), ("one", 2)]
    rows = report["tables"][0]["rows"]
    own = ["bicubic", "lanczos", "RealESRGAN_x4plus", "LPNSR, start alone", "LPNSR"]
    assert list(rows) == [*own, "other", "net", "theirs"]
    assert rows["theirs"]["lpips"]["mean"] == 0
    assert {name for name, row in rows.items() if row["seconds"] is None} == {"theirs"}
    mflop = {name: row["mflop"]["mean"] for name, row in rows.items() if row["mflop"]}
    assert rows.keys() - mflop.keys() == {"bicubic", "lanczos", "theirs"}
    assert mflop["LPNSR, start alone"] < mflop["LPNSR"] == mflop["other"]
    assert 35 < mflop["RealESRGAN_x4plus"] < 42
    text = (tmp_path / "out" / "table2.md").read_text()
    assert "--limit 2" in text.splitlines()[2]
    assert re.search(r"^\| LPNSR \| \d+\.\d+ \[\d+\.\d+, \d+\.\d+\] \|", text, re.MULTILINE)
    assert "LPNSR scores better than net." in text
    shutil.rmtree(tmp_path / "theirs" / "two")
    assert "has no folder 'two'" in reproduce(place, tmp_path / "out", "table2", *words, code=2).output


def test_a_killed_run_goes_on(place: Path, tmp_path: Path, counted: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    original = Model.restore

    def killed(self: Model, *a: object):
        if len(counted) == 7:
            raise KeyboardInterrupt
        return original(self, *a)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Model, "restore", killed)
        reproduce(place, tmp_path, "table4", code=130)
    assert len(counted) == 7
    assert not (tmp_path / "table4.md").exists()
    reproduce(place, tmp_path, "table4")
    assert len(counted) == 8 * 5
    before = (tmp_path / "table4.md").read_text()
    reproduce(place, tmp_path, "table4")
    assert len(counted) == 8 * 5
    assert (tmp_path / "table4.md").read_text() == before


def test_experiments_share_results(place: Path, tmp_path: Path, counted: list[int]) -> None:
    shown = reproduce(place, tmp_path, "grid", "--quick").stderr
    counts = [tuple(map(int, pair)) for pair in re.findall(r"^grid: (\d+) of (\d+)$", shown, re.MULTILINE)]
    assert len(counts) == 10
    assert counts[-1][0] == counts[-1][1]
    made = len(counted)
    reproduce(place, tmp_path, "table6", "--quick")
    assert len(counted) == made


def test_all_goes_on_after_a_failure(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lpnsr.reproduce.experiments.EXPERIMENTS", ("table2", "table6"))
    (tmp_path / "method").mkdir()
    words = ("--quick", "--method", f"empty={tmp_path / 'method'}")
    result = reproduce(place, tmp_path / "out", "all", *words, code=1)
    assert "table2 is left out: no images" in result.output
    claims = (tmp_path / "out" / "claims.md").read_text()
    assert "| [table6](table6.md) | " in claims
    assert "lpnsr reproduce all" in claims
    assert "table2.md" not in claims


def test_a_metric_that_is_not_there_is_told(place: Path, tmp_path: Path) -> None:
    request = module.ReproductionRequest(
        lr={"one": place / "lr"},
        hr=place / "hr",
        out=tmp_path,
        command="lpnsr reproduce {}",
        model=str(place / "model"),
        device="cpu",
        metrics=["psnr", "r50"],
        quick=True,
    )
    said: list[str] = []
    assert module.reproduce(request, ["mismatch"], lambda *_: None, said.append) == 0
    assert said[0].startswith("r50 is left out: ")
    assert "- r50: not available. " in (tmp_path / "mismatch.md").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("table2", "--method", "InvSR"), "NAME=PATH is needed"),
        (("table2", "--method", "InvSR=/nowhere"), "/nowhere does not exist"),
        (("table1", "--lr", "one=/nowhere"), "have one name, one"),
        (("table1", "--lr", "a/b=/nowhere"), "without a slash"),
        (("table1", "--lr", "two=/nowhere"), "/nowhere is no folder"),
    ],
)
def test_wrong_usage_is_told(place: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    assert message in reproduce(place, tmp_path, *words, code=2).output


def test_the_command_is_written_as_it_can_be_typed() -> None:
    options = {"lr": ["a b", "c={d}"], "model": "lite", "quick": True, "method": None}
    command = command_line(options, {"model": "lite", "quick": False})
    assert command.format("grid") == "lpnsr reproduce grid --lr 'a b' --lr 'c={d}' --quick"


@pytest.mark.parametrize("experiment", ["figure2", "tradeoff"])
def test_without_matplotlib_nothing_is_begun(experiment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"lpnsr\[evaluate\]"):
        run_experiment(experiment)(None)  # type: ignore[arg-type]
