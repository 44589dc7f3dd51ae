"""Metrics of pyiqa: their weights, and machines that lack what they need."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from lpnsr.apps.cli import app
from lpnsr.errors import ConfigError
from lpnsr.evaluation.errors import MetricUnavailable
from lpnsr.evaluation.metrics import metrics_for
from lpnsr.evaluation.metrics.pyiqa import FILES, place
from support.evaluation_references import EXAMPLES

MUSIQ = "pyiqa/musiq_koniq_ckpt-e95806b9.pth"


@pytest.fixture
def pyiqa(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package of the name, version 9.9; tests give it ``create_metric``."""
    made = {name: ModuleType(name) for name in ("pyiqa", "pyiqa.utils", "pyiqa.utils.download_util")}
    made["pyiqa.utils"].download_util = made["pyiqa.utils.download_util"]
    made["pyiqa.utils.download_util"].DEFAULT_CACHE_DIR = "usual"
    for name, module in made.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(metadata, "version", lambda _: "9.9")
    return made["pyiqa"]


def failing(error: Exception) -> Callable[..., None]:
    def create(name: str, **_: object) -> None:
        raise error

    return create


def test_a_library_that_a_metric_needs_is_named(pyiqa: ModuleType) -> None:
    pyiqa.create_metric = failing(ModuleNotFoundError("No module named 'timm'"))
    with pytest.raises(MetricUnavailable, match=r"No module named 'timm'\)\. Install all it needs"):
        metrics_for(["maniqa"])


def test_the_evaluation_goes_on_without_the_metric(tmp_path: Path, pyiqa: ModuleType) -> None:
    pyiqa.create_metric = failing(OSError("no network"))
    (tmp_path / "sr").mkdir()
    (tmp_path / "sr" / "a.png").write_bytes((EXAMPLES / "dog.png").read_bytes())
    command = ["evaluate", "--sr", tmp_path / "sr", "--metrics", "niqe,maniqa", "-o", tmp_path / "out"]
    result = CliRunner().invoke(app, [str(word) for word in command])
    assert result.exit_code == 0
    assert "maniqa: not available. pyiqa cannot set up maniqa: OSError: no network. fetch https://" in result.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(report["metrics"]) == ["niqe"]
    assert list(report["unavailable"]) == ["maniqa"]


def test_a_download_that_fails_names_the_file_and_its_place(pyiqa: ModuleType) -> None:
    pyiqa.create_metric = failing(OSError("no network"))
    place = rf"https://huggingface\.co/\S+/musiq_koniq_ckpt-e95806b9\.pth as {torch.hub.get_dir()}/{MUSIQ}"
    with pytest.raises(MetricUnavailable, match=rf"musiq: OSError: no network\. fetch {place}$"):
        metrics_for(["musiq"])


def test_weights_that_are_not_in_the_folder_are_named(pyiqa: ModuleType, tmp_path: Path) -> None:
    pyiqa.create_metric = failing(AssertionError("nothing is to be downloaded"))
    for own, urls in FILES.items():
        name = {"lpips": "lpips-alex"}.get(own, own)
        (tmp_path / name / "pyiqa").mkdir(parents=True)
        with pytest.raises(MetricUnavailable) as caught:
            metrics_for([name], folder=tmp_path / name)
        assert all(f"{url} as {tmp_path / name / place(url)}" in str(caught.value) for url in urls)
    (tmp_path / "dists" / place(FILES["dists"][0])).touch()
    with pytest.raises(
        MetricUnavailable, match=r"are not in \S+dists: fetch https://download.pytorch.org/models/vgg16"
    ):
        metrics_for(["dists"], folder=tmp_path / "dists")


def test_pyiqa_gets_batches_in_unit_range_and_the_weights_of_the_folder(pyiqa: ModuleType, tmp_path: Path) -> None:
    seen: dict[str, object] = {}

    def create(name: str, **options: object) -> object:
        print("Downloading")  # must not reach standard output
        seen.update(options, name=name, cache=pyiqa.utils.download_util.DEFAULT_CACHE_DIR, hub=torch.hub.get_dir())
        return lambda *images: torch.tensor([[float(len(images)) + images[0].amax()]])

    pyiqa.create_metric = create
    pyiqa.utils = sys.modules["pyiqa.utils"]
    (tmp_path / "pyiqa").mkdir()
    (tmp_path / MUSIQ).write_bytes(b"x")
    usual = torch.hub.get_dir()
    (musiq,) = metrics_for(["musiq"], folder=tmp_path)
    assert (seen["cache"], seen["hub"]) == (str(tmp_path / "pyiqa"), str(tmp_path))
    assert (sys.modules["pyiqa.utils.download_util"].DEFAULT_CACHE_DIR, torch.hub.get_dir()) == ("usual", usual)
    assert musiq(torch.full((3, 64, 64), 1.2)) == 2.0  # one image, clamped to 1
    assert musiq.version == "pyiqa 9.9, weights 2d711642"
    (alex,) = metrics_for(["lpips-alex"])
    assert (seen["name"], alex(torch.ones(3, 64, 64), torch.zeros(3, 64, 64))) == ("lpips", 3.0)
    assert (seen["cache"], alex.version) == ("usual", "pyiqa 9.9")


def test_weights_of_one_file_are_for_other_metrics(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"weights for 'musiq': .* possible are r50, lpips-vgg, lpips-vgg-heads"):
        metrics_for(["musiq"], weights={"musiq": tmp_path})


def test_fid_is_one_number_of_all_pairs(pyiqa: ModuleType, tmp_path: Path) -> None:
    asked: list[list[list[bytes]]] = []

    def fid(*folders: str, num_workers: int, verbose: bool) -> float:
        asked.append([[path.read_bytes() for path in sorted(Path(folder).iterdir())] for folder in folders])
        if len(asked[-1][0]) < 2:
            raise ValueError("too few")
        return 12.5

    pyiqa.create_metric = lambda name, **_: fid
    for folder in ("hr", "sr", "one"):
        (tmp_path / folder).mkdir()
    for index in range(3):
        for folder in ("hr", "sr"):
            Image.effect_noise((40, 40), 50).convert("RGB").save(tmp_path / folder / f"{index}.png")
    (tmp_path / "hr" / "2.png").unlink()
    (tmp_path / "one" / "0.png").write_bytes((tmp_path / "sr" / "0.png").read_bytes())
    words = ["evaluate", "--hr", tmp_path / "hr", "--sr", tmp_path / "sr", "--sr", tmp_path / "one"]
    words += ["--metrics", "psnr,fid", "-o", tmp_path / "out"]
    result = CliRunner().invoke(app, [*map(str, words)])
    assert (result.exit_code, "FID: too few" in result.stderr) == (1, True)
    assert asked[0] == [[(tmp_path / folder / f"{i}.png").read_bytes() for i in (0, 1)] for folder in ("sr", "hr")]
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["means"]["sr"]["fid"] == {"mean": 12.5, "low": 12.5, "high": 12.5, "count": 2}
    assert report["means"]["one"]["fid"] is None
    assert {difference["metric"] for difference in report["differences"]} == {"psnr"}
    assert all("| 12.5000 |" in (tmp_path / "out" / name).read_text() for name in ("report.md",))
    CliRunner().invoke(app, [*map(str, words)])
    assert len(asked) == 3  # what was computed is kept, what failed is tried again


def test_musiq_with_weights_of_a_folder(tmp_path: Path) -> None:
    pyiqa = pytest.importorskip("pyiqa")
    (tmp_path / "pyiqa").mkdir()
    net = pyiqa.create_metric("musiq", device="cpu", pretrained=False).net
    torch.save(net.state_dict(), tmp_path / MUSIQ)
    (musiq,) = metrics_for(["musiq"], folder=tmp_path)
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert musiq(image) == pytest.approx(float(net(image[None])), rel=1e-5)
