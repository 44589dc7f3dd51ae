"""Files that a stage writes into its folder, and its progress on the terminal.

checkpoint.pt            everything that a resumed run needs; checkpoint.before.pt, the last that finite steps followed
log.jsonl                losses and timings; validation.jsonl: scores of the EMA weights on what is held out, of all, of
                         the degraded and of the clean half
samples/step-N.png       a row a pair that is held out: LR, the stage's images, the result, HR
weights/step-N.safetensors   EMA weights of the three newest validations, and of the best
tensorboard/             the same for TensorBoard
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lpnsr.errors import TrainingError
from lpnsr.imaging import Photo, from_unit, write
from lpnsr.networks.perceptual import LPIPS
from lpnsr.networks.tensors import write_safetensors
from lpnsr.system.atomic import remove_leftovers, write_bytes
from lpnsr.system.progress import Bar
from lpnsr.training.data.pairs import Batch
from lpnsr.training.extras import SummaryWriter
from lpnsr.training.parts import BEFORE, CHECKPOINT
from lpnsr.training.stages import Parts, Stage

log = logging.getLogger(__name__)
_NEWEST_KEPT = 3
_ROWS = 4


class Records:
    """The folder of one stage. Only the main process of several writes; the others get ``active=False``."""

    def __init__(self, folder: Path, title: str, best: str = "lpips", active: bool = True) -> None:
        self.folder, self.title, self.best, self.active = folder, title, best, active
        self._open = ExitStack()

    def begin(self, step: int, total: int) -> None:
        """Ready the folder: what is of steps after ``step``, left by a kill or before going back, goes."""
        self._total = total
        if not self.active:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.folder, self.folder / "samples"):
            remove_leftovers(folder)
        if step == 0:
            (self.folder / BEFORE).unlink(missing_ok=True)  # of a training that nobody goes on with
        for name in ("log.jsonl", "validation.jsonl"):
            path = self.folder / name
            if path.exists():
                kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _step_of(line) <= step]
                write_bytes(path, "".join(line + "\n" for line in kept).encode())
        ours = [*self.folder.glob("samples/step-*.png"), *self.folder.glob("weights/step-*.safetensors")]
        later = [path for path in ours if _number(path) > step]
        for path in later:
            path.unlink()
        if later:
            log.info("%s: samples and weights of steps after %d are deleted", self.title, step)
        self._open.callback(setattr, threading, "excepthook", threading.excepthook)
        threading.excepthook = _tell_unless_of_files
        self.board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=step + 1)
        self._open.callback(self.board.close)
        self._bar = self._open.enter_context(Bar(self.title, total, step))

    def end(self) -> None:
        """Close what ``begin`` opened."""
        self._open.close()

    def advance(self, step: int) -> None:
        """A step is done."""
        if self.active:
            self._bar.advance(step)

    def losses(self, step: int, losses: dict[str, float], timing: dict[str, float]) -> None:
        """A line of the log: means since the line before."""
        if not self.active:
            return
        rounded = {name: float(f"{value:.6g}") for name, value in losses.items()}
        self._append("log.jsonl", {"step": step} | rounded | {name: round(value, 3) for name, value in timing.items()})
        text = f"{timing['images_per_second']:.1f} images/s  " + "  ".join(f"{k} {v:.4f}" for k, v in losses.items())
        if self._bar.shown:
            self._bar.say(text)
        else:
            log.info("%s  step %d of %d  %s", self.title, step, self._total, text)
        for name, value in losses.items():
            self.board.add_scalar(f"loss/{name}", value, step)
        for name, value in timing.items():
            self.board.add_scalar(f"timing/{name}", value, step)

    @torch.no_grad()
    def validate(
        self, stage: Stage, nets: Parts, batches: Iterable[Batch], lpips: LPIPS, step: int
    ) -> dict[str, float]:
        """The means of a stage's scores with ``nets``, logged with a grid of samples; {} if nothing is held out.

        Beside those of all pairs stand those of the half that is degraded most, and of the other.
        """
        scores: dict[str, list[Tensor]] = {}
        damage: list[Tensor] = []
        grid = None
        for batch in batches:
            damage.append(_damage(batch))
            for name, values in stage.scores(nets, batch, lpips).items():
                scores.setdefault(name, []).append(values.float().cpu())
            if grid is None:
                images = [image.float().nan_to_num().clamp(0, 1) for image in stage.preview(nets, batch).values()]
                nearest = F.interpolate(batch.lr, scale_factor=4, mode="nearest")
                rows = torch.cat([nearest, *images, batch.hr], 3)[:_ROWS]
                grid = torch.cat(list(rows), 1).permute(1, 2, 0).cpu().numpy()
        if grid is None:
            return {}
        order = torch.cat(damage).argsort(descending=True)
        halves = {"": order, "degraded ": order[: len(order) // 2], "clean ": order[len(order) // 2 :]}
        found = {
            half + name: float(torch.cat(values)[chosen].mean())
            for half, chosen in halves.items()
            if len(chosen)
            for name, values in scores.items()
        }
        (self.folder / "samples").mkdir(exist_ok=True)
        write(Photo(from_unit(grid, np.uint8)), self.folder / "samples" / f"step-{step:07d}.png")
        self._append("validation.jsonl", {"step": step} | {name: round(value, 5) for name, value in found.items()})
        told = [
            half + " -> ".join(f"{found[n]:.4f}" for n in (half + "start", half + self.best) if n in found)
            for half in halves
        ]
        log.info("%s  step %d  held out: %s %s", self.title, step, self.best, ", ".join(told))
        self.board.add_image("samples", grid, step, dataformats="HWC")
        for name, value in found.items():
            self.board.add_scalar(f"validation/{name}", value, step)
        return found

    def keep(self, step: int, net: nn.Module) -> None:
        """Store weights beside their score; of those there, the newest few and the best stay."""
        folder = self.folder / "weights"
        folder.mkdir(exist_ok=True)
        part = folder / "new.part"
        try:
            write_safetensors({name: t.contiguous() for name, t in net.state_dict().items()}, part)
            part.replace(folder / f"step-{step:07d}.safetensors")
        except OSError as error:
            part.unlink(missing_ok=True)
            raise unwritable(folder, error) from None
        lines = (self.folder / "validation.jsonl").read_text(encoding="utf-8").splitlines()
        scores = {row["step"]: row[self.best] for row in map(json.loads, lines)}
        there = sorted(number for number in map(_number, folder.glob("step-*.safetensors")) if number >= 0)
        best = min(there, key=lambda n: scores.get(n, math.inf))
        for number in set(there[:-_NEWEST_KEPT]) - {best}:
            (folder / f"step-{number:07d}.safetensors").unlink()

    def save(self, state: dict[str, Any], keep: bool = True) -> None:
        """The checkpoint, written beside the old one and then renamed into its place. ``keep`` the old one as that
        of before; else the one that is there stays."""
        path, part, before = self.folder / CHECKPOINT, self.folder / "checkpoint.part", self.folder / BEFORE
        try:
            torch.save(state, part)
            with suppress(OSError):  # not every disk has links
                if keep:
                    before.unlink(missing_ok=True)
                    before.hardlink_to(path)
            part.replace(path)
        except (OSError, RuntimeError) as error:
            part.unlink(missing_ok=True)
            raise unwritable(path, error) from None

    def _append(self, name: str, row: dict[str, Any]) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _damage(batch: Batch) -> Tensor:
    """Mean squared distance (B,) of LR from the reduced HR."""
    reduced = F.interpolate(batch.hr, batch.lr.shape[-2:], mode="bicubic", antialias=True)
    return (batch.lr - reduced).square().mean((1, 2, 3)).cpu()


def _tell_unless_of_files(what: threading.ExceptHookArgs) -> None:
    """A full disk ends TensorBoard's thread, which raises it again in ours."""
    if not isinstance(what.exc_value, OSError):
        threading.__excepthook__(what)


def _step_of(line: str) -> float:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):  # a line that was being written when the process was killed
        return math.inf


def _number(path: Path) -> int:
    """The step of one of our files; -1 of others beside them."""
    step = path.stem.removeprefix("step-")
    return int(step) if step.isdecimal() else -1


def unwritable(path: Path, error: Exception) -> TrainingError:
    """Make the TrainingError for a file of a stage that cannot be written."""
    reason = getattr(error, "strerror", None) or "not all of it is taken; the disk is full, perhaps"
    return TrainingError(f"{path} cannot be written: {reason}; what was saved before is whole. Make room, and go on")
