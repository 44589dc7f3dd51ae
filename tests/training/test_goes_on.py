"""Going on with a run: after a kill, by the clock, in several processes, by another recipe, after what went wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from lpnsr.errors import ConfigError, TrainingError
from lpnsr.training import runs
from lpnsr.training.data.crops import find_images
from lpnsr.training.loop import Budget
from support.tiny_model import CHAIN
from support.training_run import (
    BATCH,
    GAN,
    ORDER,
    RECIPE,
    STAGE,
    checkpoint,
    command,
    copied,
    log_of,
    modified,
    slow,
    train,
    written,
)


def test_a_finished_run_is_left_alone(finished: Path, recipe: Path, photos: Path) -> None:
    before = (finished / "upsampler" / "checkpoint.pt").stat().st_mtime_ns
    done = train("upsampler", recipe, photos, finished)
    assert done.returncode == 0
    assert "are done" in done.stderr
    assert "changed recipe" not in done.stderr
    assert (finished / "upsampler" / "checkpoint.pt").stat().st_mtime_ns == before


@pytest.mark.parametrize("stage", [*map(slow, ("upsampler", "denoiser", "noise-predictor")), "joint"])
def test_killed_and_resumed_is_the_same_run(
    stage: str, finished: Path, recipe: Path, photos: Path, tmp_path: Path
) -> None:
    """SIGKILL after each checkpoint but the last: same losses, same weights, bit for bit."""
    for name in ("pool", *ORDER[: ORDER.index(stage)]):
        (tmp_path / name).symlink_to(finished / name)
    folder, kills = tmp_path / stage, 0
    while True:
        saved = modified(folder / "checkpoint.pt")
        words = [sys.executable, *command(stage, recipe, photos, tmp_path, "--save-every", "1")]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            if kills < 2 and modified(folder / "checkpoint.pt") > saved:
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        if process.wait() == 0:
            break
        assert process.returncode == -signal.SIGKILL
        kills += 1
    assert kills >= 1
    assert log_of(folder) == log_of(finished / stage)
    for part in ("trained", "ema"):
        whole, parted = checkpoint(finished / stage)[part], checkpoint(folder)[part]
        assert all(torch.equal(whole[name], parted[name]) for name in whole)


def test_the_clock_ends_a_call_and_the_next_goes_on(finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "pool").symlink_to(finished / "pool")
    assert train("autoencoder", recipe, photos, tmp_path, "--minutes", "0.00001").returncode == 0
    assert checkpoint(tmp_path / "autoencoder")["step"] < 6
    assert train("autoencoder", recipe, photos, tmp_path).returncode == 0
    whole, parted = checkpoint(finished / "autoencoder")["ema"], checkpoint(tmp_path / "autoencoder")["ema"]
    assert all(torch.equal(whole[name], parted[name]) for name in whole)


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def train_in_two(words: list[str]) -> subprocess.CompletedProcess[str]:
    # With --cpu it would start one process; of --multi_gpu, --device cpu leaves the two.
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += [
        "--num_machines",
        "1",
        "--mixed_precision",
        "no",
        "--dynamo_backend",
        "no",
        "--main_process_port",
        free_port(),
    ]
    return subprocess.run([*launch, *words], capture_output=True, text=True, check=False, timeout=240)


@pytest.mark.parametrize("stage", ["autoencoder", *map(slow, ("denoiser", "noise-predictor"))])
def test_two_processes_train_as_one(stage: str, finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    for name in ("pool", *ORDER[: ORDER.index(stage)]):
        (tmp_path / name).symlink_to(finished / name)
    done = train_in_two(command(stage, recipe, photos, tmp_path))
    assert done.returncode == 0, done.stderr
    assert "shared by 2 processes" in done.stderr
    for one, two in zip(log_of(finished / stage), log_of(tmp_path / stage), strict=True):
        assert two == pytest.approx(one, rel=2e-4, abs=5e-5)
    one, two = (checkpoint(folder / stage)["ema"] for folder in (finished, tmp_path))
    apart = torch.cat([(two[name] - one[name]).abs().flatten() for name in one])
    assert apart.median() < 1e-5
    assert apart.quantile(0.99) < 1e-4
    assert apart.max() < 1e-3  # Adam takes whole steps along gradients that are all rounding error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_keeps_the_checkpoint(finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "pool").symlink_to(finished / "pool")
    assert train("upsampler", recipe, photos, tmp_path, "--minutes", "0.00001").returncode == 0
    before = (tmp_path / "upsampler" / "checkpoint.pt").read_bytes()
    (tmp_path / "upsampler" / "checkpoint.part").symlink_to("/dev/full")
    done = train("upsampler", recipe, photos, tmp_path)
    assert done.returncode == 1
    assert "checkpoint.pt cannot be written" in done.stderr
    assert (tmp_path / "upsampler" / "checkpoint.pt").read_bytes() == before


def test_a_stage_of_another_recipe_is_not_gone_on_with(finished: Path, photos: Path, tmp_path: Path) -> None:
    out = copied(finished, tmp_path, "pool", "upsampler")
    other = STAGE | {"steps": 7, "losses": [GAN | {"kind": "patch"}]}
    recipe = written(RECIPE | {"stages": {"upsampler": other}}, tmp_path)
    with pytest.raises(TrainingError, match=r"checkpoint\.pt was made by another recipe"):
        runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu"))


def test_a_changed_recipe_is_told(
    finished: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = copied(finished, tmp_path, "pool", "upsampler")
    recipe = written(RECIPE | {"stages": {"upsampler": STAGE | {"learning_rate": 0.5}}}, tmp_path)
    runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu"))
    assert re.search(
        r"upsampler, at step \d+, goes on by a changed recipe: .*learning_rate was .* and is 0.5", caplog.text
    )


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("pool/manifest.json", "manifest.json is missing or damaged .* delete"),
        ("pool/hr.npy", "hr.npy is missing or damaged .* delete"),
        ("upsampler/checkpoint.pt", "checkpoint.pt is damaged or no checkpoint"),
    ],
)
def test_damaged_files_of_a_run_are_named(
    file: str, words: str, finished: Path, recipe: Path, photos: Path, tmp_path: Path
) -> None:
    out = copied(finished, tmp_path, "pool", "upsampler")
    (out / file).write_bytes(b"{")
    with pytest.raises(TrainingError, match=words):
        runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu"))


def test_a_checkpoint_with_a_wrong_byte_is_not_gone_on_with(
    finished: Path, recipe: Path, photos: Path, tmp_path: Path
) -> None:
    """PyTorch loads it."""
    out = copied(finished, tmp_path, "pool", "upsampler")
    path = out / "upsampler" / "checkpoint.pt"
    shutil.copy(path, path.with_name("checkpoint.before.pt"))
    content = bytearray(path.read_bytes())
    biases = [tensor for tensor in checkpoint(out / "upsampler")["trained"].values() if tensor.ndim == 1]
    place = content.index(max(biases, key=torch.numel).numpy().tobytes())
    content[place + 3] ^= 0x7F
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)["step"]
    for what in ("upsampler", "export"):
        with pytest.raises(TrainingError, match=r"checkpoint.pt is damaged .* put checkpoint\.before\.pt"):
            runs.train(what, runs.Run(out, str(recipe), (photos,), begin_with=str(finished / "model"), device="cpu"))
    path.with_name("checkpoint.before.pt").replace(path)
    assert runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu"))


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user without all rights")
def test_a_checkpoint_that_may_not_be_read_is_not_called_damaged(
    finished: Path, recipe: Path, photos: Path, tmp_path: Path
) -> None:
    out = copied(finished, tmp_path, "pool", "upsampler")
    (out / "upsampler" / "checkpoint.pt").chmod(0)
    with pytest.raises(TrainingError, match=r"checkpoint.pt cannot be read: Permission denied"):
        runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu"))


def test_a_new_beginning_forgets_the_save_before(finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    """Else what diverges then would be told to go back to another training."""
    out = copied(finished, tmp_path, "pool", "upsampler")
    (out / "upsampler" / "checkpoint.pt").rename(out / "upsampler" / "checkpoint.before.pt")
    runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu", minutes=0))
    assert not (out / "upsampler" / "checkpoint.before.pt").exists()


def test_a_checkpoint_of_another_stage_is_not_taken(finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    out = copied(finished, tmp_path, "pool")
    shutil.copytree(finished / "autoencoder", out / "upsampler")
    with pytest.raises(TrainingError, match="is of the stage autoencoder"):
        runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu"))


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files")
def test_weights_can_be_read_by_whoever_may_read_the_rest(finished: Path) -> None:
    for part in (finished / "model").glob("*/"):
        assert (part / "model.safetensors").stat().st_mode == (part / "config.json").stat().st_mode
    for file in (finished / "upsampler" / "weights").iterdir():
        assert file.stat().st_mode == (finished / "upsampler" / "validation.jsonl").stat().st_mode


def test_what_a_kill_leaves_of_a_sample_grid_goes(finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    out = copied(finished, tmp_path, "pool", "upsampler")
    leftover = out / "upsampler" / "samples" / ".lpnsr-0123456789ab.tmp"
    leftover.touch()
    longer = RECIPE["stages"] | {"upsampler": RECIPE["stages"]["upsampler"] | {"steps": 7}}
    recipe = written(RECIPE | {"stages": longer}, tmp_path)
    assert runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu"))
    assert not leftover.exists()


def test_a_full_disk_is_no_bug(
    finished: Path, recipe: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = copied(finished, tmp_path, "pool")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lpnsr.training.records.Records._append", full)
    with pytest.raises(TrainingError, match="upsampler cannot be written: No space left on device"):
        runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu", budget=Budget(log_every=1)))


@pytest.mark.parametrize("minutes", [-1.0, float("nan")])
def test_minutes_that_would_never_end(minutes: float, recipe: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give 0 or more"):
        runs.train("upsampler", runs.Run(tmp_path, str(recipe), (photos,), device="cpu", minutes=minutes))


def test_no_minutes_at_all(finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    out = copied(finished, tmp_path, "pool")
    assert not runs.train("upsampler", runs.Run(out, str(recipe), (photos,), device="cpu", minutes=0))
    assert checkpoint(out / "upsampler")["step"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_a_step_and_saves(
    number: signal.Signals, finished: Path, photos: Path, tmp_path: Path
) -> None:
    out = copied(finished, tmp_path, "pool")
    long = written(RECIPE | {"stages": {"upsampler": STAGE | {"steps": 10**6}}}, tmp_path)
    words = [sys.executable, *command("upsampler", long, photos, out, "--save-every", "1000000")]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    while not (out / "upsampler" / "log.jsonl").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "saved" in told
    assert checkpoint(out / "upsampler")["step"] >= 2


def signalled(*lines: str) -> subprocess.CompletedProcess[str]:
    """Lines of Python around the signals of ``lpnsr train``, in a process of their own."""
    code = "\n".join(["import os, signal", "from lpnsr.apps.cli.train import _signals", *lines])
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_second_signal_ends_it_at_once_and_is_no_error_of_a_file() -> None:
    done = signalled(
        "os.close(2)  # whoever read it is gone",
        "try:",
        "    with _signals() as asked:",
        "        signal.raise_signal(signal.SIGINT)",
        "        print(asked, flush=True)",
        "        signal.raise_signal(signal.SIGINT)",
        "except Exception:",
        "    print('taken for something else')",
        "except KeyboardInterrupt:  # of which the command makes this",
        "    os._exit(130)",
    )
    assert (done.returncode, done.stdout) == (130, "[2]\n")


def test_a_signal_that_was_to_be_ignored_is() -> None:
    done = signalled(
        "signal.signal(signal.SIGINT, signal.SIG_IGN)",
        "with _signals() as asked:",
        "    signal.raise_signal(signal.SIGINT)",
        "print(asked, signal.getsignal(signal.SIGINT) == signal.SIG_IGN)",
    )
    assert (done.returncode, done.stdout) == (0, "[] True\n")


def test_steps_and_not_saving_are_timed(
    finished: Path, recipe: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a call that goes on times its own steps: of the mean of the losses, some may be of the call before."""
    out = copied(finished, tmp_path, "pool")
    budget = Budget(save_every=1, log_every=3, validate_every=1)
    clock = count(0.0, 0.5)
    run = runs.Run(out, str(recipe), (photos,), device="cpu", budget=budget)
    monkeypatch.setattr("lpnsr.training.loop.time", SimpleNamespace(monotonic=lambda: next(clock)))
    path = out / "upsampler" / "checkpoint.pt"
    two = replace(budget, stop=lambda: path.exists() and checkpoint(path.parent)["step"] == 2)
    monkeypatch.setattr("lpnsr.training.records.Records.keep", lambda *_: next(clock))
    assert not runs.train("upsampler", replace(run, budget=two))
    assert runs.train("upsampler", run)
    rows = [json.loads(line) for line in (out / "upsampler" / "log.jsonl").read_text().splitlines()]
    assert [row["seconds"] for row in rows] == [1.0, 3.0]
    assert [row["images_per_second"] for row in rows] == [BATCH, BATCH]
    assert [row["waiting_for_data"] for row in rows] == [0.5, 0.5]


@pytest.mark.parametrize("save_every", [1, 3, 12])
def test_what_diverges_leaves_an_earlier_checkpoint(
    save_every: int, finished: Path, photos: Path, tmp_path: Path
) -> None:
    """And logs that are JSON, which knows no NaN."""
    out = copied(finished, tmp_path, "pool", "upsampler")
    wild = RECIPE["stages"]["upsampler"] | {"steps": 400, "learning_rate": 1e30, "warmup": 0}
    path = written(RECIPE | {"stages": {"upsampler": wild}}, tmp_path)
    budget = Budget(save_every=save_every, log_every=1, validate_every=2)
    with pytest.raises(TrainingError, match=r"non-finite steps .* checkpoint\.before\.pt"):
        runs.train("upsampler", runs.Run(out, str(path), (photos,), device="cpu", budget=budget))
    folder = out / "upsampler"
    before = torch.load(folder / "checkpoint.before.pt", weights_only=True)
    assert before["step"] == checkpoint(finished / "upsampler")["step"] < checkpoint(folder)["step"]
    assert max(tensor.abs().max() for tensor in before["trained"].values()) < 100
    for name in ("log.jsonl", "validation.jsonl"):
        lines = (folder / name).read_text().splitlines()
        assert lines
        assert not [line for line in lines if "NaN" in line or "Infinity" in line]
    assert int(max((folder / "weights").glob("step-0*")).stem.removeprefix("step-")) > before["step"]
    (folder / "weights" / "step-mine.safetensors").touch()
    (folder / "mine").mkdir()
    (folder / "mine" / "step-0999999.png").touch()
    (folder / "checkpoint.before.pt").replace(folder / "checkpoint.pt")
    assert not runs.train("upsampler", runs.Run(out, str(path), (photos,), device="cpu", minutes=0))
    numbers = [int(path.stem.removeprefix("step-")) for path in (folder / "weights").glob("step-0*")]
    assert not [number for number in numbers if number > before["step"]]
    assert (folder / "weights" / "step-mine.safetensors").exists()
    assert (folder / "mine" / "step-0999999.png").exists()


def test_a_model_to_begin_with_does_not_change_what_has_begun(
    finished: Path, recipe: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = copied(finished, tmp_path, "pool")
    model = str(finished / "model")
    untrained = runs.Run(out, str(recipe), (photos,), device="cpu", minutes=0)
    runs.train("upsampler", untrained)
    runs.train("upsampler", replace(untrained, begin_with=model))
    assert "upsampler goes on from step 0 of a training that began untrained" in caplog.text
    caplog.clear()
    shutil.rmtree(out / "upsampler")
    for _ in range(2):
        runs.train("upsampler", replace(untrained, begin_with=model))
        runs.train("upsampler", untrained)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, ""),
        ({"chain": CHAIN | {"kappa": 3.0}}, "joint was trained for another chain than the recipe's: .*'kappa'"),
        ({"stages": {"upsampler": STAGE | {"steps": 9}}}, "upsampler is taken as it is after 6 of 9 steps"),
    ],
)
def test_an_export_tells_what_does_not_belong_together(
    change: dict[str, Any],
    words: str,
    finished: Path,
    photos: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    out = copied(finished, tmp_path, *ORDER)
    changed = RECIPE | change | {"stages": RECIPE["stages"] | change.get("stages", {})}
    run = runs.Run(out, str(written(changed, tmp_path)))
    with caplog.at_level("INFO"):
        runs.train("export", run)
    assert re.search(words, caplog.text)
    assert ("WARNING" in caplog.text) == bool(words)
    assert f"the model is in {out / 'model'}" in caplog.text


def test_an_export_tells_of_a_stage_that_was_trained_around_another(
    finished: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = copied(finished, tmp_path, "pool", *ORDER)
    longer = RECIPE["stages"] | {"upsampler": RECIPE["stages"]["upsampler"] | {"steps": 7}}
    run = runs.Run(out, str(written(RECIPE | {"stages": longer}, tmp_path)), (photos,), device="cpu")
    runs.train("upsampler", run)
    runs.train("export", run)
    assert "joint was trained around another upsampler than this one" in caplog.text
    shutil.rmtree(out / "joint")
    runs.train("export", run)
    assert "denoiser was trained around another upsampler than this one" in caplog.text
    assert "noise-predictor was trained around another upsampler than this one" in caplog.text


def test_an_export_tells_of_a_part_that_was_trained_on_after_the_joint_stage(
    finished: Path, recipe: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = copied(finished, tmp_path, *ORDER)
    last = (out / "joint" / "checkpoint.pt").stat().st_mtime
    run = runs.Run(out, str(recipe), device="cpu")
    for seconds in (-60, 60):
        caplog.clear()
        os.utime(out / "noise-predictor" / "checkpoint.pt", (last + seconds, last + seconds))
        runs.train("export", run)
        told = "the noise_predictor is taken from joint, but noise-predictor was trained on later: move" in caplog.text
        assert told == (seconds > 0)
        assert "the denoiser is taken from" not in caplog.text


def test_a_stage_tells_when_the_parts_around_it_do_not_belong_together(
    finished: Path, recipe: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = copied(finished, tmp_path, "pool", "denoiser")
    run = runs.Run(out, str(recipe), (photos,), begin_with=str(finished / "model"), device="cpu", minutes=0)
    runs.train("noise-predictor", run)
    assert "denoiser was trained around another autoencoder and upsampler than this one" in caplog.text


def test_steps_that_are_left_out_are_told(
    finished: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where a stage ends before there are enough of them to end it."""
    out = copied(finished, tmp_path, "pool")
    wild = STAGE | {"steps": 5, "learning_rate": 1e30, "warmup": 0}
    run = runs.Run(out, str(written(RECIPE | {"stages": {"upsampler": wild}}, tmp_path)), (photos,), device="cpu")
    assert runs.train("upsampler", run)
    assert re.search(r"upsampler: [45] updates of this call were left out", caplog.text)


def test_a_run_among_the_photographs(finished: Path, recipe: Path, photos: Path, tmp_path: Path) -> None:
    """Its sample grids are no photographs."""
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    out = copied(finished, folder / "run", "pool", "upsampler")
    made = out / "upsampler" / "samples" / "step-0000006.png"
    assert made.exists()
    (out / "upsampler" / "checkpoint.pt").unlink()
    usual = len(find_images([photos], tmp_path))
    assert len(find_images([folder], tmp_path / "elsewhere")) == usual
    (folder / "samples").mkdir()
    shutil.copy(made, folder / "samples" / "step-0000006.png")  # of somebody who names photographs so
    assert len(find_images([folder], tmp_path / "elsewhere")) == usual + 1
    assert len(find_images([folder], folder / "samples")) == usual
    with pytest.raises(TrainingError, match="is the folder of the photographs: choose another"):
        runs.train("upsampler", runs.Run(folder, str(recipe), (folder,), device="cpu"))


def test_of_processes_one_that_is_killed_is_told_by_the_other(finished: Path, photos: Path, tmp_path: Path) -> None:
    out = copied(finished, tmp_path, "pool")
    long = written(RECIPE | {"stages": {"upsampler": STAGE | {"steps": 10**6}}}, tmp_path)
    environment = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    environment |= {"MASTER_PORT": free_port(), "LOCAL_WORLD_SIZE": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, *command("upsampler", long, photos, out)],
            env=environment | {"RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    while not (out / "upsampler" / "log.jsonl").exists():
        assert not any(process.poll() for process in processes)
        time.sleep(0.01)
    processes[1].kill()
    told = [process.communicate(timeout=120)[1] for process in processes]
    assert processes[0].returncode == 1
    assert "error: another process of this run has ended" in told[0]
    assert "Traceback" not in told[0]
    assert "upsampler" not in told[1]  # the first of them says it
