"""Reproduction from folders and names to files, as ``lpnsr reproduce`` does it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lpnsr import __version__
from lpnsr.checkpoints.locate import is_model
from lpnsr.errors import ConfigError, LpnsrError
from lpnsr.evaluation.cache import Cache
from lpnsr.evaluation.datasets import recognised
from lpnsr.evaluation.metrics import DEFAULT_METRICS, available_metrics, training_loss_marked
from lpnsr.evaluation.upscaling import trained_with_lpips
from lpnsr.reproduce.experiments import experiment
from lpnsr.reproduce.images import find_pairs
from lpnsr.reproduce.lab import Lab, Progress
from lpnsr.reproduce.markdown import Header, csv_text, render, summary
from lpnsr.reproduce.model import Model
from lpnsr.reproduce.report import Report, as_json
from lpnsr.system.atomic import write_bytes
from lpnsr.upscaling.options import DEFAULT_MODEL

QUICK_IMAGES = 4
CACHE = "cache.jsonl"


@dataclass(frozen=True)
class ReproductionRequest:
    """Experiments to reproduce, and their images. lr, hr: folders, LR by the name of the set; the others as in ``Lab``.

    metrics: names, by default those that need nothing that the package has not. command: made these files, word by
    word, but for the experiment, which stands at ``{}``. limit: images of each set, from its first.
    """

    lr: Mapping[str, Path]
    hr: Path
    out: Path
    command: str
    model: str = DEFAULT_MODEL
    device: str = "auto"
    metrics: Sequence[str] = DEFAULT_METRICS
    weights: Mapping[str, Path] = field(default_factory=dict)
    metric_weights: Path | None = None
    methods: Mapping[str, str] = field(default_factory=dict)
    starts: Mapping[str, Path] = field(default_factory=dict)
    bicubic_model: str | None = None
    quick: bool = False
    limit: int | None = None


def open_lab(request: ReproductionRequest, progress: Progress) -> Lab:
    """Open images, models and metrics, and check all that concerns every experiment.

    Raises ConfigError, CheckpointError, OutputError.
    """
    most = request.limit or (QUICK_IMAGES if request.quick else None)
    sets = tuple(find_pairs(name, folder, request.hr, most) for name, folder in request.lr.items())
    for name, given in {**request.methods, **{name: str(path) for name, path in request.starts.items()}}.items():
        if not is_model(given) and not Path(given).exists():
            raise ConfigError(f"{name}: {given} does not exist")
    model = Model.load(request.model, request.device)
    if "fid" in request.metrics:
        raise ConfigError("fid is a score of all images of a method together: lpnsr evaluate computes it")
    metrics, unavailable = available_metrics(
        request.metrics, "resshift", str(model.device), request.weights, request.metric_weights
    )
    if not metrics:
        raise LpnsrError("no metric can be computed: " + "; ".join(f"{k}: {v}" for k, v in unavailable.items()))
    bicubic = None if request.bicubic_model is None else Model.load(request.bicubic_model, request.device)
    others = (trained_with_lpips(given) for given in request.methods.values() if is_model(given))
    trained = model.trained_with_lpips or any(others)
    return Lab(
        model=model,
        sets=sets,
        metrics=tuple(training_loss_marked(metrics) if trained else metrics),
        unavailable=unavailable,
        cache=Cache(request.out / CACHE),
        progress=progress,
        methods=request.methods,
        starts=request.starts,
        bicubic_model=bicubic,
        quick=request.quick,
    )


def reproduce(
    request: ReproductionRequest,
    names: Sequence[str],
    progress: Callable[[str, str, int, int], None],
    say: Callable[[str], None],
) -> int:
    """Run the experiments ``names`` and write their files; return how many failed, each with its reason said.

    One that fails leaves the files of the others alone. Results are written whenever an experiment ends, results of
    single images at once.
    """
    current = [""]
    lab = open_lab(request, lambda what, done, total: progress(current[0], what, done, total))
    for name, reason in lab.unavailable.items():
        say(f"{name} is left out: {reason}")
    reports, failed = [], 0
    for name in names:
        current[0] = name
        try:
            report = experiment(name)(lab)
        except LpnsrError as error:
            if len(names) == 1:
                raise
            failed += 1
            say(f"{name} is left out: {error}")
            continue
        _write(report, lab, request)
        reports.append(report)
        say(f"{name}: {request.out / name}.md")
    if len(names) > 1:
        text = summary(reports, _header(lab, request, "all"))
        write_bytes(request.out / "claims.md", text.encode())
        say(f"all claims: {request.out / 'claims.md'}")
    return failed


def _write(report: Report, lab: Lab, request: ReproductionRequest) -> None:
    header = _header(lab, request, report.name)
    place = request.out / report.name
    for plot in report.plots:
        write_bytes(f"{place}-{plot.name}.png", plot.png)
    content = {"command": header.command, "model": header.model, "protocols": list(header.protocols), **as_json(report)}
    write_bytes(f"{place}.json", (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    write_bytes(f"{place}.csv", csv_text(report).encode())
    write_bytes(f"{place}.md", render(report, header).encode())


def _header(lab: Lab, request: ReproductionRequest, name: str) -> Header:
    counts = [len(images.pairs) for images in lab.sets]
    dataset = recognised(request.hr)
    return Header(
        command=request.command.format(name),
        model=f"{lab.model.name} {lab.model.digest[:12]}, lpnsr {__version__}, float32 on {lab.model.device.type}",
        images=[
            *([dataset] if dataset else []),
            *(f"{images.name} ({count})" for images, count in zip(lab.sets, counts, strict=True)),
        ],
        protocols=list(_protocols(lab)),
        fewest=min(counts),
    )


def _protocols(lab: Lab) -> Iterable[str]:
    for metric in lab.metrics:
        yield f"{metric.title}: {metric.protocol} ({metric.version})"
    for name, reason in lab.unavailable.items():
        yield f"{name}: not available. {reason}"
    yield "Images whole, wavelet colour fix, rounded to 8 bits as their files would be; fidelity 0, seed 0 unless said."
