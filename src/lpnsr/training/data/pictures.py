"""Pictures of a frozen pre-upsampler for every pair of a pool, computed once: the start of the chain, or a teacher's.

pool/start.npy, teacher.npy    float16 (N, c, c, 3)
pool/features.npy              float16 (N, c/4, c/4, f), from a start that gives a feature map
pool/start.json, teacher.json  the network's SHA-256, and the number of pairs that are done
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lpnsr.errors import TrainingError
from lpnsr.system.atomic import write_bytes
from lpnsr.system.hashes import tensors_sha256
from lpnsr.system.progress import Bar
from lpnsr.training.data.pairs import PairPool, PictureKind

log = logging.getLogger(__name__)
_BATCH = 8
_SAVE_SECONDS = 20.0


def fill(
    pool: PairPool,
    kind: PictureKind,
    net: nn.Module,
    autocast: Callable[[], AbstractContextManager[None]],
    stop: Callable[[], bool],
) -> bool:
    """Compute the missing pictures of ``net``, an upsampler; False if ``stop`` was sooner.

    Goes on where an earlier call ended, and begins anew with another network. Raises TrainingError.
    """
    digest = tensors_sha256(net.state_dict())
    files = {pool.folder / f"{kind}.npy": (*pool.hr.shape[1:3], 3)}
    if kind == "start" and net.feature_channels:
        files[pool.folder / "features.npy"] = (*pool.lr.shape[1:3], int(net.feature_channels))  # type: ignore[arg-type]
    journal = pool.folder / f"{kind}.json"
    done = _done(journal, digest) if all(path.exists() for path in files) else 0
    if done == len(pool):
        return True
    net.to(pool.device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    try:
        if not done and kind == "start":
            (pool.folder / "features.npy").unlink(missing_ok=True)  # perhaps of a network that has some
        mode = "r+" if done else "w+"
        maps = [np.lib.format.open_memmap(path, mode, np.float16, (len(pool), *size)) for path, size in files.items()]
        _save(maps, journal, digest, done)
        for first in _unfilled(pool, kind, done, stop, lambda done: _save(maps, journal, digest, done)):
            lr = pool.lr[first : first + _BATCH].permute(0, 3, 1, 2).float() / 255
            with torch.no_grad(), autocast():
                made = net.upsample(lr.contiguous(memory_format=torch.channels_last))  # type: ignore[operator]
            for file, rows in zip(maps, made, strict=False):
                file[first : first + len(lr)] = rows.float().permute(0, 2, 3, 1).half().cpu().numpy()
    except OSError as error:
        raise TrainingError(
            f"{pool.folder} cannot be written: {error.strerror or error}; what is done is kept. Make room, and go on"
        ) from None
    return _done(journal, digest) == len(pool)


def is_filled(pool: PairPool, kind: PictureKind) -> bool:
    """Whether all pictures are there."""
    try:
        return int(json.loads((pool.folder / f"{kind}.json").read_text(encoding="utf-8"))["done"]) == len(pool)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _unfilled(
    pool: PairPool, kind: PictureKind, done: int, stop: Callable[[], bool], save: Callable[[int], None]
) -> Iterator[int]:
    """The first pair of each batch that is missing, as long as ``stop`` lets it; saves now and then."""
    log.info("computing the pictures of the %s: %d of %d crops are done", kind, done, len(pool))
    saved = time.monotonic()
    with Bar(f"{kind} pictures", len(pool), done) as bar:
        for first in range(done, len(pool), _BATCH):
            yield first
            done = min(first + _BATCH, len(pool))
            bar.advance(done)
            ended = done == len(pool) or stop()
            if ended or time.monotonic() - saved > _SAVE_SECONDS:
                save(done)
                saved = time.monotonic()
                if not bar.shown:
                    log.info("%d of %d crops have the picture of the %s", done, len(pool), kind)
            if ended:
                return


def _save(maps: list[np.memmap[Any, Any]], journal: Path, digest: str, done: int) -> None:
    for file in maps:
        file.flush()
    write_bytes(journal, json.dumps({"sha256": digest, "done": done}).encode())


def _done(journal: Path, digest: str) -> int:
    """Number of pairs that have the picture of the network of this hash."""
    try:
        record = json.loads(journal.read_text(encoding="utf-8"))
        return int(record["done"]) if record["sha256"] == digest else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0
