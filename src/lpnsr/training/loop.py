"""One loop for all stages: batches, two optimisers, EMA, budgets, checkpoints, logs."""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr.errors import TrainingError
from lpnsr.networks.discriminator import FeatureDiscriminator, PatchDiscriminator, UNetDiscriminator
from lpnsr.training.data import PairPool
from lpnsr.training.losses import View, hinge_discriminator, hinge_generator, lattice, spectrum
from lpnsr.training.lpips import LPIPS, TAP_CHANNELS
from lpnsr.training.recipe import GanRecipe
from lpnsr.training.stages import Stage

log = logging.getLogger(__name__)
_BAD_STEPS_ALLOWED = 20
_SEEN = TAP_CHANNELS[:5]  # the deeper taps repeat what these say
_D_BETAS = (0.5, 0.99)  # more momentum makes the two players circle each other


@dataclass(frozen=True)
class Budget:
    """How far one call goes: to the recipe's last step, or for ``minutes``; saved every ``save_every`` steps."""

    minutes: float | None = None
    save_every: int = 250
    log_every: int = 25


class Loop:
    """Trains ``stage`` on ``pool``; everything that a resumed run needs is in ``state_dict``."""

    def __init__(self, stage: Stage, pool: PairPool, folder: Path, seed: int, device: torch.device, bf16: bool) -> None:
        self.stage, self.pool, self.folder, self.seed, self.device = stage, pool, folder, seed, device
        self.recipe = stage.recipe
        self.bf16 = bf16
        _place(stage, device)
        self.lpips = LPIPS()
        _place(self.lpips, device)
        self.ema = copy.deepcopy(stage.trained).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            stage.trained.parameters(), self.recipe.learning_rate, self.recipe.betas, weight_decay=0.0
        )
        self.discriminator: nn.Module | None = None
        if self.recipe.gan:
            self.discriminator = make_discriminator(self.recipe.gan)
            _place(self.discriminator, device)
            self.d_optimiser = torch.optim.AdamW(
                self.discriminator.parameters(), self.recipe.gan.learning_rate, _D_BETAS, weight_decay=0.0
            )
        self.step = 0
        self.bad_steps = 0
        if self.recipe.gan and self.recipe.gan.begin_with:
            earlier = folder.parent / self.recipe.gan.begin_with / "checkpoint.pt"
            state = torch.load(earlier, map_location=device, weights_only=True)
            self.discriminator.load_state_dict(state["discriminator"])  # type: ignore[union-attr]

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, then a cosine to the final rate."""
        r = self.recipe
        if step < r.warmup:
            return r.learning_rate * (step + 1) / r.warmup
        done = min(1.0, (step - r.warmup) / max(1, r.steps - r.warmup))
        return r.final_learning_rate + (r.learning_rate - r.final_learning_rate) * (1 + math.cos(math.pi * done)) / 2

    def run(self, budget: Budget) -> None:
        """Train until the recipe's last step or the end of the budget; saves at the end."""
        deadline = time.monotonic() + budget.minutes * 60 if budget.minutes else math.inf
        sums: dict[str, float] = {}
        since, begun = 0, time.monotonic()
        for hr, lr in self.pool.batches(self.seed, self.step, self.recipe.batch, self.recipe.patch):
            if self.step >= self.recipe.steps or time.monotonic() > deadline:
                break
            for name, value in self._train_step(hr, lr).items():
                sums[name] = sums.get(name, 0.0) + value
            self.step += 1
            since += 1
            if self.step % budget.log_every == 0:
                elapsed = time.monotonic() - begun
                self._log({k: v / since for k, v in sums.items()}, elapsed / since)
                sums, since, begun = {}, 0, time.monotonic()
            if self.step % budget.save_every == 0:
                self.save()
        self.save()

    def _train_step(self, hr: Tensor, lr: Tensor) -> dict[str, float]:
        torch.manual_seed(hash((self.seed, self.step)) % 2**63)
        hr = hr.to(self.device).contiguous(memory_format=torch.channels_last)
        lr = lr.to(self.device).contiguous(memory_format=torch.channels_last)
        rate = self.learning_rate(self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        gan = self.recipe.gan if self.recipe.gan and self.step >= self.recipe.gan.start else None
        view, discriminator = View(), self.discriminator
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            outcome = self.stage(hr, lr)
            losses = dict(outcome.extra)
            losses["pixel"] = self.recipe.pixel * F.l1_loss(outcome.sr.float(), outcome.hr)
            if self.recipe.lattice:
                grids = [lattice(outcome.sr, outcome.hr, period) for period in (4, 8)]
                losses["lattice"] = self.recipe.lattice * torch.stack(grids).mean()
            if self.recipe.spectrum:
                losses["spectrum"] = self.recipe.spectrum * spectrum(outcome.sr, outcome.hr)
            fake, real = view(outcome.sr), view(outcome.hr)
            fake_taps, real_taps = self.lpips.taps(fake), self.lpips.taps(real)
            losses["lpips"] = self.recipe.lpips * self.lpips.distance(fake_taps, real_taps).mean()
            if gan and discriminator:
                discriminator.requires_grad_(False).eval()
                losses["gan"] = gan.weight * hinge_generator(discriminator(fake, fake_taps[: len(_SEEN)]))
            total = torch.stack([value.float() for value in losses.values()]).sum()
        if not self._step(total, self.optimiser, self.stage.trained):
            return {}
        for kept, new in zip(self.ema.parameters(), self.stage.trained.parameters(), strict=True):
            kept.lerp_(new.detach(), 1 - min(self.recipe.ema, (1 + self.step) / (10 + self.step)))
        report = {name: float(value.detach()) for name, value in losses.items()}
        if gan and discriminator:
            discriminator.requires_grad_(True).train()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                both = [torch.cat([r, f.detach()]) for r, f in zip([real, *real_taps], [fake, *fake_taps], strict=True)]
                logits = [map_.chunk(2) for map_ in discriminator(both[0], both[1 : len(_SEEN) + 1])]
                loss = hinge_discriminator([pair[0] for pair in logits], [pair[1] for pair in logits])
            self._step(loss, self.d_optimiser, discriminator)
            report["discriminator"] = float(loss.detach())
        return report

    def _step(self, loss: Tensor, optimiser: torch.optim.Optimizer, net: nn.Module) -> bool:
        """Backward, clip, update. A non-finite step is left out; too many in a row end the run."""
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(net.parameters(), self.recipe.clip)
        if not bool(torch.isfinite(norm)):
            self.bad_steps += 1
            if self.bad_steps > _BAD_STEPS_ALLOWED:
                raise TrainingError(
                    f"{self.bad_steps} non-finite steps in a row at step {self.step}: lower the learning rate"
                )
            return False
        self.bad_steps = 0
        optimiser.step()
        return True

    def _log(self, values: dict[str, float], seconds: float) -> None:
        row = {"step": self.step, "seconds_per_step": round(seconds, 4)} | {k: round(v, 5) for k, v in values.items()}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        log.info("%s", "  ".join(f"{k} {v}" for k, v in row.items()))

    def state_dict(self) -> dict[str, Any]:
        """Networks, EMA, optimisers and position."""
        state: dict[str, Any] = {"step": self.step, "bad_steps": self.bad_steps}
        state |= {"trained": self.stage.trained.state_dict(), "ema": self.ema.state_dict()}
        state["optimiser"] = self.optimiser.state_dict()
        if self.discriminator:
            state |= {
                "discriminator": self.discriminator.state_dict(),
                "d_optimiser": self.d_optimiser.state_dict(),
            }
        return state

    def save(self) -> None:
        """Write the checkpoint beside the old one, then rename it into place."""
        part = self.folder / "checkpoint.part"
        torch.save(self.state_dict(), part)
        part.replace(self.folder / "checkpoint.pt")

    def resume(self) -> None:
        """Go on from the folder's checkpoint, if there is one."""
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.step, self.bad_steps = state["step"], state["bad_steps"]
        self.stage.trained.load_state_dict(state["trained"])
        self.ema.load_state_dict(state["ema"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.discriminator and "discriminator" in state:
            self.discriminator.load_state_dict(state["discriminator"])
            self.d_optimiser.load_state_dict(state["d_optimiser"])


def _place(net: nn.Module, device: torch.device) -> None:
    net.to(device).to(memory_format=torch.channels_last)


def make_discriminator(recipe: GanRecipe) -> nn.Module:
    """The recipe's discriminator."""
    if recipe.kind == "feature":
        return FeatureDiscriminator(_SEEN, recipe.channels)
    return (UNetDiscriminator if recipe.kind == "unet" else PatchDiscriminator)(recipe.channels)
