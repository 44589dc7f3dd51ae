"""Statistics, the cache of scores, and scoring: nothing computed twice, nothing lost by a bad file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lpnsr.errors import OutputError
from lpnsr.evaluation.cache import Cache
from lpnsr.evaluation.metrics import Metric, metrics_for
from lpnsr.evaluation.pairing import Sample
from lpnsr.evaluation.scoring import score_samples
from lpnsr.evaluation.statistics import mean_interval, paired_difference


def test_interval_of_a_normal_sample_is_the_known_one() -> None:
    values = np.random.default_rng(1).normal(10, 2, 400)
    interval = mean_interval(list(values))
    assert interval is not None
    error = 1.96 * values.std() / 20
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - error, abs=0.03)
    assert interval.high == pytest.approx(values.mean() + error, abs=0.03)
    assert mean_interval(list(values)) == interval


def test_few_values() -> None:
    assert mean_interval([]) is None
    one = mean_interval([3.0])
    assert one is not None
    assert (one.low, one.mean, one.high, one.count, one.excludes_zero) == (3, 3, 3, 1, False)


def test_differences_are_paired() -> None:
    """Methods whose images vary far more than they differ."""
    base = np.random.default_rng(0).normal(25, 5, 30)
    a = {str(n): v for n, v in enumerate(base)} | {"only a": 1000.0}
    b = {str(n): v + 0.1 + 0.01 * (n % 3) for n, v in enumerate(base)}
    interval = paired_difference(a, b)
    assert interval is not None
    assert interval.mean == pytest.approx(-0.11)
    assert interval.count == 30
    assert interval.excludes_zero
    assert paired_difference({"x": 1.0}, {"y": 1.0}) is None


@pytest.mark.parametrize(
    "torn", [b'{"key": "b", "val', '{"key": "b", "image": "café'.encode()[:-1], b"\xff[]\n1\nnull"]
)
def test_cache_survives_what_a_kill_leaves(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "new" / "scores.jsonl"
    Cache(path).put({"a": 1}, {"psnr": 1.5, "niqe": None}, {"file": "\udcff.png"})  # a name that is no text
    with path.open("ab") as file:
        file.write(torn)
    cache = Cache(path)
    assert (cache.get({"a": 1}), cache.get({"a": 2})) == ({"psnr": 1.5, "niqe": None}, None)
    cache.put({"a": 2}, {"psnr": 2.5}, {})
    assert Cache(path).get({"a": 2}) == {"psnr": 2.5}


def test_a_cache_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="move it away"):
        Cache(tmp_path)


def test_a_score_is_filed_under_what_it_depends_on() -> None:
    found = [metrics_for(["psnr"])[0], metrics_for(["psnr"], "rgb")[0], metrics_for(["ssim"])[0]]
    assert len({tuple(metric.identity.values()) for metric in found}) == 3


def counting(calls: list[str]) -> list[Metric]:
    def score(sr: torch.Tensor, hr: torch.Tensor | None = None) -> float:
        calls.append("called")
        return float(sr.mean())

    return [
        Metric("mean", "Mean", True, True, "p", "v", 1, score),
        Metric("own", "Own", True, False, "p", "v", 1, score),
    ]


def write(path: Path, value: int, mode: str = "RGB", size: tuple[int, int] = (12, 12)) -> Path:
    Image.new(mode, size, value if mode == "L" else (value,) * 3).save(path)
    return path


def test_known_scores_are_not_computed_again(tmp_path: Path) -> None:
    samples = [
        Sample(str(n), hr=write(tmp_path / f"h{n}.png", n), sr={"a": write(tmp_path / f"s{n}.png", 10 + n)})
        for n in range(5)
    ]
    calls: list[str] = []
    done: list[int] = []
    cache = tmp_path / "c.jsonl"
    first = score_samples(samples, counting(calls), Cache(cache), jobs=3, done=lambda: done.append(1))
    assert (len(calls), len(done)) == (10, 5)
    assert [s.outcomes["a"]["own"].value for s in first] == pytest.approx([(10 + n) / 255 for n in range(5)])
    again = score_samples(samples, counting(calls), Cache(cache))
    assert len(calls) == 10
    assert [s.outcomes for s in again] == [s.outcomes for s in first]
    write(tmp_path / "s0.png", 99)  # another result
    write(tmp_path / "h1.png", 99)  # another reference
    score_samples(samples, counting(calls), Cache(cache))
    assert len(calls) == 13


@pytest.mark.parametrize(
    ("size", "scored"), [((20, 12), True), ((20, 13), False), ((21, 12), False), ((16, 12), False)]
)
def test_references_are_cut_as_degrade_cuts_them(tmp_path: Path, size: tuple[int, int], scored: bool) -> None:
    sample = Sample("x", hr=write(tmp_path / "hr.png", 50, size=(21, 15)), sr={})
    sample.sr["a"] = write(tmp_path / "sr.png", 51, size=size)
    for _ in range(2):  # the second time from the cache
        [result] = score_samples([sample], counting([]), Cache(tmp_path / "c"))
        assert (result.outcomes["a"]["mean"].value is not None) == scored
        [problem] = result.problems
        assert problem.failed != scored
        assert not scored or problem.reason.startswith("compared with the upper left 20 x 12 px of hr.png")


def test_bad_files_are_told_once_and_the_others_scored(tmp_path: Path) -> None:
    hr, good = write(tmp_path / "hr.png", 50), write(tmp_path / "good.png", 51)
    bad = tmp_path / "bad.png"
    bad.write_bytes(hr.read_bytes()[:40])
    small, gray = write(tmp_path / "small.png", 50, size=(11, 12)), write(tmp_path / "gray.png", 52, "L")
    sample = Sample(
        "x", hr=hr, sr={"bad": bad, "good": good, "small": small, "gray": gray, "gone": tmp_path / "no.png"}
    )
    metrics = counting([])
    result = score_samples([sample, Sample("y", hr=bad, sr={"good": good})], metrics, Cache(tmp_path / "c"))
    assert [(p.where, p.file, p.failed) for p in result[0].problems] == [
        ("bad", "bad.png", True),
        ("small", "small.png", True),
        ("gone", "no.png", True),
    ]
    values = {m: (o["mean"].value is not None, o["own"].value is not None) for m, o in result[0].outcomes.items()}
    assert values == {
        "bad": (False, False),
        "good": (True, True),
        "small": (False, True),
        "gray": (True, True),
        "gone": (False, False),
    }
    assert [(p.where, p.file) for p in result[1].problems] == [("HR", "bad.png")]
    assert result[1].outcomes["good"]["own"].value is not None
    assert "bad.png cannot be read" in str(result[1].outcomes["good"]["mean"].reason)
