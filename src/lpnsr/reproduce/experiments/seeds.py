"""Seeds: the share of chance in a result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from lpnsr.evaluation.cache import Values
from lpnsr.reproduce.cases import Chain
from lpnsr.reproduce.images import ImageSet, Pair
from lpnsr.reproduce.lab import Lab, Scored, Scores
from lpnsr.reproduce.model import Noise
from lpnsr.reproduce.report import Column, Hypothesis, Report, claims_of, metric_columns, table_of

_NOISES: tuple[Noise, ...] = ("gaussian", "predicted", "mode")
_SEEDS, _QUICK_SEEDS = 5, 3
_PIXELS = Column("pixels", "pixels (of 255)", False)


def make_report(lab: Lab) -> Report:
    """Compute the standard deviations over the seeds, image by image."""
    seeds = _QUICK_SEEDS if lab.quick else _SEEDS
    cases: dict[str, list[Chain]] = {
        noise: [lab.chain(noise, noise=noise, seed=seed) for seed in range(seeds)] for noise in _NOISES
    }
    columns = [_PIXELS, *(Column(c.name, c.title, False) for c in metric_columns(lab))]
    tests = [
        Hypothesis(
            "Predicted noise shrinks the variation over seeds that Gaussian noise has.",
            "predicted",
            ["gaussian"],
            columns,
        ),
        Hypothesis("With its mode, less still.", "mode", ["predicted"], columns),
    ]
    scored = [_deviations(lab, images, cases) for images in lab.sets]
    return Report(
        "seeds",
        "Seeds: variation from draw to draw",
        f"Standard deviation over {seeds} seeds, image by image, then the mean over images: of pixel values, and of "
        "every metric. All steps, from the pre-upsampler. x_T is random with every kind of noise.",
        [table_of(scores, columns, title="standard deviation over seeds") for scores in scored],
        claims_of(scored, tests),
    )


def _deviations(lab: Lab, images: ImageSet, cases: Mapping[str, Sequence[Chain]]) -> Scores:
    rows: dict[str, list[Values]] = {label: [] for label in cases}
    for pair, (label, chains) in lab.each(images, cases.items()):
        rows[label].append(_deviation(lab, pair, chains))
    return Scores(images, rows)


def _deviation(lab: Lab, pair: Pair, chains: Sequence[Chain]) -> Values:
    def pixels() -> Values:
        results = torch.stack([lab.make(pair, chain).sr for chain in chains]) * 255
        return {_PIXELS.name: float(results.std(0).mean())}

    key = {"deviation": 1, "cases": [chain.identity(pair) for chain in chains]}
    values = dict(lab.remember(pair, key, pixels))
    scores = [lab.measure(pair, chain, [Scored(metric) for metric in lab.metrics]) for chain in chains]
    for metric in lab.metrics:
        numbers = [score[metric.name] for score in scores]
        known = [number for number in numbers if number is not None]
        values[metric.name] = (
            float(torch.tensor(known, dtype=torch.float64).std()) if len(known) == len(numbers) else None
        )
    return values
