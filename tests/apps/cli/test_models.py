"""``lpnsr models``: what is printed, where, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from lpnsr import networks
from lpnsr.apps.cli import app
from lpnsr.checkpoints import ModelSpec, Score, convert, load_folder, read_spec, save_folder
from lpnsr.checkpoints.locate import official_folder
from lpnsr.checkpoints.registry import OFFICIAL
from lpnsr.errors import CheckpointError
from support.foreign import network_file
from support.http_server import serving
from support.released import write_released
from support.tiny_model import NETWORKS

pytestmark = pytest.mark.filterwarnings("ignore:torch.meshgrid")  # spandrel's


@pytest.fixture(autouse=True)
def _own_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LPNSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LPNSR_MIRROR", raising=False)
    monkeypatch.chdir(tmp_path)


def run(*arguments: object) -> Result:
    """Run a command; anything but our own errors would come out as an exception."""
    result = CliRunner().invoke(app, ["models", *map(str, arguments)], env={"COLUMNS": "100", "TERM": "dumb"})
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def model(tmp_path: Path) -> Path:
    spec = ModelSpec(
        name="small",
        licence="Apache-2.0",
        parts={name: name for name in NETWORKS},
        scores=(Score(metric="LPIPS", value=0.25, data="val [real]", protocol="alex, RGB"),),
    )
    save_folder(tmp_path / "small", spec, {name: networks.build(config) for name, config in NETWORKS.items()})
    return tmp_path / "small"


def test_list_names_what_there_is() -> None:
    result = run("list")
    assert result.exit_code == 0
    for text in ("base", "lite", "official", "official-v2", "lpnsr models download official", "0 of 4 files"):
        assert text in " ".join(result.stdout.split())
    listed = {model["name"]: model for model in json.loads(run("list", "--json").stdout)}
    assert listed["base"]["available"]
    assert not listed["official"]["available"]


def test_info_shows_parts_chain_scores_and_licence(model: Path) -> None:
    result = run("info", model)
    count = sum(p.numel() for net in load_folder(model).parts.values() for p in net.parameters())
    assert result.exit_code == 0
    for text in ("small", "lite_autoencoder", f"{count:,}", "kappa 2.0", "LPIPS 0.25 on val [real]", "Apache-2.0"):
        assert text in result.stdout
    facts = json.loads(run("info", model, "--json").stdout)
    assert facts["parameters"] == count
    assert facts["parts"]["autoencoder"]["config"]["type"] == "lite_autoencoder"
    assert facts["chain"]["steps"] == 4
    assert facts["path"] == str(model)


def test_files_in_the_cache_are_models(tmp_path: Path) -> None:
    file = network_file(tmp_path / "cache" / "models" / "x2.pth", 2)
    result = run("list")
    assert f"x2.pth      available  {file}\n" in result.stdout
    assert str(file.parent) in result.stderr
    for text in ("spandrel Compact", "scale    2", "chain    none", "licence  as its publisher says"):
        assert text in run("info", "x2").stdout
    facts = json.loads(run("info", "x2.pth", "--json").stdout)
    assert (facts["scale"], facts["path"]) == (2, str(file))
    assert facts["parameters"] == facts["parts"]["upsampler"]["parameters"] > 100


def test_verify_passes_a_sound_model_and_fails_a_changed_one(model: Path) -> None:
    assert run("verify", model).exit_code == 0
    config = model / "autoencoder" / "config.json"
    config.write_text(config.read_text() + " ")
    result = run("verify", model)
    assert result.exit_code == 1
    assert "failed autoencoder/config.json" in result.stdout
    assert "1 of 13 checks failed" in result.stderr
    checks = json.loads(run("verify", model, "--json").stdout)
    assert [check["ok"] for check in checks] == [False] + [True] * 12


def test_convert_takes_a_folder(tmp_path: Path) -> None:
    write_released(tmp_path / "files", ("autoencoder", "denoiser"))
    result = run("convert", tmp_path / "files", "-o", tmp_path / "out", "--half", "--name", "mine")
    assert result.exit_code == 0, result.stderr
    assert "Gaussian noise" in result.stderr
    assert result.stdout == ""
    assert read_spec(tmp_path / "out").name == "mine"
    assert run("verify", tmp_path / "out").exit_code == 0
    again = run("convert", tmp_path / "files", "-o", tmp_path / "out")
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)


def test_convert_takes_files_before_those_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}
    monkeypatch.setattr(convert, "convert_released", lambda files, output, **how: given.update(files=files, **how))
    for official in OFFICIAL:
        (tmp_path / official.name).touch()
    mine = tmp_path / "mine.pth"
    assert run("convert", tmp_path, "--denoiser", mine, "-o", "out", "--predictor", "v2").exit_code == 0
    assert given["files"] == {
        "autoencoder": tmp_path / OFFICIAL[0].name,
        "denoiser": mine,
        "noise_predictor": tmp_path / "noise_predictor_v2.pth",
        "upsampler": tmp_path / OFFICIAL[-1].name,
    }
    assert given["dtype"] == torch.float32
    result = run("convert", "--autoencoder", mine, "--denoiser", mine, "--predictor", "v2", "-o", "out")
    assert (result.exit_code, "no FOLDER is given" in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("info", "nothing"), 1, "no model 'nothing'"),
        (("verify", "official"), 1, "lpnsr models download official"),
        (("convert", "-o", "out"), 1, "the autoencoder is needed"),
        (("convert", "nowhere", "-o", "out"), 1, "nowhere is no folder"),
        (("download", "lite"), 2, "cannot be downloaded"),
        (("info", "lite", "--revision", "x"), 2, "revision"),
    ],
)
def test_errors_are_sentences_with_an_exit_code(arguments: tuple[str, ...], code: int, says: str) -> None:
    result = run(*arguments)
    assert result.exit_code == code
    assert result.stderr.startswith("error: ")
    assert says in result.stderr
    assert result.stdout == ""


def test_debug_shows_the_traceback_of_models_too() -> None:
    assert isinstance(CliRunner().invoke(app, ["--debug", "models", "info", "nothing"]).exception, CheckpointError)


def test_download_asks_for_the_licence_with_exit_code_2(tmp_path: Path) -> None:
    result = run("download", "official")
    assert result.exit_code == 2
    for text in ("S-Lab", "non-commercial", "--accept-licence"):
        assert text in result.stderr
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(("official",), "official"), (("--predictor", "v2"), "official-v2"), (("official-v2",), "official-v2")],
)
def test_download_converts_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], name: str
) -> None:
    wanted: list[Path] = []
    monkeypatch.setattr(convert, "convert_released", lambda files, target, **how: wanted.append(target))
    with serving({file.name: b"x" * 1000 for file in OFFICIAL}) as (url, _):
        result = run("download", *arguments, "--accept-licence", "--mirror", url)
    assert result.exit_code == 0, result.stderr
    assert wanted == [official_folder(name)]
    assert "S-Lab" in result.stderr
    assert "is remembered" in result.stderr
    assert len(list((tmp_path / "cache" / "downloads").glob("*.pth"))) == 4


@pytest.mark.parametrize("command", [[], ["list"], ["info"], ["download"], ["convert"], ["verify"]])
def test_help_is_there_for_every_command(command: list[str]) -> None:
    result = run(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_help_fills_the_lines_of_the_terminal() -> None:
    shown = run("convert", "--help").stdout
    paragraph = shown[shown.index("Give FOLDER") : shown.index("bicubic interpolation.")]
    assert all(len(line.strip()) > 60 for line in paragraph.splitlines()[:-1])


def test_the_command_is_imported_without_torch() -> None:
    code = "import sys, lpnsr.apps.cli.models; sys.exit('torch' in sys.modules or 'huggingface_hub' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(sys.path)}, check=True)
