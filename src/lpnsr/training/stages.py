"""The four stages: what each trains, what it keeps frozen, and the image on which its losses are taken.

A stage maps a pair (hr, lr), both in [0, 1], to an ``Outcome``. The loop knows stages by this alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr.checkpoints import PartName
from lpnsr.diffusion import Schedule, q_sample
from lpnsr.networks import build
from lpnsr.restoration import Restorer
from lpnsr.training.parts import PART_OF
from lpnsr.training.recipe import Recipe, StageName, StageRecipe


@dataclass
class Outcome:
    """sr and hr: the images for the pixel, perceptual and adversarial losses; extra: further losses, weighted."""

    sr: Tensor
    hr: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)


class Stage(nn.Module):
    """The part in training and the frozen parts around it, as one restorer where there is a chain."""

    def __init__(self, name: StageName, recipe: Recipe, frozen: Mapping[PartName, nn.Module]) -> None:
        super().__init__()
        self.name = name
        self.recipe: StageRecipe = recipe.stages[name]
        self.trained: Any = build(recipe.networks[PART_OF[name]])
        for part in frozen.values():
            part.requires_grad_(False).eval()
        self.restorer: Restorer | None = None
        if frozen:
            parts = {**frozen, PART_OF[name]: self.trained}
            self.restorer = Restorer(Schedule.geometric(**recipe.chain), **parts)

    def forward(self, hr: Tensor, lr: Tensor) -> Outcome:
        step: dict[StageName, Callable[[Tensor, Tensor], Outcome]] = {
            "autoencoder": self._autoencoder,
            "upsampler": self._upsampler,
            "denoiser": self._denoiser,
            "noise-predictor": self._noise_predictor,
        }
        return step[self.name](hr, lr)

    def _autoencoder(self, hr: Tensor, lr: Tensor) -> Outcome:
        z = self.trained.encode(hr * 2 - 1)
        # The scale of z is free; holding its moments near 0 and 1 gives kappa a meaning.
        mean, std = z.float().mean((0, 2, 3)), z.float().std((0, 2, 3))
        moments = (mean.square() + (std - 1).square()).mean()
        return Outcome((self.trained.decode(z) + 1) / 2, hr, {"moments": 0.01 * moments})

    def _upsampler(self, hr: Tensor, lr: Tensor) -> Outcome:
        return Outcome(self.trained(lr), hr)

    def _start(self, restorer: Restorer, lr: Tensor) -> Tensor:
        """y_0 of a batch, each sample from bicubic or from the pre-upsampler by the recipe's odds."""
        odds = self.recipe.start_from
        smooth, sharp = (restorer.upsample(lr, kind) for kind in ("bicubic", "upsampler"))
        pick = torch.rand(len(lr), 1, 1, 1, device=lr.device) < odds.get("bicubic", 0.0) / sum(odds.values())
        return restorer.encode(torch.where(pick, smooth, sharp))

    def _denoiser(self, hr: Tensor, lr: Tensor) -> Outcome:
        assert self.restorer is not None
        with torch.no_grad():
            x0, y0 = self.restorer.encode(hr), self._start(self.restorer, lr)
        if float(torch.rand(())) < self.recipe.rollout:
            states, steps = self._last_states(self.restorer, lr, y0), [0] * len(hr)
        else:
            schedule = self.restorer.schedule
            steps = torch.randint(schedule.steps, (len(hr),)).tolist()
            noise = torch.randn_like(x0)
            states = torch.stack([q_sample(schedule, *sample) for sample in zip(x0, y0, steps, noise, strict=True)])
        scales = states.new_tensor([self.restorer.schedule.input_scale(t) for t in steps])[:, None, None, None]
        t = torch.tensor(steps, device=hr.device)
        prediction = self.trained(scales * states, t, self.restorer.condition(lr, y0))
        mse = F.mse_loss(prediction.float(), x0.float())
        seen = t < self.recipe.image_loss_below
        return Outcome(self.restorer.decode(prediction[seen]), hr[seen], {"latent": self.recipe.latent * mse})

    @torch.no_grad()
    def _last_states(self, restorer: Restorer, lr: Tensor, y0: Tensor) -> Tensor:
        """x_1 as the chain itself arrives at it. The forward process's x_1 holds almost all of the true x_0, which
        inference does not have."""
        seen: list[Tensor] = []
        restorer.sample(lr, y0, _random, callback=lambda state: seen.append(state.x_t))
        return seen[-1]

    def _noise_predictor(self, hr: Tensor, lr: Tensor) -> Outcome:
        assert self.restorer is not None
        with torch.no_grad():
            y0 = self._start(self.restorer, lr)
        return Outcome(self.restorer.decode(self.restorer.sample(lr, y0, _random)), hr)


def _random(step: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape)
