"""Every metric behind one small interface: ``metrics_for(["psnr", "niqe"])`` -> things to call on images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
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


def metrics_for(
    names: Sequence[str], protocol: str = "resshift", device: str = "cpu", weights: Mapping[str, Path] | None = None
) -> list[Metric]:
    """Make metrics by name: psnr, ssim, lpips, lpips-alex, lpips-vgg, niqe, r50, pi, clipiqa, musiq, maniqa.

    protocol: channels and border of PSNR and SSIM, see ``PROTOCOLS``. weights: files by the metric's name, and
    ``lpips-vgg-heads`` beside ``lpips-vgg``. Raises ConfigError for a name that is not known or takes no weights,
    MetricUnavailable for a metric that cannot be computed here.
    """
    chosen = protocol_of(protocol)
    given = dict(weights or {})
    for name in names:
        if name not in _MAKERS:
            raise ConfigError(f"metric {name!r} is not known; choose from {', '.join(_MAKERS)}")
    for name in given:
        if name not in _TAKE_WEIGHTS:
            raise ConfigError(f"weights for {name!r}: no metric takes such; possible are {', '.join(_TAKE_WEIGHTS)}")
    return [_make(name, chosen, device, given) for name in names]


def available_metrics(
    names: Sequence[str], protocol: str, device: str, weights: Mapping[str, Path]
) -> tuple[list[Metric], dict[str, str]]:
    """Make the metrics that can be computed here; return them, and by name why others cannot. See ``metrics_for``."""
    metrics: list[Metric] = []
    unavailable: dict[str, str] = {}
    for name in dict.fromkeys(names):
        try:
            metrics += metrics_for([name], protocol, device, weights)
        except (MetricUnavailable, MissingExtraError) as error:
            unavailable[name] = str(error)
    return metrics, unavailable


def _make(name: str, protocol: Protocol, device: str, weights: Mapping[str, Path]) -> Metric:
    try:
        return _MAKERS[name](name, protocol, device, weights)
    except (MetricUnavailable, ConfigError):
        raise
    except (LpnsrError, OSError) as error:  # a weights file that is missing, damaged or of another network
        raise MetricUnavailable(str(error)) from None


def _size(image: Tensor) -> str:
    return f"{image.shape[-1]} x {image.shape[-2]} px"


def _fidelity(name: str, protocol: Protocol, device: str, weights: Mapping[str, Path]) -> Metric:
    compare, window = (psnr, "") if name == "psnr" else (ssim, ", Gaussian window of 11 px, sigma 1.5")
    score, smallest = partial(compare, protocol=protocol), smallest_side(name, protocol)
    return Metric(name, name.upper(), True, True, f"{protocol}{window}", "lpnsr 1", smallest, score)


def _lpips(name: str, protocol: Protocol, device: str, weights: Mapping[str, Path]) -> Metric:
    net, _, given = name.partition("-")[2] or "squeeze", None, weights.get(name)
    if net == "alex" or (net == "vgg" and given is None):
        return _pyiqa(name, protocol, device, weights)
    heads = weights.get(f"{name}-heads")
    model = LPIPS(net, given, heads).to(device)

    def score(*images: Tensor) -> float:
        return float(model(*(image[None].to(device).float() * 2 - 1 for image in images)))

    version = "lpnsr 1" if given is None or heads is None else f"lpnsr 1, {_digest(given)}, {_digest(heads)}"
    title = "LPIPS" if net == "squeeze" else f"LPIPS-{net}"
    network = {"squeeze": "SqueezeNet 1.1", "vgg": "VGG-16"}[net]
    return Metric(name, title, False, True, f"RGB, v0.1 on {network}, no border", version, 32, score)


def _niqe(name: str, protocol: Protocol, device: str, weights: Mapping[str, Path]) -> Metric:
    described = "Y (0.299, 0.587, 0.114) rounded to 8 bits, blocks of 96 px, no border, standard pristine model"
    return Metric(name, "NIQE", False, False, described, "lpnsr 1", BLOCK, niqe)


def _r50(name: str, protocol: Protocol, device: str, weights: Mapping[str, Path]) -> Metric:
    file = weights.get(name)
    if file is None:
        raise MetricUnavailable("the weights of r50 are not in the package: give its file with --weights r50=FILE")
    model = R50(file, device)

    def score(sr: Tensor, hr: Tensor) -> float:
        return model(sr.to(device), hr.to(device))

    described = "RGB, uncalibrated ResNet-50 v2 features (stem, stages 1 to 3), no border"
    return Metric(name, "R50", False, True, described, f"lpnsr 1, {_digest(file)}", 32, score)


_PYIQA = {  # pyiqa's name, title, higher is better, needs a reference, what it computes, shortest side
    "lpips-alex": ("lpips", "LPIPS-alex", False, True, "RGB, v0.1 on AlexNet, no border", 64),
    "lpips-vgg": ("lpips-vgg", "LPIPS-vgg", False, True, "RGB, v0.1 on VGG-16, no border", 32),
    "pi": ("pi", "PI", False, False, "Y, 4 px border, (10 - NRQM + NIQE) / 2", BLOCK + 8),
    "clipiqa": ("clipiqa", "CLIPIQA", True, False, "RGB, pyiqa's default model", 32),
    "musiq": ("musiq", "MUSIQ", True, False, "RGB, pyiqa's default model (KonIQ-10k)", 32),
    "maniqa": ("maniqa", "MANIQA", True, False, "RGB, pyiqa's default model (KonIQ-10k), random crops", 224),
}

_TAKE_WEIGHTS = ("r50", *_PYIQA, "lpips-vgg-heads")


def _pyiqa(name: str, protocol: Protocol, device: str, weights: Mapping[str, Path]) -> Metric:
    own, title, higher, reference, described, smallest = _PYIQA[name]
    file = weights.get(name)
    score, version = pyiqa_metric(own, file, device)
    version += "" if file is None else f", {_digest(file)}"
    return Metric(name, title, higher, reference, described, version, smallest, score)


def _digest(file: Path) -> str:
    """Identify a file of weights."""
    return f"weights {file_sha256(file)[:8]}"


_MAKERS: dict[str, Callable[[str, Protocol, str, Mapping[str, Path]], Metric]] = {
    "psnr": _fidelity,
    "ssim": _fidelity,
    "lpips": _lpips,
    "lpips-alex": _lpips,
    "lpips-vgg": _lpips,
    "niqe": _niqe,
    "r50": _r50,
    "pi": _pyiqa,
    "clipiqa": _pyiqa,
    "musiq": _pyiqa,
    "maniqa": _pyiqa,
}
METRICS = tuple(_MAKERS)
