"""One loop for all stages: batches, losses and their adversaries, EMA, budgets. accelerate gives devices, precision and
processes.

What a step draws depends on (seed, step) alone, so a checkpoint needs no random states: see ``draws``.
"""

from __future__ import annotations

import copy
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lpnsr.errors import TrainingError
from lpnsr.networks import describe
from lpnsr.networks.perceptual import LPIPS
from lpnsr.training.data.draws import Draws, Share
from lpnsr.training.data.pairs import Batch, PairPool, PictureKind
from lpnsr.training.extras import Accelerator
from lpnsr.training.losses import LOSSES, Comparison, Loss
from lpnsr.training.losses.view import View
from lpnsr.training.processes import meet, reduce
from lpnsr.training.records import Records
from lpnsr.training.stages import Stage

log = logging.getLogger(__name__)
_BAD_STEPS_ALLOWED = 20
_ADVERSARY_BETAS = (0.5, 0.99)  # more momentum makes the two players circle each other
_BALANCE_LIMIT = 1e4


@dataclass(frozen=True)
class Budget:
    """Limits of one call, which ends at the recipe's last step or when ``stop`` is True. Intervals are in steps."""

    stop: Callable[[], bool] = lambda: False
    save_every: int = 250
    log_every: int = 25
    validate_every: int = 500


class Loop:
    """Trains ``stage``, which is called ``name``; everything that a resumed run needs is in ``state_dict``."""

    def __init__(
        self, name: str, stage: Stage, seed: int, lpips: LPIPS, accelerator: Accelerator, latent_channels: int = 3
    ) -> None:
        self.name, self.stage, self.lpips = name, stage, lpips
        self.seed, self.accelerator, self.device = seed, accelerator, accelerator.device
        self.recipe = stage.recipe
        self.share = Share(accelerator.process_index, accelerator.num_processes)
        rows = ((row.name, LOSSES[row.name](row, lpips, latent_channels)) for row in self.recipe.losses)
        self.losses: dict[str, Loss] = dict(rows)
        self.adversaries = {name: loss.adversary for name, loss in self.losses.items() if loss.adversary is not None}
        for net in (stage, lpips, *self.adversaries.values()):
            net.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.ema = copy.deepcopy(stage.trained).requires_grad_(False).eval()
        rates = stage.rates()
        groups = [
            {"params": [p for p in net.parameters() if p.requires_grad], "factor": rates.get(part, 1.0)}
            for part, net in stage.trained.items()
        ]
        self.optimiser = self._optimiser(groups, self.recipe.learning_rate, self.recipe.betas)
        self.opponents = {
            name: self._optimiser(net.parameters(), self.losses[name].recipe.learning_rate, _ADVERSARY_BETAS)
            for name, net in self.adversaries.items()
        }
        self.step = 0
        self.hours = 0.0
        self.bad_steps = 0
        """Number of steps in a row, up to now, that were not finite."""
        self.left_out = 0
        """Number of updates of this call that were not."""
        self.saved = -1
        self.origin: dict[str, Any] = {}
        """Origin of the stage, as its checkpoint notes it; see ``runs``."""
        self.sums: dict[str, float] = {}
        self.summed = 0

    def _optimiser(self, parameters: Any, rate: float, betas: tuple[float, float]) -> Any:
        return self.accelerator.prepare_optimizer(torch.optim.AdamW(parameters, rate, betas, weight_decay=0.0))

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to the final rate."""
        r = self.recipe
        if step < r.warmup:
            return r.learning_rate * (step + 1) / r.warmup
        done = min(1.0, (step - r.warmup) / max(1, r.steps - r.warmup))
        return r.final_learning_rate + (r.learning_rate - r.final_learning_rate) * (1 + math.cos(math.pi * done)) / 2

    def run(self, pool: PairPool, pictures: tuple[PictureKind, ...], records: Records, budget: Budget) -> None:
        """Train until the recipe's last step or the end of the budget; saves at the end."""
        waited = busy = 0.0
        timed = 0
        records.begin(self.step, self.recipe.steps)
        while self.step < self.recipe.steps and not self._all_agree(budget.stop()):
            begun = time.monotonic()
            batch = placed(
                pool.batch(self.seed, self.step, self.recipe.batch, self.recipe.patch, pictures, self.share),
                self.device,
            )
            waited += time.monotonic() - begun
            for name, value in self.train_step(batch).items():
                self.sums[name] = self.sums.get(name, 0.0) + value
            took = time.monotonic() - begun
            busy += took
            self.hours += took / 3600
            timed += 1
            self.step += 1
            self.summed += 1
            records.advance(self.step)
            last = self.step == self.recipe.steps
            if self.step % budget.log_every == 0 or last:
                timing = {"seconds": busy, "images_per_second": timed * self.recipe.batch / max(busy, 1e-9)}
                self._log(records, timing | {"waiting_for_data": waited / max(busy, 1e-9)})
                waited, busy, timed = 0.0, 0.0, 0
            if self.step % budget.validate_every == 0 or last:
                self._validate(records, pool, pictures)
            if self.step % budget.save_every == 0:
                self.save(records)
        if self.step != self.saved:
            self.save(records)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One update of the parts in training, and of the adversaries whose turn it is; the weighted losses."""
        active = {name: loss for name, loss in self.losses.items() if self.step >= loss.recipe.begin}
        rests = any(loss.rests(self.step) for loss in active.values())
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate(self.step) * group["factor"]
        draws = Draws(self.seed, self.step, self.share)
        with self.accelerator.autocast(), torch.set_grad_enabled(not rests):
            outcome = self.stage(batch, draws, self.step)
            seen = Comparison(outcome, self.lpips, View(draws.generator), self._average)
            losses = {name: loss.recipe.weight * loss(seen).float() for name, loss in active.items()}
            for name in (name for name, loss in active.items() if loss.balanced and not rests):
                others = torch.stack([value for other, value in losses.items() if other != name]).sum()
                losses[name] = losses[name] * self._balance(others, losses[name])
            total = torch.stack([*losses.values(), torch.zeros((), device=self.device)]).sum()
        report = {name: float(value.detach()) for name, value in losses.items()}
        if not rests:
            if not self._update(total, self.optimiser, self.stage.trained):
                return {}
            keep = min(self.recipe.ema, (1 + self.step) / (10 + self.step))
            with torch.no_grad():
                for kept, new in zip(self.ema.parameters(), self.stage.trained.parameters(), strict=True):
                    kept.lerp_(new, 1 - keep)
        for name in (name for name in self.adversaries if name in active and active[name].learns(self.step)):
            with self.accelerator.autocast():
                loss = active[name].teach(seen)
            if not self._update(loss, self.opponents[name], self.adversaries[name]):
                return {}
            report[f"{name} discriminator"] = float(loss.detach())
        return report

    def _balance(self, others: Tensor, one: Tensor) -> Tensor:
        """|gradient of the other losses| / |gradient of one| at the weights of the last convolution."""
        last = [p for p in self.stage.trained.parameters() if p.ndim == 4 and p.requires_grad][-1]
        grads = [torch.autograd.grad(loss, last, retain_graph=True)[0].float() for loss in (others, one)]
        both = reduce(self.accelerator, torch.stack(grads), "mean")
        return (both[0].norm() / (both[1].norm() + 1e-4)).clamp(0, _BALANCE_LIMIT)

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
        flat = reduce(self.accelerator, torch.cat(grads), "mean")
        for parameter, part in zip(parameters, torch.split(flat, [p.numel() for p in parameters]), strict=True):
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
        names = sorted(self.sums)  # the same in all processes
        sums = [self.sums[name] for name in names]
        values = reduce(self.accelerator, torch.tensor(sums, device=self.device), "mean")
        losses = dict(zip(names, (values / max(1, self.summed)).tolist(), strict=True))
        records.losses(self.step, losses, timing)
        self.sums, self.summed = {}, 0

    def _validate(self, records: Records, pool: PairPool, pictures: tuple[PictureKind, ...]) -> None:
        if self.accelerator.is_main_process:
            batches = (placed(batch, self.device) for batch in pool.held_out_batches(4, pictures))
            with self.accelerator.autocast():
                scored = records.validate(self.stage, dict(self.ema.items()), batches, self.lpips, self.step)
            if scored:
                records.keep(self.step, self.ema)

    def state_dict(self) -> dict[str, Any]:
        """Networks, EMA, optimisers, scaler, position, losses since the last line of the log, recipe, origin."""
        state: dict[str, Any] = {"stage": self.name, "step": self.step, "bad_steps": self.bad_steps}
        state["origin"], state["hours"] = self.origin, self.hours
        state["recipe"] = self.recipe.model_dump(mode="json", by_alias=True)
        state["networks"] = {part: describe(net) for part, net in self.stage.trained.items()}
        state |= {"sums": dict(self.sums), "summed": self.summed}
        state |= {"trained": self.stage.trained.state_dict(), "ema": self.ema.state_dict()}
        state["optimiser"] = self.optimiser.state_dict()
        if self.accelerator.scaler is not None:
            state["scaler"] = self.accelerator.scaler.state_dict()
        state["adversaries"] = {name: net.state_dict() for name, net in self.adversaries.items()}
        state["opponents"] = {name: optimiser.state_dict() for name, optimiser in self.opponents.items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict``."""
        self.step = self.saved = state["step"]
        self.bad_steps, self.hours = state["bad_steps"], state["hours"]
        self.sums, self.summed = state["sums"], state["summed"]
        self.stage.trained.load_state_dict(state["trained"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.accelerator.scaler is not None and "scaler" in state:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        for name, net in self.adversaries.items():
            if name in state["adversaries"]:  # a row that is new begins untrained
                net.load_state_dict(state["adversaries"][name])
                self.opponents[name].load_state_dict(state["opponents"][name])

    def save(self, records: Records) -> None:
        """Write the checkpoint, by the main process alone."""
        if self.accelerator.is_main_process:
            borne_out = 0 <= self.saved < self.step - self.bad_steps  # by a finite step since
            records.save(self.state_dict(), keep=borne_out)
        self.saved = self.step
        meet(self.accelerator)


def placed(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device, channels last."""
    tensors = {name: value for name, value in vars(batch).items() if value is not None}
    moved = {name: value.to(device) for name, value in tensors.items()}
    last = {n: v.contiguous(memory_format=torch.channels_last) if v.ndim == 4 else v for n, v in moved.items()}
    return replace(batch, **last)
