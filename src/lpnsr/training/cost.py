"""Cost of a stage before it is trained: parameters, arithmetic, memory and time of a step on this machine."""

from __future__ import annotations

import time
from collections.abc import Collection
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from lpnsr.errors import TrainingError
from lpnsr.system.memory import peak_memory
from lpnsr.training.data.crew import make_crew
from lpnsr.training.data.pairs import Batch
from lpnsr.training.loop import placed
from lpnsr.training.parts import build_part
from lpnsr.training.recipe import Recipe
from lpnsr.training.runs import Precision, make_accelerator, make_loop, make_stage
from lpnsr.training.stages import STAGES
from lpnsr.upscaling.memory import is_out_of_memory

_MEASURED = 2


@dataclass(frozen=True)
class Cost:
    """Of one stage. parameters: of the parts in training; flop: of a whole step; bytes: the process's peak."""

    stage: str
    steps: int
    parameters: int
    frozen_parameters: int
    flop: int
    bytes: int | None
    seconds: float

    @property
    def time(self) -> str:
        """Of the whole stage."""
        minutes = self.steps * self.seconds / 60
        return f"{minutes / 60:.1f} h" if minutes >= 60 else f"{minutes:.2g} min"


def measure(name: str, recipe: Recipe, device: str = "auto", precision: Precision = "auto") -> Cost:
    """Run a few steps of a stage on random images, with untrained networks; nothing is read or written.

    In a process of its own, so that the memory is the stage's alone. Raises LpnsrError.
    """
    try:
        with make_crew(1) as crew:
            (cost,) = crew.in_order(_measure, [(name, recipe, device, precision)])
    except BrokenProcessPool:
        raise TrainingError(f"measuring {name} was ended from outside, perhaps for want of memory") from None
    except Exception as error:
        if is_out_of_memory(error):
            raise TrainingError(f"a step of {name} needs more memory than there is here") from None
        raise
    return cast(Cost, cost)


def _measure(name: str, recipe: Recipe, device: str, precision: Precision) -> Cost:
    accelerator = make_accelerator(device, precision)
    torch.manual_seed(recipe.seed)
    kind, settings = STAGES[name], recipe.stages[name]
    parts = {part: build_part(recipe, part) for part in recipe.parts_of(name)}
    features = getattr(parts.get("upsampler"), "feature_channels", 0)
    stage = make_stage(name, recipe, {p: net for p, net in parts.items() if p in (*kind.trains, *kind.needs)})
    loop = make_loop(name, stage, recipe, accelerator)
    # With everything that comes in, at a step at which both sides learn, if there is one.
    loop.step = max(row.begin for row in settings.losses) + 1
    batch = placed(
        _random_batch(settings.batch, settings.patch, features, kind.pictures(settings, recipe.networks)), loop.device
    )
    with FlopCounterMode(display=False) as counter:
        loop.train_step(batch)
    times = []
    for _ in range(_MEASURED):
        loop.step += 1
        begun = time.perf_counter()
        loop.train_step(batch)  # it ends with numbers on the host
        times.append(time.perf_counter() - begun)
    return Cost(
        name,
        settings.steps,
        sum(p.numel() for p in stage.trained.parameters()),
        sum(p.numel() for p in stage.frozen.parameters()),
        counter.get_total_flops(),
        peak_memory(accelerator.device),
        sum(times) / len(times),
    )


def _random_batch(size: int, patch: int, features: int, pictures: Collection[str]) -> Batch:
    hr = torch.rand(size, 3, patch, patch)
    lr = torch.nn.functional.interpolate(hr, scale_factor=0.25, mode="area")
    added = dict.fromkeys(pictures, hr)
    if "start" in pictures and features:
        added["features"] = torch.randn(size, features, *lr.shape[2:])
    return Batch(hr, lr, torch.zeros(size, dtype=torch.uint8), **added)
