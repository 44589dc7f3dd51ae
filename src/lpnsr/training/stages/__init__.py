"""The four stages: what each trains, what it keeps frozen, and the image on which its losses are taken.

A stage maps a pair (hr, lr), both in [0, 1], to an ``Outcome``. The loop knows stages by this alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lpnsr.checkpoints import PartName
from lpnsr.diffusion import Schedule, StepState, optimal_noise, q_sample
from lpnsr.networks import Guide, build
from lpnsr.training.data.draws import Draws
from lpnsr.training.recipe import PART_OF, Recipe, StageName, StageRecipe
from lpnsr.upscaling.restorer import Restorer

_TURNS: tuple[Callable[[Tensor], Tensor], ...] = (lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.mT)
"""Mirrorings of a square batch, each its own inverse."""


@dataclass
class Outcome:
    """What the losses of a step are taken on.

    sr, hr: images for the pixel, perceptual and adversarial losses, of all samples or some; share: how many, as a
    fraction of what the average process has; latent: predicted and true, where there are such; extra: further losses,
    weighted, which are means over the process's whole batch.
    """

    sr: Tensor
    hr: Tensor
    extra: dict[str, Tensor] = field(default_factory=dict)
    latent: tuple[Tensor, Tensor] | None = None
    share: float = 1.0


class Recomputed(nn.Module):
    """A network whose activations are computed again in the backward pass (gradient checkpointing)."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.config = net.config

    def forward(self, *inputs: Tensor) -> Any:
        return checkpoint(self.net, *inputs, use_reentrant=False) if torch.is_grad_enabled() else self.net(*inputs)


class Stage(nn.Module):
    """The part in training and the frozen parts around it, as one restorer where there is a chain."""

    def __init__(self, name: StageName, recipe: Recipe, frozen: Mapping[PartName, nn.Module]) -> None:
        super().__init__()
        self.name = name
        self.recipe: StageRecipe = recipe.stages[name]
        self.schedule = Schedule.geometric(**recipe.chain.model_dump())
        self.trained: Any = build(recipe.networks[PART_OF[name]])
        self.frozen = nn.ModuleDict({part: net.requires_grad_(False).eval() for part, net in frozen.items()})
        self.restorer = self._restorer(self.trained, self.recipe.checkpointing) if frozen else None
        self.average: Callable[[Tensor], Tensor] = lambda x: x
        """Mean over the processes, with the gradient of this one's part; the loop sets it."""

    def _restorer(self, net: nn.Module, recomputed: bool = False) -> Restorer:
        parts: dict[str, Any] = {**self.frozen, PART_OF[self.name]: net}
        if recomputed:
            parts |= {part: Recomputed(parts[part]) for part in ("denoiser", "noise_predictor") if part in parts}
        return Restorer(self.schedule, **parts)

    def forward(self, hr: Tensor, lr: Tensor, draws: Draws, step: int = 0) -> Outcome:
        """Of the share's batch, at the optimiser's ``step``."""
        outcome = self._step(hr, lr, draws, step)
        if self.recipe.symmetry:
            turn = _TURNS[step % len(_TURNS)]
            with torch.no_grad():
                mirrored = turn(self._step(turn(hr), turn(lr), draws.again(), step).sr)
            if len(mirrored):
                error = F.l1_loss(outcome.sr.float(), mirrored.float())
                outcome.extra["symmetry"] = self.recipe.symmetry * outcome.share * error
        return outcome

    def _step(self, hr: Tensor, lr: Tensor, draws: Draws, step: int) -> Outcome:
        if self.name == "autoencoder":
            return self._autoencoder(hr)
        if self.name == "upsampler":
            return Outcome(self.trained(lr), hr)
        if self.name == "denoiser":
            return self._denoiser(hr, lr, draws)
        return self._noise_predictor(hr, lr, draws, step)

    def preview(self, net: nn.Module, lr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        """The stage's images of a few pairs with ``net`` in the place of the part in training, the result last."""
        if self.name == "autoencoder":
            restored: Tensor = (net.decode(net.encode(hr * 2 - 1)) + 1) / 2  # type: ignore[operator]
            return {"autoencoder": restored}
        if self.name == "upsampler":
            return {"upsampler": net(lr)}
        restorer, states = self._restorer(net), list[Tensor]()
        draws = Draws(0, 0)
        image, guide = restorer.start(lr)
        restorer.sample(guide, _noise(draws, guide.y0), callback=lambda state: states.append(state.x0))
        steps = {f"step {count + 1}": restorer.finish(x0, image, guide) for count, x0 in enumerate(states)}
        return {"start": restorer.finish(guide.y0, image, guide)} | steps

    def _autoencoder(self, hr: Tensor) -> Outcome:
        z = self.trained.encode(hr * 2 - 1)
        if hasattr(self.trained, "quantize"):
            codebook = self.trained.quantize
            codes = codebook.embedding(codebook.nearest(z)).permute(0, 3, 1, 2)
            loss = F.mse_loss(codes, z.detach()) + self.recipe.commitment * F.mse_loss(z, codes.detach())
            extra = {"codebook": loss}
        else:
            # The scale of z is free; holding its moments near 0 and 1 gives kappa a meaning.
            mean, square = (self.average(m.mean((0, 2, 3))) for m in (z.float(), z.float().square()))
            std = (square - mean.square()).clamp_min(1e-6).sqrt()
            extra = {"moments": 0.01 * (mean.square() + (std - 1).square()).mean()}
        return Outcome((self.trained.decode(z) + 1) / 2, hr, extra)

    def _start(self, restorer: Restorer, lr: Tensor, draws: Draws) -> tuple[Tensor, Guide]:
        """The start of a batch, each sample from bicubic or from the pre-upsampler by the recipe's odds."""
        odds = self.recipe.start_from
        bicubic = odds.get("bicubic", 0.0) / sum(odds.values())
        pick = (draws.uniform(len(lr)) < bicubic).to(lr.device)[:, None, None, None]
        if not 0 < bicubic < 1:
            return restorer.start(lr, "bicubic" if bicubic else "upsampler")
        (image, guide), (plain, other) = restorer.start(lr), restorer.start(lr, "bicubic")
        mixed = replace(guide, y0=torch.where(pick, other.y0, guide.y0))
        return torch.where(pick, plain, image), mixed

    def _denoiser(self, hr: Tensor, lr: Tensor, draws: Draws) -> Outcome:
        assert self.restorer is not None
        with torch.no_grad():
            x0 = self.restorer.encode(hr)
            start, guide = self._start(self.restorer, lr, draws)
        if draws.chance() < self.recipe.rollout:
            states = self._last_states(self.restorer, guide, draws)
            t = everyone = torch.zeros(len(hr), dtype=torch.long)
        else:
            t, everyone = draws.integers(self.schedule.steps, len(hr))
            noise = draws.normal(x0)
            samples = zip(x0, guide.y0, (t + 1).tolist(), noise, strict=True)
            states = torch.stack([q_sample(self.schedule, *sample) for sample in samples])
        scales = states.new_tensor([self.schedule.input_scale(int(label) + 1) for label in t])[:, None, None, None]
        labels = t.to(hr.device)
        prediction = self.trained.denoise(scales * states, labels, guide, self.schedule)
        mse = ((prediction - x0).float() / self.trained.error_scale(x0, labels, self.schedule)).square().mean()
        below = self.recipe.image_loss_below
        seen = (t < below).to(hr.device)
        share = float((t < below).float().mean() / (everyone < below).float().mean().clamp_min(1e-9))
        predicted, true = prediction[seen], x0[seen]
        shown = Guide(lr[seen], guide.y0[seen])
        image = self.restorer.finish(predicted, start[seen], shown) if len(predicted) else hr[:0]
        return Outcome(image, hr[seen], {"latent": self.recipe.latent * mse}, (predicted, true), share)

    @torch.no_grad()
    def _last_states(self, restorer: Restorer, guide: Guide, draws: Draws) -> Tensor:
        """x_1 as the chain itself arrives at it. The forward process's x_1 holds almost all of the true x_0, which
        inference does not have."""
        seen: list[Tensor] = []
        restorer.sample(guide, _noise(draws, guide.y0), callback=lambda state: seen.append(state.x_t))
        return seen[-1]

    def _noise_predictor(self, hr: Tensor, lr: Tensor, draws: Draws, step: int) -> Outcome:
        assert self.restorer is not None
        with torch.no_grad():
            image, guide = self._start(self.restorer, lr, draws)
            true = self.restorer.encode(hr)
        draw = _noise(draws, guide.y0)
        if step < self.recipe.regression:
            return Outcome(hr[:0], hr[:0], {"regression": self._regression(self.restorer, true, guide, draw)})
        x0 = self.restorer.sample(guide, draw)
        return Outcome(self.restorer.finish(x0, image, guide), hr, latent=(x0, true))

    def _regression(
        self, restorer: Restorer, true: Tensor, guide: Guide, draw: Callable[[int, tuple[int, ...]], Tensor]
    ) -> Tensor:
        """-log p(z*) of the optimal noise (LPNSR, Eq. 9) under the predicted Gaussian, up to a constant, averaged over
        the intermediate steps of the chain as it runs."""
        states: list[StepState] = []
        with torch.no_grad():
            restorer.sample(guide, draw, callback=states.append)
        losses = []
        for state in states[:-1]:
            mean, log_variance = self.trained.predict(state, guide)
            target = optimal_noise(state.schedule, true, guide.y0, state.t, state.mean)
            error = (target.float() - mean.float()).square() * torch.exp(-log_variance.float())
            losses.append(0.5 * (error + log_variance.float()).mean())
        return torch.stack(losses).mean()


def _noise(draws: Draws, like: Tensor) -> Callable[[int, tuple[int, ...]], Tensor]:
    """The chain's draws for a batch of latents shaped as ``like``."""

    def draw(step: int, shape: tuple[int, ...]) -> Tensor:
        return draws.normal(like)

    return draw
