"""A run: one folder in which the stages of a recipe are trained one after the other and become a model.

RUN/pool/      the degraded crops that all stages share
RUN/STAGE/     checkpoint, logs, samples: see ``records``
RUN/model/     the model folder, written by ``train("all", ...)`` and ``train("export", ...)``
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout

from lpnsr.checkpoints import PartName, check_parts, resolve
from lpnsr.errors import ConfigError, LpnsrError, TrainingError
from lpnsr.networks import build
from lpnsr.networks.perceptual import LPIPS
from lpnsr.training.data.crops import find_images
from lpnsr.training.data.pairs import PairPool, is_whole
from lpnsr.training.data.pool import prepare_pool
from lpnsr.training.extras import Accelerator
from lpnsr.training.loop import Budget, Loop
from lpnsr.training.parts import (
    CHECKPOINT,
    POOL,
    export,
    gather,
    load_checkpoint,
    load_weights,
    require_trained,
    surroundings,
    tell_origins,
)
from lpnsr.training.processes import PATIENCE, meet
from lpnsr.training.recipe import NEEDS, PART_OF, STAGES, Recipe, StageName, load_recipe
from lpnsr.training.records import Records, unwritable
from lpnsr.training.stages import Stage

log = logging.getLogger(__name__)
Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Run:
    """What a call of ``train`` is given. begin_with: a model whose weights stages begin with, or take as frozen parts
    that this run has not trained. minutes: after which the call ends by itself."""

    out: Path
    recipe: str = "lite"
    data: tuple[Path, ...] = ()
    begin_with: str | None = None
    minutes: float | None = None
    device: str = "auto"
    precision: Precision = "auto"
    workers: int = 2
    budget: Budget = field(default_factory=Budget)

    def until(self) -> Budget:
        """The budget with the minutes, which begin now, as another reason to stop."""
        if self.minutes is None:
            return self.budget
        if not self.minutes >= 0:  # not a number is neither
            raise ConfigError(f"minutes = {self.minutes}: give 0 or more")
        deadline, stop = time.monotonic() + self.minutes * 60, self.budget.stop
        return replace(self.budget, stop=lambda: stop() or time.monotonic() > deadline)


def train(what: StageName | Literal["all", "export"], run: Run) -> bool:
    """Train one stage, or all and export, or export alone. False if the budget ended it before the recipe did.

    Goes on where an earlier call ended. Raises LpnsrError.
    """
    budget = run.until()
    recipe = load_recipe(run.recipe)
    if what == "export":
        _export(recipe, run)
        return True
    stages: tuple[StageName, ...] = STAGES if what == "all" else (what,)
    for name in stages:
        if name not in recipe.stages:
            raise ConfigError(f"the recipe {run.recipe} has no stage {name!r}; it has {', '.join(recipe.stages)}")
    check_networks(recipe, stages, run.recipe)
    if what != "all" and run.begin_with is None:
        require_trained(run.out, NEEDS[what])
    if run.begin_with is not None:
        resolve(run.begin_with)  # a model that is not there is told before photographs are degraded
    images = find_images(run.data, run.out)
    accelerator = make_accelerator(run.device, run.precision)
    if accelerator.num_processes > 1:
        log.info("every batch is shared by %d processes", accelerator.num_processes)
    with _locked(run.out, accelerator.is_main_process):
        if accelerator.is_main_process:
            prepare_pool(images, recipe.data, recipe.seed, run.out / POOL, run.workers, budget.stop)
        meet(accelerator)
        if not is_whole(run.out / POOL):
            return False
        pool = PairPool(run.out / POOL, accelerator.device)
        for name in stages:
            if not _train_stage(name, recipe, run, pool, accelerator, budget):
                return False
        if what == "all" and accelerator.is_main_process:
            _export(recipe, run)
    return True


def _export(recipe: Recipe, run: Run) -> None:
    folder = run.out / "model"
    export(recipe, run.out, folder, run.begin_with)
    log.info("the model is in %s", folder)


def _train_stage(
    name: StageName, recipe: Recipe, run: Run, pool: PairPool, accelerator: Accelerator, budget: Budget
) -> bool:
    state = load_checkpoint(run.out, name)
    steps = recipe.stages[name].steps
    if state is not None:
        _tell_changes(name, state, recipe, run.begin_with)
    if state is not None and state["step"] >= steps:
        log.info("%s: the recipe has %d steps, and %d are done", name, steps, state["step"])
        return True
    torch.manual_seed(recipe.seed)
    frozen, origins = gather(recipe, NEEDS[name], run.out, run.begin_with)
    tell_origins(recipe, frozen, origins)
    stage = Stage(name, recipe, frozen)
    records = Records(run.out / name, run.out / POOL, name, accelerator.is_main_process)
    if state is None and run.begin_with and not stage.recipe.fresh:
        load_weights(stage.trained, run.begin_with, name)
    loop = Loop(stage, recipe.seed, make_lpips(recipe), accelerator)
    began = {"begun_with": run.begin_with} if state is None else state.get("origin", {})
    loop.origin = began | surroundings(recipe, frozen)
    if state is None:
        _begin_discriminator(loop, run.out)
    else:
        _resume(loop, state, run.out / name / CHECKPOINT)
        log.info("%s goes on from step %d of %d", name, loop.step, steps)
    try:
        try:
            loop.run(pool, records, budget)
        finally:
            records.end()
    except LpnsrError:
        raise
    except OSError as error:  # a full disk, whichever file meets it first
        raise unwritable(run.out / name, error) from None
    log.info("%s: step %d of %d, saved", name, loop.step, steps)
    if loop.left_out and accelerator.scaler is None:  # a scaler tries what is too much
        log.warning(
            "%s: %d updates of this call were left out, since their losses or gradients were not finite: lower the "
            "learning rate of the recipe if that goes on",
            name,
            loop.left_out,
        )
    return loop.step >= steps


def _tell_changes(name: StageName, state: dict[str, Any], recipe: Recipe, begin_with: str | None) -> None:
    """Warn of what the call says otherwise than the one that began the stage. Checkpoints of earlier versions do not
    know."""
    now = recipe.stages[name].model_dump(mode="json")
    before = state.get("recipe", now)
    changes = [f"{key} was {before[key]} and is {now[key]}" for key in now if key in before and before[key] != now[key]]
    if changes:
        log.warning("%s, at step %d, goes on by a changed recipe: %s", name, state["step"], "; ".join(changes))
    begun = state.get("origin", {}).get("begun_with", begin_with)
    if begin_with not in (None, begun) and not recipe.stages[name].fresh:
        log.warning(
            "%s goes on from step %d of a training that began %s: --begin-with %s has no effect on it; to begin with "
            "that, choose another --out",
            name,
            state["step"],
            f"with {begun}" if begun else "untrained",
            begin_with,
        )


def _resume(loop: Loop, state: dict[str, Any], path: Path) -> None:
    try:
        loop.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise TrainingError(
            f"{path} was made by another recipe, or is damaged ({reason}): give the recipe that it was made by, or "
            "choose another --out"
        ) from None


def _begin_discriminator(loop: Loop, out: Path) -> None:
    gan = loop.recipe.gan
    if gan is None or gan.begin_with is None:
        return
    earlier = load_checkpoint(out, gan.begin_with)
    if earlier is None or "discriminator" not in earlier:
        log.warning("%s has no discriminator to begin with: this one begins untrained", out / gan.begin_with)
        return
    loop.discriminator.load_state_dict(earlier["discriminator"])


def check_networks(recipe: Recipe, stages: Sequence[StageName], where: str) -> None:
    """Raise what would be wrong with the networks of these stages, before photographs are degraded for them."""
    names = dict.fromkeys(other for name in stages for other in (*NEEDS[name], name))
    parts = {PART_OF[name]: build(recipe.networks[PART_OF[name]]) for name in names}
    if "denoiser" in parts:
        check_parts(parts, where)
    make_lpips(recipe)


def make_lpips(recipe: Recipe) -> LPIPS:
    """The recipe's perceptual loss."""
    return LPIPS(recipe.lpips.net, recipe.lpips.trunk, recipe.lpips.heads)


def make_accelerator(device: str = "auto", precision: Precision = "auto") -> Accelerator:
    """Device, precision and processes, as accelerate finds them. Raises ConfigError for what this machine has not."""
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: PyTorch sees no CUDA GPU here; allowed: auto, cpu")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("--device mps: PyTorch sees no GPU of Apple's here; allowed: auto, cpu")
    if device not in ("auto", "cpu", "cuda", "mps"):
        raise ConfigError(f"--device {device}: allowed are auto, cpu, cuda, mps; choose GPUs with CUDA_VISIBLE_DEVICES")
    if precision == "fp16" and (device == "cpu" or not torch.cuda.is_available()):
        raise ConfigError("--precision fp16 needs a CUDA GPU; on a CPU choose bf16 or fp32")
    if precision == "auto":
        fast = device in ("auto", "cuda") and torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        precision = "bf16" if fast else "fp32"
    try:
        mixed = "no" if precision == "fp32" else precision
        return Accelerator(cpu=device == "cpu", mixed_precision=mixed, kwargs_handlers=[PATIENCE])
    except ValueError as error:
        raise ConfigError(f"--precision {precision}: {error}") from None


@contextmanager
def _locked(out: Path, active: bool) -> Iterator[None]:
    """One call at a time trains in a folder."""
    if not active:
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise TrainingError(f"another process trains in {out}: wait for it, or choose another --out") from None
    except FileExistsError:
        raise TrainingError(f"--out {out} is a file: give a folder") from None
    except OSError as error:
        raise TrainingError(f"{out} cannot be written: {error.strerror or error}") from None
    with lock:
        yield


def frozen_parts(name: StageName, recipe: Recipe) -> dict[PartName, torch.nn.Module]:
    """The untrained networks that a stage keeps around its own, for a look at its cost."""
    return {PART_OF[other]: build(recipe.networks[PART_OF[other]]) for other in NEEDS[name]}
