"""``Model``: a restorer that upscales one image under a ``Setting``, with the states of its chain."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, Literal, TypedDict, TypeVar, get_args

import torch
from torch import Tensor, nn

from lpnsr.checkpoints import PARTS
from lpnsr.diffusion import MixedNoise, NoiseField, NoiseSource, OracleNoise, StepState
from lpnsr.errors import ConfigError, LpnsrError
from lpnsr.evaluation.roofline import synchronize
from lpnsr.imaging import wavelet_colour_fix
from lpnsr.networks import BicubicUpsampler, Guide, OtherStart, Upsampler, chain_flops, describe
from lpnsr.networks.placement import memory_format
from lpnsr.system.hashes import tensors_sha256
from lpnsr.upscaling.restorer import Draw, NoiseRecipe, Restorer, StartKind, fidelity_controls
from lpnsr.upscaling.upscaler import Upscaler

Noise = Literal["gaussian", "predicted", "mode", "oracle"]


@dataclass(frozen=True)
class Setting:
    """One way of upscaling. start: of the chain.

    steps: 0 (the start alone) to the schedule's; fewer enter it late, as in the released code.

    noise: of the steps t = T .. 2, with exceptions ``at``: pairs of (t, noise). fidelity and seed as in ``Upscaler``.
    Raises ConfigError for other values.
    """

    start: StartKind = "upsampler"
    steps: int = 4
    noise: Noise = "predicted"
    at: tuple[tuple[int, Noise], ...] = ()
    fidelity: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for noise in (self.noise, *(noise for _, noise in self.at)):
            if noise not in get_args(Noise):
                raise ConfigError(f"noise = {noise!r}: choose {', '.join(get_args(Noise))}")
        for t, _ in self.at:
            if not 2 <= t <= self.steps:
                raise ConfigError(f"step t = {t} takes no noise in {self.steps} steps; allowed: 2 to {self.steps}")

    @property
    def by_step(self) -> dict[int, Noise]:
        """The noise of every step that takes one, by t."""
        return {t: dict(self.at).get(t, self.noise) for t in range(self.steps, 1, -1)}

    @property
    def needs_predictor(self) -> bool:
        """Whether the noise predictor is asked at any step."""
        return any(noise in ("predicted", "mode") for noise in self.by_step.values())

    def identity(self) -> dict[str, object]:
        """Return all that decides the result, and nothing else: equal for settings that cannot differ.

        A chain of one step takes no noise; a temperature of 0 is the mode; Gaussian noise has no temperature; without
        steps nothing but the start counts.
        """
        if self.steps == 0:
            return {"start": self.start, "steps": 0}
        temperature, mean_weight = fidelity_controls(self.fidelity)

        def named(noise: Noise) -> str:
            if noise != "predicted":
                return noise
            return "mode" if temperature == 0 else f"predicted at {temperature:g}"

        return {
            "start": self.start,
            "steps": self.steps,
            "noise": {str(t): named(noise) for t, noise in self.by_step.items()},
            "mean_weight": mean_weight,
            "seed": self.seed,
        }

    def source(self, restorer: Restorer, guide: Guide, truth: Callable[[], Tensor]) -> NoiseSource:
        """Make the noise source of the chain. ``truth`` gives the latent of the HR image, which oracle noise needs."""
        temperature = fidelity_controls(self.fidelity)[0]

        def one(noise: Noise) -> NoiseSource:
            if noise == "oracle":
                return OracleNoise(truth(), guide.y0)
            return restorer.noise_source(noise, guide, temperature)

        return MixedNoise({t: one(noise) for t, noise in self.at}, one(self.noise))


Value = TypeVar("Value")


class Last(Generic[Value]):
    """A function of a tensor that keeps its last result for calls with an equal tensor."""

    def __init__(self, compute: Callable[[Tensor], Value]) -> None:
        self._compute = compute
        self._known: tuple[Tensor, Value] | None = None

    def __call__(self, x: Tensor) -> Value:
        if self._known is None or not torch.equal(self._known[0], x):
            self._known = x, self._compute(x)
        return self._known[1]


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Measure the seconds of one call, until the device has finished."""
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def _described(part: nn.Module) -> object:
    return [describe(net) for net in (part.image, part.features)] if isinstance(part, OtherStart) else describe(part)


class _Controls(TypedDict):
    draw: Draw
    steps: int
    noise: NoiseRecipe
    mean_weight: float


@dataclass(frozen=True)
class Restoration:
    """An upscaled image and how it came about. Images are (3, H, W) in [0, 1], latents (1, c, h, w).

    sr is rounded to 8 bits, as the file would be. truth: gives the latent of the HR image. y0: the latent of the start;
    truth and y0 are missing where no model ran. states: of the steps, first to last.
    """

    lr: Tensor
    hr: Tensor
    sr: Tensor
    truth: Callable[[], Tensor] | None = None
    y0: Tensor | None = None
    states: tuple[StepState, ...] = ()


@dataclass(frozen=True)
class Model:
    """A model under a name, in float32 by PyTorch, so that numbers do not depend on the machine's habits.

    trained_with_lpips: see ``ModelSpec``.
    """

    name: str
    restorer: Restorer
    device: torch.device
    trained_with_lpips: bool = False

    @classmethod
    def load(cls, model: str, device: str = "auto") -> Model:
        """Load a model as ``Upscaler.from_pretrained`` does."""
        upscaler = Upscaler.from_pretrained(model, device=device, dtype="float32", runtime="torch")
        return cls(upscaler.spec.name, upscaler.restorer, upscaler.device, upscaler.spec.trained_with_lpips)

    def starting_from(self, name: str, upsampler: nn.Module | None) -> Model:
        """Put the same networks behind another pre-upsampler; features still come from the model's own."""
        parts = self.restorer
        if upsampler is not None and parts.upsampler is not None and parts.denoiser.feature_channels:
            upsampler = OtherStart.of(upsampler, parts.upsampler)
        other = Restorer(parts.schedule, parts.autoencoder, parts.denoiser, upsampler, parts.noise_predictor)
        return Model(name, other.eval().requires_grad_(False).to(self.device), self.device)

    @property
    def steps(self) -> int:
        """T, the steps of the schedule."""
        return self.restorer.schedule.steps

    @cached_property
    def digest(self) -> str:
        """Hash of the weights, the configurations of the networks and the schedule.

        Settings of tiles and fidelity have no part in it: a run has no tiles and its own fidelity.
        """
        parts = {name: getattr(self.restorer, name) for name in PARTS}
        described = {name: _described(part) for name, part in parts.items() if part is not None}
        made_by = f"{self.restorer.schedule} {json.dumps(described, sort_keys=True)}"
        return tensors_sha256(self.restorer.state_dict(), made_by)[:32]

    def check(self, setting: Setting) -> None:
        """Raise ConfigError if the model lacks a part that ``setting`` needs."""
        if setting.needs_predictor and self.restorer.noise_predictor is None:
            raise ConfigError(f"the model {self.name} has no noise predictor, and this experiment is about one")
        if setting.start == "upsampler" and self.restorer.upsampler is None:
            raise ConfigError(f"the model {self.name} has no pre-upsampler, and this experiment starts from one")
        if setting.steps > self.steps:
            raise ConfigError(f"{setting.steps} steps: the model {self.name} has {self.steps}")

    @torch.inference_mode()
    def restore(self, lr: Tensor, hr: Tensor, setting: Setting) -> Restoration:
        """Upscale ``lr`` whole, with the wavelet colour fix, as ``Upscaler`` does by default.

        The pre-upsampler runs once for an image: its result is kept until another image comes.
        """
        self.check(setting)
        image, guide = self.restorer.start(self._input(lr), setting.start, self._upsample)
        states: list[StepState] = []
        if setting.steps == 0:
            sr = image.clamp(0, 1)
        else:
            controls = self._controls(setting, lambda: self._truth(hr))
            sr = self.restorer.refine(image, guide, **controls, callback=states.append)
        return Restoration(lr, hr, self.finish(sr, lr), lambda: self._truth(hr), guide.y0, tuple(states))

    @torch.inference_mode()
    def seconds(self, lr: Tensor, hr: Tensor, setting: Setting) -> float:
        """Time ``setting`` on ``lr``, the pre-upsampler included and the colour fix not."""
        self.check(setting)
        controls = self._controls(setting, lambda: self.encode(hr))
        return timed(lambda: self.restorer.restore(self._input(lr), start=setting.start, **controls), self.device)

    def mflop(self, setting: Setting) -> float | None:
        """Count the MFLOP for an LR pixel of the parts that ``setting`` uses; None if a part cannot be counted."""
        parts = {str(name): net for name in PARTS if (net := getattr(self.restorer, name)) is not None}
        if setting.start == "bicubic" and not (setting.steps and self.restorer.denoiser.feature_channels):
            parts.pop("upsampler", None)
        if not setting.needs_predictor:
            parts.pop("noise_predictor", None)
        flops = chain_flops(parts, setting.steps)
        return None if flops is None else flops / 1e6

    @torch.inference_mode()
    def ceiling(self, lr: Tensor, hr: Tensor) -> Tensor:
        """Make the result of a chain that ends at the true latent: the most that a chain of this model can reach."""
        image, guide = self.restorer.start(self._input(lr), upsample=self._upsample)
        return self.finish(self.restorer.finish(self._truth(hr), image, guide).clamp(0, 1), lr)

    def _input(self, lr: Tensor) -> Tensor:
        return lr[None].to(self.device).contiguous(memory_format=memory_format(self.device, torch.float32))

    def _controls(self, setting: Setting, truth: Callable[[], Tensor]) -> _Controls:
        _, mean_weight = fidelity_controls(setting.fidelity)
        return {
            "draw": NoiseField(setting.seed).draw(),
            "steps": setting.steps,
            "noise": lambda guide: setting.source(self.restorer, guide, truth),
            "mean_weight": mean_weight,
        }

    @cached_property
    def _upsample(self) -> Last[tuple[Tensor, Tensor | None]]:
        net: Upsampler = self.restorer.upsampler or self.restorer.bicubic  # type: ignore[assignment]
        return Last(net.upsample)

    @cached_property
    def _truth(self) -> Last[Tensor]:
        return Last(self.encode)

    @torch.inference_mode()
    def encode(self, image: Tensor) -> Tensor:
        """Encode an image (3, 4h, 4w) in [0, 1] to its latent (1, c, h, w)."""
        return self.restorer.encode(image[None].to(self.device)).float()

    def finish(self, sr: Tensor, lr: Tensor) -> Tensor:
        """Fix the colours and round: (1, 3, 4h, 4w) -> (3, 4h, 4w). Raises LpnsrError unless all values are finite."""
        sr = sr.float().cpu()
        if not bool(torch.isfinite(sr).all()):
            raise LpnsrError(f"the output of {self.name} is not finite: its weights are damaged")
        fixed = wavelet_colour_fix(sr, BicubicUpsampler()(lr[None]))
        return (fixed[0].clamp(0, 1) * 255).round() / 255
