"""Samples -> scores: several images at once, no file decoded and nothing computed that is known already."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from lpnsr.errors import ImageReadError
from lpnsr.evaluation.cache import Cache
from lpnsr.evaluation.errors import UnscorableImage
from lpnsr.evaluation.files import content_hash, read_unit
from lpnsr.evaluation.metrics import Metric
from lpnsr.evaluation.pairing import Problem, Sample
from lpnsr.evaluation.statistics import Interval
from lpnsr.evaluation.upscaling import FACTOR
from lpnsr.imaging import max_pixels_allowed
from lpnsr.imaging.reading import header_size

T = TypeVar("T")


@dataclass(frozen=True)
class MetricResult:
    """A score, or why there is none: in a sentence, and in a word or two."""

    value: float | None = None
    reason: str | None = None
    kind: str | None = None


@dataclass
class SampleScores:
    """``outcomes[method][metric]`` of one sample, and what is wrong with its files."""

    sample: Sample
    outcomes: dict[str, dict[str, MetricResult]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def score_samples(
    samples: Sequence[Sample],
    metrics: Sequence[Metric],
    cache: Cache,
    *,
    jobs: int = 1,
    done: Callable[[], None] | None = None,
) -> list[SampleScores]:
    """Score all samples, in their order. jobs: images at a time, which share the cores. done: after each."""
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = [pool.submit(_score_sample, sample, metrics, cache) for sample in samples]
        for future in as_completed(futures):
            future.result()
            if done:
                done()
        return [future.result() for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def score_sets(
    samples: Sequence[Sample], metrics: Sequence[Metric], cache: Cache
) -> tuple[dict[str, dict[str, Interval]], list[Problem]]:
    """Compute the metrics of whole sets by method and metric, each over the images that have a reference."""
    found: dict[str, dict[str, Interval]] = {}
    problems = []
    methods = dict.fromkeys(method for sample in samples for method in sample.sr)
    for metric, method in product((metric for metric in metrics if metric.of_set), methods):
        pairs = [(sample.sr[method], sample.hr) for sample in samples if method in sample.sr and sample.hr]
        try:
            key = {**metric.identity, "files": [[content_hash(path) for path in pair] for pair in pairs]}
            known = cache.get(key)
            if known is None:
                known = {metric.name: metric.score([sr for sr, _ in pairs], [hr for _, hr in pairs])}
                cache.put(key, known, {"method": method})
            value = known[metric.name]
            if value is not None:
                found.setdefault(method, {})[metric.name] = Interval(value, value, value, len(pairs))
        except Exception as error:  # what pyiqa, Pillow or SciPy raise: too few images, a damaged one
            problems.append(Problem(method, f"{len(pairs)} files", f"{metric.title}: {error}", failed=True))
    return found, problems


def _score_sample(sample: Sample, metrics: Sequence[Metric], cache: Cache) -> SampleScores:
    result = SampleScores(sample)
    hr = None if sample.hr is None else _File(sample.hr, "HR", result.problems)
    for method, path in sample.sr.items():
        sr = _File(path, method, result.problems)
        outcomes = {metric.name: _outcome(metric, sr, hr, cache) for metric in metrics}
        result.outcomes[method] = outcomes
        unscorable = {o.reason: None for o in outcomes.values() if o.reason and sr.sound and (hr is None or hr.sound)}
        for reason in unscorable:
            failed = hr is not None and sr.image is not None and hr.image is not None and sr.size != hr.size
            result.problems.append(Problem(method, path.name, reason, failed))
        if hr is not None and sr.sound and hr.sound and (cut := _cut_sides(sr, hr)):
            reason = f"compared with the upper left {cut[1]} x {cut[0]} px of {hr.path.name}, as lpnsr degrade cuts it"
            result.problems.append(Problem(method, path.name, reason, False))
    return result


class _File:
    """An image file, hashed and decoded when first needed; a failure is noted as a problem."""

    def __init__(self, path: Path, where: str, problems: list[Problem]) -> None:
        self.path = path
        self._where = where
        self._problems = problems
        self.sound = True

    @cached_property
    def hash(self) -> str:
        """Empty if the file cannot be read."""
        return self._attempt(content_hash) or ""

    @cached_property
    def header(self) -> tuple[int, int] | None:
        """(height, width); nothing is decoded."""
        return self._attempt(lambda path: header_size(path, str(path), max_pixels_allowed())) if self.sound else None

    @cached_property
    def image(self) -> Tensor | None:
        return self._attempt(read_unit) if self.sound else None

    @property
    def size(self) -> torch.Size | None:
        return None if self.image is None else self.image.shape

    def _attempt(self, read: Callable[[Path], T]) -> T | None:
        try:
            return read(self.path)
        except ImageReadError as error:
            self.sound = False
            reason = str(error).removeprefix(f"{self.path}: ")
            self._problems.append(Problem(self._where, self.path.name, reason, failed=True))
            return None


def _cut_sides(sr: _File, hr: _File) -> tuple[int, int] | None:
    """Return the height and width of ``sr`` if they are those of ``hr`` without what is too little for an LR pixel."""
    if sr.header is None or hr.header is None or sr.header == hr.header:
        return None
    height, width = hr.header
    return sr.header if sr.header == (height - height % FACTOR, width - width % FACTOR) else None


def _outcome(metric: Metric, sr: _File, hr: _File | None, cache: Cache) -> MetricResult:
    hr = hr if metric.needs_reference else None
    key = {**metric.identity, "sr": sr.hash, "hr": hr.hash if hr else None}
    known = cache.get(key) if sr.sound and (hr is None or hr.sound) else None
    if known is not None:
        return MetricResult(known[metric.name])
    for file in (sr, hr):
        if file is not None and file.image is None:
            return MetricResult(reason=f"{file.path.name} cannot be read", kind="unreadable")
    assert sr.image is not None
    try:
        reference = hr.image if hr else None
        if hr and reference is not None and (cut := _cut_sides(sr, hr)):
            reference = reference[:, : cut[0], : cut[1]]
        value = metric(sr.image, reference)
    except UnscorableImage as error:
        return MetricResult(reason=str(error), kind=error.kind)
    cache.put(key, {metric.name: value}, {"file": sr.path.name})
    return MetricResult(value)
