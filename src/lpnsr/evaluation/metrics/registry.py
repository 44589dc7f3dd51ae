"""Every metric behind one small interface: ``metrics_for(["psnr", "niqe"])`` -> things to call on images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lpnsr.errors import ConfigError, LpnsrError, MissingExtraError
from lpnsr.evaluation.errors import MetricUnavailable, UnscorableImage
from lpnsr.evaluation.metrics.fidelity import Protocol, protocol_of, psnr, smallest_side, ssim
from lpnsr.evaluation.metrics.niqe import BLOCK, niqe
from lpnsr.evaluation.metrics.pyiqa import pyiqa_metric
from lpnsr.evaluation.metrics.r50 import R50
from lpnsr.networks.perceptual import LPIPS
from lpnsr.system.hashes import file_sha256

DEFAULT_METRICS = ("psnr", "ssim", "lpips", "niqe")


@dataclass(frozen=True)
class Metric:
    """A score of one image: ``metric(sr, hr)``, or ``metric(sr)`` where no reference is needed.

    of_set: a score of all images of a method together, ``metric.score(sr files, hr files)``, and of no single one.
    protocol: what exactly is computed, for people. version: which implementation, with the hash of weights that were
    given; both belong to every number. smallest: the shortest side in pixels that can be scored. score: a function of
    (sr, hr), or of sr alone where no reference is needed.
    """

    name: str
    title: str
    higher_is_better: bool
    needs_reference: bool
    protocol: str
    version: str
    smallest: int = 1
    score: Callable[..., float] = field(repr=False, compare=False, default=lambda *images: math.nan)
    of_set: bool = False

    @property
    def identity(self) -> dict[str, str]:
        """All that its scores depend on besides the images."""
        return {"metric": self.name, "protocol": self.protocol, "version": self.version}

    @torch.inference_mode()
    def __call__(self, sr: Tensor, hr: Tensor | None = None) -> float:
        """Score sr (3, H, W) in [0, 1] against hr of the same shape. Raises UnscorableImage with the reason."""
        if self.needs_reference and hr is None:
            raise UnscorableImage(f"{self.title} compares with an HR image, and there is none", "no HR")
        if self.needs_reference and hr is not None and sr.shape != hr.shape:
            sizes = f"it is {_size(sr)} and the reference {_size(hr)}"
            raise UnscorableImage(f"{sizes}: crop or make one of them anew", "of another size")
        if min(sr.shape[-2:]) < self.smallest:
            needed = f"{self.title} needs sides of {self.smallest} px at least"
            raise UnscorableImage(f"it is {_size(sr)}; {needed}", "too small")
        value = self.score(sr, hr) if self.needs_reference else self.score(sr)
        if not math.isfinite(value):
            reason = f"its {self.title} is not finite: it is flat, or holds values that are not finite"
            raise UnscorableImage(reason, "not finite")
        return value


@dataclass(frozen=True)
class _Setup:
    """Protocol, device and weights of metrics."""

    protocol: Protocol
    device: str
    weights: Mapping[str, Path]
    folder: Path | None


def metrics_for(
    names: Sequence[str],
    protocol: str = "resshift",
    device: str = "cpu",
    weights: Mapping[str, Path] | None = None,
    folder: Path | None = None,
) -> list[Metric]:
    """Make metrics by name: psnr, ssim, lpips, niqe, r50, and those of pyiqa: lpips-alex, lpips-vgg, dists, fid, pi,
    clipiqa, musiq, maniqa.

    protocol: channels and border of PSNR and SSIM, see ``PROTOCOLS``. weights: files by the metric's name: ``r50``, or
    ``lpips-vgg`` and ``lpips-vgg-heads``. folder: of the weights of pyiqa's metrics, laid out as
    ``~/.cache/torch/hub``; without it, pyiqa downloads them. Raises ConfigError for a name that is not known or
    takes no weights, MetricUnavailable for a metric that cannot be computed here.
    """
    given = dict(weights or {})
    setup = _Setup(protocol_of(protocol), device, given, folder)
    for name in names:
        if name not in _MAKERS:
            raise ConfigError(f"metric {name!r} is not known; choose from {', '.join(_MAKERS)}")
    for name in given:
        if name not in _TAKE_WEIGHTS:
            raise ConfigError(f"weights for {name!r}: no metric takes such; possible are {', '.join(_TAKE_WEIGHTS)}")
    return [_make(name, setup) for name in names]


def available_metrics(
    names: Sequence[str], protocol: str, device: str, weights: Mapping[str, Path], folder: Path | None = None
) -> tuple[list[Metric], dict[str, str]]:
    """Make the metrics that can be computed here; return them, and by name why others cannot. See ``metrics_for``."""
    metrics: list[Metric] = []
    unavailable: dict[str, str] = {}
    for name in dict.fromkeys(names):
        try:
            metrics += metrics_for([name], protocol, device, weights, folder)
        except (MetricUnavailable, MissingExtraError) as error:
            unavailable[name] = str(error)
    return metrics, unavailable


def training_loss_marked(metrics: Sequence[Metric]) -> list[Metric]:
    """Mark LPIPS on SqueezeNet by its title, for tables with a model that was trained with it as a loss."""
    return [replace(m, title=f"{m.title} (training loss)") if m.name == "lpips" else m for m in metrics]


def _make(name: str, setup: _Setup) -> Metric:
    try:
        return _MAKERS[name](name, setup)
    except (MetricUnavailable, ConfigError):
        raise
    except (LpnsrError, OSError) as error:  # a weights file that is missing, damaged or of another network
        raise MetricUnavailable(str(error)) from None


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]} x {image.shape[-2]} px"


def _fidelity(name: str, setup: _Setup) -> Metric:
    protocol = setup.protocol
    compare, window = (psnr, "") if name == "psnr" else (ssim, ", Gaussian window of 11 px, sigma 1.5")
    score, smallest = partial(compare, protocol=protocol), smallest_side(name, protocol)
    return Metric(name, name.upper(), True, True, f"{protocol}{window}", "lpnsr 1", smallest, score)


def _lpips(name: str, setup: _Setup) -> Metric:
    net, given, heads = name.partition("-")[2] or "squeeze", setup.weights.get(name), setup.weights.get(f"{name}-heads")
    if net == "vgg" and given is None:
        return _pyiqa(name, setup)
    model = LPIPS(net, given, heads).to(setup.device)

    def score(*images: Tensor) -> float:
        return float(model(*(image[None].to(setup.device).float() * 2 - 1 for image in images)))

    version = "lpnsr 1" if given is None or heads is None else f"lpnsr 1, {_digest(given)}, {_digest(heads)}"
    title = "LPIPS" if net == "squeeze" else f"LPIPS-{net}"
    network = {"squeeze": "SqueezeNet 1.1", "vgg": "VGG-16"}[net]
    return Metric(name, title, False, True, f"RGB, v0.1 on {network}, no border", version, 32, score)


def _niqe(name: str, setup: _Setup) -> Metric:
    described = "Y (0.299, 0.587, 0.114) rounded to 8 bits, blocks of 96 px, no border, standard pristine model"
    return Metric(name, "NIQE", False, False, described, "lpnsr 1", BLOCK, niqe)


def _r50(name: str, setup: _Setup) -> Metric:
    file = setup.weights.get(name)
    if file is None:
        raise MetricUnavailable("the weights of r50 are not in the package: give its file with --weights r50=FILE")
    model = R50(file, setup.device)

    def score(sr: Tensor, hr: Tensor) -> float:
        return model(sr.to(setup.device), hr.to(setup.device))

    described = "RGB, uncalibrated ResNet-50 v2 features (stem, stages 1 to 3), no border"
    return Metric(name, "R50", False, True, described, f"lpnsr 1, {_digest(file)}", 32, score)


_PYIQA = {  # pyiqa's name, title, higher is better, needs a reference, what it computes, shortest side
    "lpips-alex": ("lpips", "LPIPS-alex", False, True, "RGB, v0.1 on AlexNet, no border", 64),
    "lpips-vgg": ("lpips-vgg", "LPIPS-vgg", False, True, "RGB, v0.1 on VGG-16, no border", 32),
    "dists": ("dists", "DISTS", False, True, "RGB, VGG-16, size kept, no border", 32),
    "fid": ("fid", "FID", False, True, "RGB, all images at 299 px (clean, bicubic), Inception of 2015", 1),
    "pi": ("pi", "PI", False, False, "Y (BT.601, 16..235), 4 px border, (10 - NRQM + NIQE) / 2", BLOCK + 8),
    "clipiqa": ("clipiqa", "CLIPIQA", True, False, "RGB, CLIP RN50, size kept, mean of 5 pairs of prompts", 32),
    "musiq": ("musiq", "MUSIQ", True, False, "RGB, KonIQ-10k, sides of 224, 384 and the image's own", 32),
    "maniqa": ("maniqa", "MANIQA", True, False, "RGB, KonIQ-10k, 20 crops of 224 px", 224),
}

_TAKE_WEIGHTS = ("r50", "lpips-vgg", "lpips-vgg-heads")


def _pyiqa(name: str, setup: _Setup) -> Metric:
    own, title, higher, reference, described, smallest = _PYIQA[name]
    score, version = pyiqa_metric(own, setup.folder, setup.device)
    return Metric(name, title, higher, reference, described, version, smallest, score, name == "fid")


def _digest(file: Path) -> str:
    """Identify a file of weights."""
    return f"weights {file_sha256(file)[:8]}"


_MAKERS: dict[str, Callable[[str, _Setup], Metric]] = {
    "psnr": _fidelity,
    "ssim": _fidelity,
    "lpips": _lpips,
    "niqe": _niqe,
    "r50": _r50,
    **dict.fromkeys(_PYIQA, _pyiqa),
    "lpips-vgg": _lpips,
}
METRICS = tuple(_MAKERS)
