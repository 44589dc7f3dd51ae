"""A run: one folder in which the stages of a recipe are trained one after the other and become a model.

RUN/pool/      the degraded crops that all stages share
RUN/STAGE/     checkpoint, logs, samples: see ``records``
RUN/model/     the model folder, written by ``train("all", ...)`` and ``train("export", ...)``
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from filelock import FileLock, Timeout
from torch import nn

from lpnsr.checkpoints import PartName, check_parts, load_folder, read_spec, resolve
from lpnsr.checkpoints.folder import CONFIG
from lpnsr.checkpoints.spec import read_json
from lpnsr.diffusion import Schedule
from lpnsr.errors import ConfigError, LpnsrError, TrainingError
from lpnsr.networks.perceptual import LPIPS
from lpnsr.system.devices import has_amx, keep_freed_memory, pick_device
from lpnsr.training.data.crops import find_images
from lpnsr.training.data.pairs import PairPool, is_whole
from lpnsr.training.data.pictures import fill, is_filled
from lpnsr.training.data.pool import prepare_pool
from lpnsr.training.extras import Accelerator
from lpnsr.training.loop import Budget, Loop
from lpnsr.training.parts import (
    CHECKPOINT,
    POOL,
    Workshop,
    build_part,
    export,
    load_checkpoint,
    surroundings,
    tell_origins,
)
from lpnsr.training.processes import PATIENCE, meet
from lpnsr.training.recipe import Recipe, load_recipe
from lpnsr.training.records import Records, unwritable
from lpnsr.training.stages import STAGES, Stage

log = logging.getLogger(__name__)
Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Run:
    """Arguments of ``train``. begin_with: a model whose weights stages begin with, or take as frozen parts
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


def train(what: str, run: Run) -> bool:
    """Train a stage of the recipe; ``all`` of them and export; or ``export`` alone. False if the budget ended it before
    the recipe did.

    Goes on where an earlier call ended. Raises LpnsrError.
    """
    budget = run.until()
    recipe = load_recipe(run.recipe, sections_of(run.begin_with))
    if what == "export":
        _export(recipe, run)
        return True
    stages = stages_named(what, recipe, run.recipe)
    workshop = Workshop(recipe, run.out, run.begin_with)
    check_networks(recipe, stages, run.recipe)
    workshop.check(stages)
    for model in filter(None, (recipe.data.teacher, *recipe.weights.values())):
        if not Path(model).is_file():
            resolve(model)  # a model that is not there is told before photographs are degraded
    images = find_images(run.data, run.out)
    accelerator = make_accelerator(run.device, run.precision)
    keep_freed_memory()
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
            if not _train_stage(name, workshop, pool, accelerator, budget):
                return False
        if what == "all" and accelerator.is_main_process:
            _export(recipe, run)
    return True


def sections_of(model: str | None) -> dict[str, Any]:
    """The networks and the chain of a model, for a recipe that names none and so goes on with those."""
    if model is None:
        return {}
    folder = resolve(model)
    spec = read_spec(folder)
    networks = {part: read_json(folder / place / CONFIG) for part, place in spec.parts.items()}
    return {"networks": networks, "chain": spec.chain.model_dump()}


def stages_named(what: str, recipe: Recipe, where: str) -> tuple[str, ...]:
    """A stage, or ``all`` in the recipe's order. Raises ConfigError for one that the recipe lacks."""
    if what == "all":
        return recipe.order
    if what not in recipe.stages:
        raise ConfigError(f"the recipe {where} has no stage {what!r}; it has {', '.join(recipe.stages)}")
    return (what,)


def _export(recipe: Recipe, run: Run) -> None:
    folder = run.out / "model"
    export(recipe, run.out, folder, run.begin_with)
    log.info("the model is in %s", folder)


def _train_stage(name: str, workshop: Workshop, pool: PairPool, accelerator: Accelerator, budget: Budget) -> bool:
    recipe, folder = workshop.recipe, workshop.run / name
    state = load_checkpoint(workshop.run, name)
    steps = recipe.stages[name].steps
    if state is not None:
        _tell_changes(name, state, recipe, workshop.begin_with)
    if state is not None and state["step"] >= steps:
        log.info("%s: the recipe has %d steps, and %d are done", name, steps, state["step"])
        return True
    torch.manual_seed(recipe.seed)
    kind = STAGES[name]
    around, origins = workshop.gather((p for p in recipe.parts_of(name) if p not in kind.trains), name)
    tell_origins(recipe, around, origins)
    pictures = kind.pictures(recipe.stages[name], recipe.networks)
    for picture in pictures:
        net = around["upsampler"] if picture == "start" else load_teacher(recipe)
        if accelerator.is_main_process and not fill(pool, picture, net, accelerator.autocast, budget.stop):
            log.info("the pictures of the %s are not all there: the same call goes on with them", picture)
        meet(accelerator)
        if not is_filled(pool, picture):
            return False
        pool.add(picture)
    trained, untrained = _parts_in_training(name, workshop, state)
    frozen = {part: net for part, net in around.items() if part in kind.needs}
    stage = make_stage(name, recipe, trained | frozen)
    if untrained:
        stage.to(accelerator.device)
        stage.settle(recipe.networks, pool)
    loop = make_loop(name, stage, recipe, accelerator)
    began = {"begun_with": workshop.begin_with} if state is None else state["origin"]
    loop.origin = began | surroundings(recipe, around)
    if state is None:
        _begin_adversaries(loop, workshop.run)
    else:
        _resume(loop, state, folder / CHECKPOINT)
        log.info("%s goes on from step %d of %d", name, loop.step, steps)
    records = Records(folder, name, kind.best, accelerator.is_main_process)
    try:
        try:
            loop.run(pool, pictures, records, budget)
        finally:
            records.end()
    except LpnsrError:
        raise
    except OSError as error:  # a full disk, whichever file meets it first
        raise unwritable(folder, error) from None
    log.info("%s: step %d of %d, saved", name, loop.step, steps)
    if loop.left_out and accelerator.scaler is None:  # a scaler tries what is too much
        log.warning(
            "%s: %d updates of this call were left out, since their losses or gradients were not finite: lower the "
            "learning rate of the recipe if that goes on",
            name,
            loop.left_out,
        )
    return loop.step >= steps


def _parts_in_training(
    name: str, workshop: Workshop, state: dict[str, Any] | None
) -> tuple[dict[PartName, nn.Module], bool]:
    """The networks that a stage trains, with the weights that they begin with, and whether there are none."""
    kind = STAGES[name]
    if state is not None:
        known = state["networks"]
        return {part: build_part(workshop.recipe, part, known.get(part)) for part in kind.trains}, False
    begun = [p for p in kind.trains if kind.tunes or workshop.trainer(p, name) or workshop.source(p)]
    parts, origins = workshop.gather(begun, name)
    tell_origins(workshop.recipe, parts, origins)
    untrained = {part: build_part(workshop.recipe, part) for part in kind.trains if part not in parts}
    return parts | untrained, bool(untrained)


def make_stage(name: str, recipe: Recipe, parts: Mapping[PartName, nn.Module]) -> Stage:
    """A stage of a recipe around its networks."""
    schedule = Schedule.geometric(**recipe.chain.model_dump())
    return STAGES[name](recipe.stages[name], schedule, dict(parts.items()), list(recipe.data.degradations))


def make_loop(name: str, stage: Stage, recipe: Recipe, accelerator: Accelerator) -> Loop:
    """The loop of a stage, with the recipe's perceptual loss."""
    parts = dict(stage.trained.items()) | dict(stage.frozen.items())
    channels = getattr(parts.get("autoencoder"), "latent_channels", 3)
    return Loop(name, stage, recipe.seed, make_lpips(recipe), accelerator, channels)


def load_teacher(recipe: Recipe) -> nn.Module:
    """The pre-upsampler of the recipe's teacher."""
    parts = load_folder(resolve(str(recipe.data.teacher))).parts
    if "upsampler" not in parts:
        raise ConfigError(f"data.teacher: the model {recipe.data.teacher} has no pre-upsampler")
    return parts["upsampler"]


def _tell_changes(name: str, state: dict[str, Any], recipe: Recipe, begin_with: str | None) -> None:
    """Warn of what the call says otherwise than the one that began the stage."""
    now, before = recipe.stages[name].model_dump(mode="json", by_alias=True), state["recipe"]
    changes = [f"{key} was {before[key]} and is {now[key]}" for key in now if key in before and before[key] != now[key]]
    if changes:
        log.warning("%s, at step %d, goes on by a changed recipe: %s", name, state["step"], "; ".join(changes))
    begun = state["origin"].get("begun_with", begin_with)
    if begin_with not in (None, begun):
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


def _begin_adversaries(loop: Loop, out: Path) -> None:
    """Copy the adversaries of earlier stages that the recipe's losses begin with."""
    for name, net in loop.adversaries.items():
        earlier = getattr(loop.losses[name].recipe, "begin_with", None)
        if earlier is None:
            continue
        state = load_checkpoint(out, earlier)
        if state is None or name not in state["adversaries"]:
            log.warning("%s has no discriminator to begin with: this one begins untrained", out / earlier)
            continue
        try:
            net.load_state_dict(state["adversaries"][name])
        except RuntimeError:
            raise TrainingError(
                f"the discriminator of {out / earlier} is of another kind or size than that of {loop.name}: give both "
                "the same, or leave out begin_with"
            ) from None


def check_networks(recipe: Recipe, stages: Sequence[str], where: str) -> None:
    """Raise what would be wrong with the networks of these stages, before photographs are degraded for them."""
    names = dict.fromkeys(part for name in stages for part in recipe.parts_of(name))
    parts = {part: build_part(recipe, part) for part in names}
    if "denoiser" in parts:
        check_parts(parts, where)
    make_lpips(recipe)


def make_lpips(recipe: Recipe) -> LPIPS:
    """The recipe's perceptual loss."""
    return LPIPS(recipe.lpips.net, recipe.lpips.trunk, recipe.lpips.heads)


def make_accelerator(device: str = "auto", precision: Precision = "auto") -> Accelerator:
    """Device, precision and processes, as accelerate finds them. Raises ConfigError for what this machine has not."""
    if ":" in device:
        raise ConfigError(f"--device {device}: choose a GPU with CUDA_VISIBLE_DEVICES")
    pick_device(device)
    if precision == "fp16" and (device == "cpu" or not torch.cuda.is_available()):
        raise ConfigError("--precision fp16 needs a CUDA GPU; on a CPU choose bf16 or fp32")
    if precision == "auto":
        on_gpu = device != "cpu" and torch.cuda.is_available()
        fast = torch.cuda.is_bf16_supported() if on_gpu else device != "mps" and has_amx()
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
