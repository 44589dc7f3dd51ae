"""One loop for all stages: batches, two optimisers, EMA, budgets. accelerate gives devices, precision and processes.

What a step draws depends on (seed, step) alone, so a checkpoint needs no random states: see ``draws``.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr.errors import TrainingError
from lpnsr.networks.discriminator import (
    FeatureDiscriminator,
    PatchDiscriminator,
    UNetDiscriminator,
    renew_spectral_norms,
)
from lpnsr.networks.perceptual import LPIPS
from lpnsr.training.data.draws import Draws, Share
from lpnsr.training.data.pairs import PairPool
from lpnsr.training.extras import Accelerator
from lpnsr.training.losses import View, excess, hinge_discriminator, hinge_generator, lattice
from lpnsr.training.processes import meet, reduce, union
from lpnsr.training.recipe import GanRecipe
from lpnsr.training.records import Records
from lpnsr.training.stages import Outcome, Stage

log = logging.getLogger(__name__)
_BAD_STEPS_ALLOWED = 20
_TAPS_SEEN = 5  # the deeper taps repeat what these say
_D_BETAS = (0.5, 0.99)  # more momentum makes the two players circle each other
_ADAPTIVE_LIMIT = 1e4


@dataclass(frozen=True)
class Budget:
    """How far one call goes: to the recipe's last step, or until ``stop`` says so; what is done every so many steps."""

    stop: Callable[[], bool] = lambda: False
    save_every: int = 250
    log_every: int = 25
    validate_every: int = 500


class Loop:
    """Trains ``stage``; everything that a resumed run needs is in ``state_dict``."""

    def __init__(self, stage: Stage, seed: int, lpips: LPIPS, accelerator: Accelerator) -> None:
        self.stage, self.lpips = stage, lpips
        self.seed, self.accelerator, self.device = seed, accelerator, accelerator.device
        self.recipe = stage.recipe
        self.share = Share(accelerator.process_index, accelerator.num_processes)
        stage.average = self._average
        for net in (stage, self.lpips):
            _place(net, self.device)
        self.ema = copy.deepcopy(stage.trained).requires_grad_(False).eval()
        self.optimiser: Any = accelerator.prepare_optimizer(
            torch.optim.AdamW(
                stage.trained.parameters(), self.recipe.learning_rate, self.recipe.betas, weight_decay=0.0
            )
        )
        self.discriminator: Any = None
        if self.recipe.gan:
            latent = getattr(stage.frozen["autoencoder"], "latent_channels", 3) if self.recipe.gan.on == "latent" else 3
            self.discriminator = make_discriminator(self.recipe.gan, self.lpips, latent)
            _place(self.discriminator, self.device)
            self.d_optimiser: Any = accelerator.prepare_optimizer(
                torch.optim.AdamW(
                    self.discriminator.parameters(), self.recipe.gan.learning_rate, _D_BETAS, weight_decay=0.0
                )
            )
        self.step = 0
        self.bad_steps = 0
        """How many in a row, up to now, were not finite."""
        self.left_out = 0
        """How many updates of this call were not."""
        self.saved = -1
        self.origin: dict[str, Any] = {}
        """What a checkpoint tells of where its stage comes from; see ``runs``."""
        self.sums: dict[str, float] = {}
        self.summed = 0

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to the final rate."""
        r = self.recipe
        if step < r.warmup:
            return r.learning_rate * (step + 1) / r.warmup
        done = min(1.0, (step - r.warmup) / max(1, r.steps - r.warmup))
        return r.final_learning_rate + (r.learning_rate - r.final_learning_rate) * (1 + math.cos(math.pi * done)) / 2

    def run(self, pool: PairPool, records: Records, budget: Budget) -> None:
        """Train until the recipe's last step or the end of the budget; saves at the end."""
        waited = busy = 0.0
        timed = 0
        records.begin(self.step, self.recipe.steps)
        while self.step < self.recipe.steps and not self._all_agree(budget.stop()):
            begun = time.monotonic()
            pair = pool.batch(self.seed, self.step, self.recipe.batch, self.recipe.patch, self.share)
            hr, lr = (x.to(self.device).contiguous(memory_format=torch.channels_last) for x in pair)
            waited += time.monotonic() - begun
            for name, value in self.train_step(hr, lr).items():
                self.sums[name] = self.sums.get(name, 0.0) + value
            busy += time.monotonic() - begun
            timed += 1
            self.step += 1
            self.summed += 1
            records.advance(self.step)
            if self.step % budget.log_every == 0:
                timing = {"seconds": busy, "images_per_second": timed * self.recipe.batch / max(busy, 1e-9)}
                self._log(records, timing | {"waiting_for_data": waited / max(busy, 1e-9)})
                waited, busy, timed = 0.0, 0.0, 0
            if self.step % budget.validate_every == 0 or self.step == self.recipe.steps:
                self._validate(records)
            if self.step % budget.save_every == 0:
                self.save(records)
        if self.step != self.saved:
            self.save(records)

    def train_step(self, hr: Tensor, lr: Tensor) -> dict[str, float]:
        """One update of the stage's part and, where there is one, of its discriminator; the weighted losses."""
        gan = self.recipe.gan if self.recipe.gan and self.step >= self.recipe.gan.start else None
        generator_turn = not (gan and gan.alternate and self.step % 2)
        rate = self.learning_rate(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        draws = Draws(self.seed, self.step, self.share)
        with self.accelerator.autocast(), torch.set_grad_enabled(generator_turn):
            outcome = self.stage(hr, lr, draws, self.step)
            judged = self._judged(outcome, View(draws.generator))
            losses = self._losses(outcome, judged, gan)
            total = torch.stack([value.float() for value in losses.values()]).sum()
        report = {name: float(value.detach()) for name, value in losses.items()}
        if generator_turn:
            if not self._update(total, self.optimiser, self.stage.trained):
                return {}
            keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
            for kept, new in zip(self.ema.parameters(), self.stage.trained.parameters(), strict=True):
                kept.lerp_(new.detach(), 1 - keep)
        if gan and not (gan.alternate and generator_turn):
            loss, finite = self._train_discriminator(outcome, judged)
            if not finite:
                return {}
            report["discriminator"] = loss
        return report

    def _judged(self, outcome: Outcome, view: View) -> tuple[list[Tensor], list[Tensor]] | None:
        """(fake, real), each an image and what LPIPS's network makes of it; None if the step has no image."""
        if not len(outcome.sr):
            return None
        fake, real = view(outcome.sr), view(outcome.hr)
        return [fake, *self.lpips.taps(fake)], [real, *self.lpips.taps(real)]

    def _contested(
        self, outcome: Outcome, judged: tuple[list[Tensor], list[Tensor]]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """(fake, real) as the discriminator is given them: an image and features of it, or a latent."""
        if self.recipe.gan and self.recipe.gan.on == "latent":
            assert outcome.latent is not None
            return [outcome.latent[0].float()], [outcome.latent[1].float()]
        return judged[0][: _TAPS_SEEN + 1], judged[1][: _TAPS_SEEN + 1]

    def _losses(
        self, outcome: Outcome, judged: tuple[list[Tensor], list[Tensor]] | None, gan: GanRecipe | None
    ) -> dict[str, Tensor]:
        losses = dict(outcome.extra)
        balanced = gan is not None and gan.adaptive and torch.is_grad_enabled()
        if judged is None:
            if balanced:
                self._balance(None, None, 0.0)  # the other processes wait for it
            return losses
        r, fake, real = self.recipe, *judged
        image = {"pixel": r.pixel * F.l1_loss(outcome.sr.float(), outcome.hr)}
        image["lpips"] = r.lpips * self.lpips.distance(fake[1:], real[1:]).mean()
        if r.lattice:
            grids = [lattice(outcome.sr, outcome.hr, period) for period in (4, 8)]
            image["lattice"] = r.lattice * torch.stack(grids).mean()
        if r.excess:
            image["excess"] = r.excess * excess(outcome.sr, outcome.hr)
        if gan:
            self.discriminator.requires_grad_(False).eval()
            contested, _ = self._contested(outcome, judged)
            image["gan"] = gan.weight * hinge_generator(self.discriminator(contested[0], contested[1:]))
            if balanced:
                others = torch.stack(list(image.values())[:-1]).sum()
                image["gan"] = image["gan"] * self._balance(others, image["gan"], outcome.share)
        return losses | {name: outcome.share * value for name, value in image.items()}

    def _balance(self, others: Tensor | None, gan: Tensor | None, share: float) -> Tensor:
        """|gradient of the other losses| / |gradient of the GAN's| of the whole batch, at the weights of the last
        convolution. None from a process whose share has no images."""
        last = [p for p in self.stage.trained.parameters() if p.ndim == 4][-1]
        grads = torch.zeros(2, *last.shape, device=self.device)
        for place, loss in enumerate((others, gan)):
            if loss is not None:
                grads[place] = share * torch.autograd.grad(loss, last, retain_graph=True)[0].float()
        grads = reduce(self.accelerator, grads, "mean")
        return (grads[0].norm() / (grads[1].norm() + 1e-4)).clamp(0, _ADAPTIVE_LIMIT)

    def _train_discriminator(
        self, outcome: Outcome, judged: tuple[list[Tensor], list[Tensor]] | None
    ) -> tuple[float, bool]:
        self.discriminator.requires_grad_(True).train()
        loss = torch.zeros((), device=self.device)
        if judged is not None:
            with self.accelerator.autocast():
                fake, real = self._contested(outcome, judged)
                both = [torch.cat(pair).detach() for pair in zip(real, fake, strict=True)]
                logits = [map_.chunk(2) for map_ in self.discriminator(both[0], both[1:])]
                loss = hinge_discriminator([pair[0] for pair in logits], [pair[1] for pair in logits])
        else:
            renew_spectral_norms(self.discriminator)  # as in the processes whose share has images
        finite = self._update(outcome.share * loss, self.d_optimiser, self.discriminator)
        return float(loss.detach()) * outcome.share, finite

    def _update(self, loss: Tensor, optimiser: Any, net: nn.Module) -> bool:
        """Backward, clip, update. A non-finite step is left out; too many in a row end the run."""
        optimiser.zero_grad(set_to_none=True)
        if loss.requires_grad:
            self.accelerator.backward(loss)
        if self.accelerator.scaler is not None:
            self.accelerator.unscale_gradients(optimiser)
        self._average_gradients(net)
        norm = nn.utils.clip_grad_norm_(net.parameters(), self.recipe.clip)
        finite = bool(torch.isfinite(norm))
        if finite or self.accelerator.scaler is not None:  # the scaler leaves the step out itself, and learns from it
            optimiser.step()
        self.bad_steps = 0 if finite else self.bad_steps + 1
        if self.bad_steps > _BAD_STEPS_ALLOWED:
            raise TrainingError(
                f"{self.bad_steps} non-finite steps in a row, up to step {self.step}: lower the learning rate of the "
                "recipe. To go on from before, put the stage's checkpoint.before.pt, which is of before them if it is "
                "there, or one of yours, in the place of its checkpoint.pt"
            )
        if not finite:
            self.left_out += 1
            self.sums["non-finite"] = self.sums.get("non-finite", 0.0) + 1
        return finite

    def _average_gradients(self, net: nn.Module) -> None:
        if self.share.processes == 1:
            return
        parameters = [p for p in net.parameters() if p.requires_grad]
        grads = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
        some = grads[0].new_tensor([float(any(p.grad is not None for p in parameters))])
        flat = reduce(self.accelerator, torch.cat([*grads, some]), "mean")
        if not flat[-1]:
            return  # nobody has a loss: no gradient is not a gradient of zero, by which momentum would move weights
        sizes = [p.numel() for p in parameters]
        for parameter, part in zip(parameters, torch.split(flat[:-1], sizes), strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def _average(self, value: Tensor) -> Tensor:
        if self.share.processes == 1:
            return value
        return value + (reduce(self.accelerator, value.detach().clone(), "mean") - value.detach())

    def _all_agree(self, stop: bool) -> bool:
        """Whether any process wants to stop, so that all do at the same step."""
        if self.share.processes == 1:
            return stop
        return bool(reduce(self.accelerator, torch.tensor(float(stop), device=self.device), "sum") > 0)

    def _log(self, records: Records, timing: dict[str, float]) -> None:
        names = union(self.accelerator, set(self.sums))  # a process whose share has no images lacks some
        sums = [self.sums.get(name, 0.0) for name in names]
        values = reduce(self.accelerator, torch.tensor(sums, device=self.device), "mean")
        losses = dict(zip(names, (values / max(1, self.summed)).tolist(), strict=True))
        records.losses(self.step, losses, timing)
        self.sums, self.summed = {}, 0

    def _validate(self, records: Records) -> None:
        if self.accelerator.is_main_process:
            with self.accelerator.autocast():
                scored = records.validate(self.stage, self.ema, self.lpips, self.step)
            if scored:
                records.keep(self.step, self.ema)

    def state_dict(self) -> dict[str, Any]:
        """Networks, EMA, optimisers, scaler, position, losses since the last line of the log, recipe, origin."""
        state: dict[str, Any] = {"stage": self.stage.name, "step": self.step, "bad_steps": self.bad_steps}
        state["origin"] = self.origin
        state["recipe"] = self.recipe.model_dump(mode="json")
        state |= {"sums": dict(self.sums), "summed": self.summed}
        state |= {"trained": self.stage.trained.state_dict(), "ema": self.ema.state_dict()}
        state["optimiser"] = self.optimiser.state_dict()
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        if self.discriminator is not None:
            state["discriminator"] = self.discriminator.state_dict()
            state["d_optimiser"] = self.d_optimiser.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict``."""
        self.step = self.saved = state["step"]
        self.bad_steps = state["bad_steps"]
        self.sums, self.summed = state["sums"], state["summed"]
        self.stage.trained.load_state_dict(state["trained"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.accelerator.scaler is not None and "scaler" in state:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.discriminator is not None:
            self.discriminator.load_state_dict(state["discriminator"])
            self.d_optimiser.load_state_dict(state["d_optimiser"])

    def save(self, records: Records) -> None:
        """Write the checkpoint, by the main process alone."""
        if self.accelerator.is_main_process:
            borne_out = 0 <= self.saved < self.step - self.bad_steps  # by a finite step since
            records.save(self.state_dict(), keep=borne_out)
        self.saved = self.step
        meet(self.accelerator)


def _place(net: nn.Module, device: torch.device) -> None:
    net.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def make_discriminator(recipe: GanRecipe, lpips: LPIPS, in_channels: int = 3) -> nn.Module:
    """The recipe's discriminator."""
    if recipe.kind == "feature":
        return FeatureDiscriminator(lpips.channels[:_TAPS_SEEN], recipe.channels)
    return (UNetDiscriminator if recipe.kind == "unet" else PatchDiscriminator)(recipe.channels, in_channels)
