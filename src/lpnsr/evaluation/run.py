"""``evaluate``: folders and models -> an ``Evaluation`` and its files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from lpnsr.errors import ConfigError, OutputError
from lpnsr.evaluation.cache import Cache
from lpnsr.evaluation.datasets import dataset_of, described, files_of, recognised
from lpnsr.evaluation.errors import MetricUnavailable
from lpnsr.evaluation.files import images_in
from lpnsr.evaluation.metrics import DEFAULT_METRICS, Metric, available_metrics, training_loss_marked
from lpnsr.evaluation.pairing import Problem, pair
from lpnsr.evaluation.reports.html import html
from lpnsr.evaluation.reports.sheet import contact_sheet
from lpnsr.evaluation.reports.strips import evenly, strip_of
from lpnsr.evaluation.reports.tables import markdown, means_csv, scores_csv
from lpnsr.evaluation.results import Evaluation
from lpnsr.evaluation.scoring import score_samples, score_sets
from lpnsr.evaluation.upscaling import Timing, trained_with_lpips, upscale_folder
from lpnsr.system.atomic import remove_leftovers, write_bytes
from lpnsr.system.devices import pick_device

RESERVED = ("HR", "LR")
"""Names that no method can have."""

INPUTS = "inputs"
"""The method's name where the inputs themselves are evaluated."""


@dataclass(frozen=True)
class EvaluationRequest:
    """Images and models to evaluate.

    sr: folders of results by the method's name. models: models by the method's name; they upscale ``lr`` into
    ``out/NAME``. hr, lr: folders of references and inputs; ``lr`` alone means the inputs themselves. data, root: a test
    set of ``DATASETS`` instead of them, and its folder. metrics, protocol, weights, metric_weights: see
    ``metrics_for``.
    device: of models and metrics. jobs: images scored at a time.
    """

    out: Path
    sr: Mapping[str, Path] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    hr: Path | None = None
    lr: Path | None = None
    data: str | None = None
    root: Path | None = None
    metrics: Sequence[str] | None = None
    protocol: str | None = None
    weights: Mapping[str, Path] = field(default_factory=dict)
    metric_weights: Path | None = None
    device: str = "auto"
    jobs: int = 1


class Watcher(Protocol):
    """A function called when work on ``total`` images begins; it returns a function to call after each."""

    def __call__(self, name: str, total: int) -> Callable[[], None]: ...


def evaluate(request: EvaluationRequest, watch: Watcher | None = None) -> Evaluation:
    """Upscale with the models, pair, score, and write the files of the report.

    A run that was stopped goes on where it was. Files that cannot be used become ``problems``. Raises ConfigError for
    what makes no evaluation at all, MetricUnavailable if no metric can be computed, CheckpointError, OutputError.
    """
    watch = watch or (lambda name, total: lambda: None)
    _check(request)
    if request.lr and not (request.sr or request.models):
        request = replace(request, sr={INPUTS: request.lr}, lr=None)
    results = {name: images_in(folder) for name, folder in request.sr.items()}
    if request.data is not None and request.root is not None:
        chosen = dataset_of(request.data)
        hr, lr = files_of(chosen, request.root)
        dataset, protocol = described(chosen, len(lr)), chosen.protocol
    else:
        hr, lr = (images_in(folder) if folder else [] for folder in (request.hr, request.lr))
        dataset, protocol = recognised(request.hr, request.lr, *request.sr.values()), "resshift"
    metrics, unavailable = _metrics(request, request.protocol or protocol, bool(hr))
    try:
        request.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{request.out}: cannot be made: {error.strerror or error}") from None
    remove_leftovers(request.out)
    made, timings, problems = _upscale(request, lr, watch)
    samples, unpaired = pair({**results, **made}, hr, lr)
    if not any(sample.sr for sample in samples):
        raise ConfigError(
            "no image has a counterpart: " + "; ".join(f"{p.where}: {p.file}: {p.reason}" for p in unpaired[:4])
        )
    cache = Cache(request.out / "scores.jsonl")
    if any(trained_with_lpips(model) for model in request.models.values()):
        metrics = training_loss_marked(metrics)
    single = [metric for metric in metrics if not metric.of_set]
    scored = score_samples(samples, single, cache, jobs=request.jobs, done=watch("scoring", len(samples)))
    of_sets, unscored = score_sets(samples, metrics, cache)
    problems += unscored
    problems += [*unpaired, *(problem for sample in scored for problem in sample.problems)]
    sources = {**{name: str(folder) for name, folder in request.sr.items()}, **request.models}
    evaluation = Evaluation(sources, metrics, unavailable, scored, problems, timings, dataset, of_sets)
    write_reports(evaluation, request.out)
    return evaluation


def write_reports(evaluation: Evaluation, out: Path) -> None:
    """Write the files of an evaluation, each whole or not at all. Raises OutputError."""
    samples = [scores.sample for scores in evaluation.samples]
    strips = [strip for sample in evenly(samples) if (strip := strip_of(sample))]
    contents = {
        "scores.csv": scores_csv(evaluation),
        "means.csv": means_csv(evaluation),
        "report.json": json.dumps(evaluation.as_json(), indent=1, allow_nan=False) + "\n",
        "report.md": markdown(evaluation),
        "report.html": html(evaluation, strips),
    }
    for name, text in contents.items():
        write_bytes(out / name, text.encode(errors="backslashreplace"))  # of file names that are no text
    if strips:
        write_bytes(out / "sheet.png", contact_sheet(strips))


def _check(request: EvaluationRequest) -> None:
    if (request.data is None) != (request.root is None):
        raise ConfigError("a test set needs its name and its folder: give both --data and --root")
    if request.data and (request.hr or request.lr):
        raise ConfigError("--data finds HR and LR images itself: leave out --hr and --lr")
    if not request.sr and not request.models and (request.hr or not request.lr):
        raise ConfigError(
            "evaluate what? Give folders of results with --sr, or models with --model, or --lr alone for the inputs "
            "themselves"
        )
    if request.models and request.lr is None and request.data is None:
        raise ConfigError("a model needs inputs: give their folder with --lr, or a test set with --data and --root")
    for name in (*request.sr, *request.models):
        if name in RESERVED or (name in request.sr and name in request.models) or "/" in name or name.startswith("."):
            raise ConfigError(f"{name!r} cannot name a method here; give another, as NAME=...")
    given = {folder.resolve() for folder in (request.hr, request.lr, *request.sr.values()) if folder}
    for name in request.models:
        if (request.out / name).resolve() in given:
            raise ConfigError(
                f"the results of {name} would go into {request.out / name}, among images that were given; choose "
                "another --out, or name the model otherwise, as NAME=..."
            )


def _metrics(request: EvaluationRequest, protocol: str, references: bool) -> tuple[list[Metric], dict[str, str]]:
    """Make the metrics that can be computed, and tell why others cannot."""
    device = str(pick_device(request.device))
    names = request.metrics or DEFAULT_METRICS
    metrics, unavailable = available_metrics(names, protocol, device, request.weights, request.metric_weights)
    if not references:
        alone = [metric.name for metric in metrics if metric.needs_reference]
        metrics = [metric for metric in metrics if not metric.needs_reference]
        if request.metrics:
            unavailable |= dict.fromkeys(alone, "it compares with HR images, and there are none")
    if not metrics:
        raise MetricUnavailable("no metric can be computed. " + "; ".join(f"{n}: {r}" for n, r in unavailable.items()))
    return metrics, unavailable


def _upscale(
    request: EvaluationRequest, images: Sequence[Path], watch: Watcher
) -> tuple[dict[str, list[Path]], dict[str, Timing], list[Problem]]:
    """Return the models' results, how long they took, and which inputs could not be used."""
    made, timings, problems = {}, {}, []
    for name, model in request.models.items():
        done = watch(f"upscaling with {name}", len(images))
        results, timing, failed = upscale_folder(model, images, request.out / name, device=request.device, done=done)
        problems += failed
        if timing:
            made[name], timings[name] = results, timing
        else:
            raise ConfigError(f"{name}: none of the inputs could be upscaled; {failed[0].reason}")
    return made, timings, problems
