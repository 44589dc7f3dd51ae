"""``Model``: a restorer that upscales one image under a ``Setting``, with all that an experiment may look at."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property

import torch
from torch import Tensor, nn

from lpnsr.checkpoints import PARTS
from lpnsr.diffusion import NoiseField, NoiseSource, StepState
from lpnsr.errors import ConfigError, LpnsrError
from lpnsr.imaging import wavelet_colour_fix
from lpnsr.networks import BicubicUpsampler, Guide, describe
from lpnsr.networks.placement import memory_format
from lpnsr.reproduce.setting import Setting
from lpnsr.system.hashes import tensors_sha256
from lpnsr.upscaling.restorer import Restorer
from lpnsr.upscaling.upscaler import Upscaler, fidelity_controls


@dataclass(frozen=True)
class Run:
    """An upscaled image and how it came about. Images are (3, H, W) in [0, 1], latents (1, c, h, w).

    sr is rounded to 8 bits, as the file would be. truth: gives the latent of the HR image. y0 and the states of the
    steps, first to last, are missing where there was no chain; seconds where nothing was computed here.
    """

    lr: Tensor
    hr: Tensor
    sr: Tensor
    seconds: float | None = None
    truth: Callable[[], Tensor] | None = None
    y0: Tensor | None = None
    states: tuple[StepState, ...] = ()


@dataclass(frozen=True)
class Model:
    """A model under a name, in float32, so that numbers do not depend on the device's habits."""

    name: str
    restorer: Restorer
    device: torch.device
    _warm: list[bool] = field(default_factory=list, compare=False)

    @classmethod
    def load(cls, model: str, device: str = "auto") -> Model:
        """What ``Upscaler.from_pretrained`` finds under ``model``."""
        upscaler = Upscaler.from_pretrained(model, device=device, dtype="float32")
        return cls(upscaler.spec.name, upscaler.restorer, upscaler.device)

    def starting_from(self, name: str, upsampler: nn.Module | None) -> Model:
        """The same networks behind another pre-upsampler."""
        parts = self.restorer
        other = Restorer(parts.schedule, parts.autoencoder, parts.denoiser, upsampler, parts.noise_predictor)
        return Model(name, other.eval().requires_grad_(False).to(self.device), self.device)

    @property
    def steps(self) -> int:
        """T, the steps of the schedule."""
        return self.restorer.schedule.steps

    @cached_property
    def digest(self) -> str:
        """Of the weights, the networks' configuration and the schedule: the version of the model, whatever its card
        says. What its folder says of tiles and fidelity has no part in it: a run has no tiles and its own fidelity."""
        parts = {name: getattr(self.restorer, name) for name in PARTS}
        described = {name: describe(part) for name, part in parts.items() if part is not None}
        made_by = f"{self.restorer.schedule} {json.dumps(described, sort_keys=True)}"
        return tensors_sha256(self.restorer.state_dict(), made_by)[:32]

    def check(self, setting: Setting) -> None:
        """Raise ConfigError if the model has not what ``setting`` needs: it would be silently another setting."""
        if setting.needs_predictor and self.restorer.noise_predictor is None:
            raise ConfigError(f"the model {self.name} has no noise predictor, and this experiment is about one")
        if setting.start == "upsampler" and self.restorer.upsampler is None:
            raise ConfigError(f"the model {self.name} has no pre-upsampler, and this experiment starts from one")
        if setting.steps > self.steps:
            raise ConfigError(f"{setting.steps} steps: the model {self.name} has {self.steps}")

    @torch.inference_mode()
    def run(self, lr: Tensor, hr: Tensor, setting: Setting) -> Run:
        """Upscale ``lr`` whole, with the wavelet colour fix, as ``Upscaler`` does by default. The first run of a
        process is done twice: libraries set themselves up in it, and its time says nothing."""
        self.check(setting)
        if not self._warm:
            self._warm.append(True)
            self.run(lr, hr, setting)
        image = lr[None].to(self.device).contiguous(memory_format=memory_format(self.device, torch.float32))
        truth = cache(lambda: self.encode(hr))
        starts: list[Tensor] = []
        states: list[StepState] = []

        def source(guide: Guide) -> NoiseSource:
            starts.append(guide.y0)
            return setting.source(self.restorer, guide, truth)

        _, mean_share, bicubic_share = fidelity_controls(setting.fidelity)
        self._wait()
        began = time.perf_counter()
        sr = self.restorer.restore(
            image,
            NoiseField(setting.seed).draw(),
            steps=setting.steps,
            noise=source,
            mean_share=mean_share,
            bicubic_share=bicubic_share,
            start=setting.start,
            callback=states.append,
        )
        self._wait()
        seconds = time.perf_counter() - began
        return Run(lr, hr, self.finish(sr, lr), seconds, truth, starts[0] if starts else None, tuple(states))

    @torch.inference_mode()
    def encode(self, image: Tensor) -> Tensor:
        """The latent (1, c, h, w) of an image (3, 4h, 4w) in [0, 1]."""
        return self.restorer.encode(image[None].to(self.device)).float()

    def finish(self, sr: Tensor, lr: Tensor) -> Tensor:
        """Colour fix and rounding: (1, 3, 4h, 4w) -> (3, 4h, 4w). Raises LpnsrError for values that are not finite."""
        sr = sr.float().cpu()
        if not bool(torch.isfinite(sr).all()):
            raise LpnsrError(f"the output of {self.name} is not finite: its weights are damaged")
        fixed = wavelet_colour_fix(sr, BicubicUpsampler()(lr[None]))
        return (fixed[0].clamp(0, 1) * 255).round() / 255

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
