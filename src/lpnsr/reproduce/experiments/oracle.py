"""Oracle: the chain with the optimal noise of Eq. 9, from the HR image, and the predictor's distance from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from lpnsr.evaluation.cache import Values
from lpnsr.evaluation.statistics import LEVEL, Effect, Interval, effect, mean_interval, smallest_effect
from lpnsr.reproduce.cases import Case, Ceiling
from lpnsr.reproduce.lab import LATENT_ERROR, NOISE_MATCH, Lab, Scores
from lpnsr.reproduce.report import Column, Hypothesis, Report, Table, claims_of, metric_columns, perceptual, table_of

_LATENT = Column("latent_error", "latent RMSE", False)
_RESAMPLES = 10_000
_NOTHING, _START = "no noise", "start alone"


def make_report(lab: Lab) -> Report:
    """Compare Gaussian, predicted, mode and oracle noise in the same chain, from the pre-upsampler."""
    noisy = lab.noisy_steps()
    cases: list[Case] = [
        *(lab.chain(noise, noise=noise) for noise in ("gaussian", "predicted", "mode", "oracle")),
        lab.chain(_START, steps=0),
        Ceiling("true latent, decoded", lab.model),
    ]
    columns = [*metric_columns(lab), _LATENT]
    matches = [
        column
        for t in noisy
        for column in (
            Column(f"distance_t{t}", f"distance, t = {t}", False),
            Column(f"correlation_t{t}", f"correlation, t = {t}", True),
        )
    ]
    near, far = [c for c in matches if c.higher_is_better], [c for c in matches if not c.higher_is_better]
    judges = perceptual(lab)
    tests = [
        Hypothesis("Eq. 9's noise is better by every number (oracle, Gaussian).", "oracle", ["gaussian"], columns),
        Hypothesis(
            "Predicted noise brings the chain nearer to the true latent (predicted, Gaussian).",
            "predicted",
            ["gaussian"],
            [_LATENT],
        ),
        Hypothesis(
            f"The chain ends nearer to the true latent than it starts (predicted, {_START}).",
            "predicted",
            [_START],
            [_LATENT],
        ),
        Hypothesis("Predicted noise looks better (predicted, Gaussian).", "predicted", ["gaussian"], judges),
        Hypothesis(
            "The mode of the predicted noise correlates with the optimal noise (mode, Gaussian).",
            "mode",
            ["gaussian"],
            near,
        ),
        Hypothesis(
            "Predicted noise is nearer to the optimal noise (predicted, Gaussian).", "predicted", ["gaussian"], far
        ),
        Hypothesis("The mode is nearer to it than no noise at all (mode, no noise).", "mode", [_NOTHING], far),
    ]
    scored = [_beside_nothing(lab.score(images, cases, [LATENT_ERROR, NOISE_MATCH]), noisy) for images in lab.sets]
    tables: list[Table] = []
    for scores in scored:
        tables += [
            table_of(scores, columns, rows=[case.label for case in cases]),
            table_of(scores, matches, rows=("gaussian", "predicted", "mode", _NOTHING), title="noise of the steps"),
            Table(
                f"{scores.images.name}: share of the gap closed",
                *_shares(scores, columns),
                images=len(scores.images.pairs),
            ),
        ]
    return Report(
        "oracle",
        "Oracle: the optimal noise, and how near the predictor comes to it",
        "The optimal noise lands every step on the noise-free mean of the forward process. It needs the HR image: it "
        "is an upper bound for every predictor, not a method. All rows start from the pre-upsampler.",
        tables,
        claims_of(scored, tests),
        notes=[
            "latent RMSE: of x_0 (y_0 for the start alone) and the encoded HR image, before decoding and colour fix.",
            "Distance (RMS) and correlation compare the noise that a step took with the optimal one of the same state, "
            "each row along its own chain; no noise at all is compared along that of the mode.",
            "Share of the gap: (Gaussian - row) / (Gaussian - oracle) of the means, 1 is as good as the oracle, 0 as "
            "Gaussian noise; 95% bootstrap interval over images.",
        ],
    )


def _beside_nothing(scores: Scores, noisy: Iterable[int]) -> Scores:
    """Add a row for the noise 0 in the mode's states; its distance is the size of the optimal noise.

    Gaussian noise is farther than this by its variance alone, so a predictor that knows anything is nearer.
    """
    nothing: list[Values] = [
        {f"distance_t{t}": values[f"size_optimal_t{t}"] for t in noisy} for values in scores.values["mode"]
    ]
    return Scores(scores.images, {**scores.values, _NOTHING: nothing})


def _shares(scores: Scores, columns: Sequence[Column]) -> tuple[list[Column], dict[str, dict[str, Interval | None]]]:
    """Compute the shares of predicted noise and of its mode."""
    rows = {
        label: {column.name: _share(scores, label, column.name) for column in columns}
        for label in ("predicted", "mode")
    }
    return [Column(column.name, column.title) for column in columns], rows


def _share(scores: Scores, label: str, name: str) -> Interval | None:
    """Return (Gaussian - label) / (Gaussian - oracle) of the means, resampled over images.

    None where the oracle differs from Gaussian noise by no effect of interest: there is no gap then.
    """
    triples = zip(*(scores.of(row, name) for row in ("gaussian", label, "oracle")), strict=True)
    data = np.array([triple for triple in triples if None not in triple], dtype=np.float64)
    gap = mean_interval((data[:, 0] - data[:, 2]).tolist()) if len(data) else None
    if gap is None or effect(gap, smallest_effect(name)) not in (Effect.HIGHER, Effect.LOWER):
        return None
    means = data[np.random.default_rng(0).integers(len(data), size=(_RESAMPLES, len(data)))].mean(1)
    shares = (means[:, 0] - means[:, 1]) / (means[:, 0] - means[:, 2])
    gaussian, other, oracle = data.mean(0)
    low, high = np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float((gaussian - other) / (gaussian - oracle)), float(low), float(high), len(data))
