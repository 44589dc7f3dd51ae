"""What a stage costs, before it is trained: parameters, arithmetic, memory and time of a step, on this machine."""

from __future__ import annotations

import time
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import cast

import torch
from torch.utils.flop_counter import FlopCounterMode

from lpnsr.errors import TrainingError
from lpnsr.system.memory import peak_memory
from lpnsr.training.data.crew import make_crew
from lpnsr.training.loop import Loop
from lpnsr.training.recipe import Recipe, StageName
from lpnsr.training.runs import Precision, frozen_parts, make_accelerator, make_lpips
from lpnsr.training.stages import Stage
from lpnsr.upscaling.memory import is_out_of_memory

_MEASURED = 2


@dataclass(frozen=True)
class Cost:
    """Of one stage. parameters: of the part in training; flop: of a whole step; bytes: the process's peak."""

    stage: StageName
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


def measure(name: StageName, recipe: Recipe, device: str = "auto", precision: Precision = "auto") -> Cost:
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


def _measure(name: StageName, recipe: Recipe, device: str, precision: Precision) -> Cost:
    accelerator = make_accelerator(device, precision)
    torch.manual_seed(recipe.seed)
    stage = Stage(name, recipe, frozen_parts(name, recipe))
    loop = Loop(stage, recipe.seed, make_lpips(recipe), accelerator)
    settings = recipe.stages[name]
    loop.step = max(settings.gan.start if settings.gan else 0, settings.regression)  # with everything that comes in
    size = (settings.batch, 3, settings.patch, settings.patch)
    hr = torch.rand(size, device=accelerator.device)
    lr = torch.nn.functional.interpolate(hr, scale_factor=0.25, mode="area")
    with FlopCounterMode(display=False) as counter:
        loop.train_step(hr, lr)
    times = []
    for _ in range(_MEASURED):
        loop.step += 1
        begun = time.perf_counter()
        loop.train_step(hr, lr)  # it ends with numbers on the host
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
