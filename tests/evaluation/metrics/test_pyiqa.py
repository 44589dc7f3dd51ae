"""Metrics of pyiqa on a machine that lacks what they need."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lpnsr.apps.cli import app
from lpnsr.evaluation.errors import MetricUnavailable
from lpnsr.evaluation.metrics import metrics_for
from support.evaluation_references import EXAMPLES


def pyiqa_that_raises(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def create(name: str, **_: object) -> None:
        raise error

    monkeypatch.setitem(sys.modules, "pyiqa", types.SimpleNamespace(create_metric=create))


def test_a_library_that_a_metric_needs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pyiqa_that_raises(ModuleNotFoundError("No module named 'timm'"), monkeypatch)
    with pytest.raises(MetricUnavailable, match=r"No module named 'timm'\)\. Install all it needs"):
        metrics_for(["maniqa"])


def test_the_evaluation_goes_on_without_the_metric(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pyiqa_that_raises(OSError("no network"), monkeypatch)
    (tmp_path / "sr").mkdir()
    (tmp_path / "sr" / "a.png").write_bytes((EXAMPLES / "dog.png").read_bytes())
    command = ["evaluate", "--sr", tmp_path / "sr", "--metrics", "niqe,maniqa", "-o", tmp_path / "out"]
    result = CliRunner().invoke(app, [str(word) for word in command])
    assert result.exit_code == 0
    assert "maniqa: not available. pyiqa cannot set up maniqa: OSError: no network. It downloads" in result.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert list(report["metrics"]) == ["niqe"]
    assert list(report["unavailable"]) == ["maniqa"]
