"""Stages and losses by themselves, on tiny networks; and those of another package."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lpnsr.diffusion import Schedule
from lpnsr.networks import build
from lpnsr.training import runs
from lpnsr.training.data.draws import Draws
from lpnsr.training.data.pairs import Batch, PairPool
from lpnsr.training.losses import Comparison, Outcome, register_loss
from lpnsr.training.losses.latent import squared_error
from lpnsr.training.losses.view import View
from lpnsr.training.stages import STAGES, Stage, parse_stage, register_stage
from lpnsr.training.stages.upsampler import UpsamplerStage
from support.tiny_model import CHAIN, GUIDED
from support.training_run import RECIPE, STAGE, checkpoint, copied, written

SCHEDULE = Schedule.geometric(**CHAIN)


def stage_of(name: str, **settings: Any) -> Stage:
    torch.manual_seed(0)
    kind = STAGES[name]
    parts = {part: build(GUIDED[part]) for part in (*kind.trains, *kind.needs)}
    recipe = parse_stage(name, RECIPE["stages"][name] | settings)
    return kind(recipe, SCHEDULE, parts, ["real", "light"])


def batch_of(size: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(1)
    hr, start, teacher = torch.rand(3, size, 3, 64, 64, generator=generator)
    lr, features = torch.rand(size, 3, 16, 16, generator=generator), torch.randn(size, 8, 16, 16, generator=generator)
    return Batch(hr, lr, torch.arange(size) % 2, start, features, teacher)


def test_the_variance_is_measured_on_the_pool(finished: Path) -> None:
    stage, pool = stage_of("denoiser"), PairPool(finished / "pool")
    pool.add("start")
    stage.settle({"denoiser": {"variance": "measure"}, "autoencoder": {}}, pool)
    measured = stage.trained["denoiser"].config.variance
    batch = pool.batch(5, 0, 64, 96, ("start",))
    encode = stage.frozen["autoencoder"].encode
    with torch.no_grad():
        expected = (encode(batch.hr * 2 - 1) - encode(batch.start.clamp(0, 1) * 2 - 1)).square().mean((0, 2, 3))
    torch.testing.assert_close(torch.tensor(measured), expected, rtol=0.1, atol=0)
    assert list(measured) != GUIDED["denoiser"]["variance"]


def test_the_error_of_the_denoiser_has_unit_size_at_every_step() -> None:
    """Untrained, it predicts nothing beyond the best linear estimate."""
    stage, batch = stage_of("denoiser"), batch_of(16)
    outcome = stage(batch, Draws(0, 0), 0)
    assert outcome.unit.shape == (16, 4, 1, 1)
    assert len(outcome.unit.unique()) > 8
    seen = Comparison(Outcome(batch.hr, lambda: batch.hr, torch.zeros(1, 4, 2, 2), torch.ones(1, 4, 2, 2)), None, None)  # type: ignore[arg-type]
    assert squared_error(seen) == 1
    seen.outcome.unit = torch.full((1, 4, 1, 1), 2.0)
    assert squared_error(seen) == 0.25


def test_chains_are_entered_by_the_odds_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, batch = stage_of("noise-predictor", enter={2: 3.0, 4: 1.0}, checkpointing=False), batch_of(1)
    steps: Counter[int] = Counter()
    stage.frozen["denoiser"].register_forward_hook(lambda *_: steps.update([0]))
    lengths: Counter[int] = Counter()
    with torch.no_grad():
        for step in range(40):
            before = steps[0]
            stage(batch, Draws(0, step), step)
            lengths[steps[0] - before] += 1
    assert set(lengths) == {2, 4}
    assert 20 <= lengths[2] <= 38


def test_some_samples_start_from_bicubic() -> None:
    batch = batch_of(8)
    chain: Any = stage_of("noise-predictor", start_from={"bicubic": 1.0, "upsampler": 1.0})
    image, guide = chain.start(chain.restorer(), batch, Draws(0, 0))
    bicubic = chain.restorer().bicubic(batch.lr).clamp(0, 1)
    kinds = [(torch.equal(i, b), torch.equal(i, s)) for i, b, s in zip(image, bicubic, batch.start, strict=True)]
    assert set(kinds) == {(True, False), (False, True)}
    assert torch.equal(guide.features, batch.features)


def test_the_joint_stage_leaves_the_encoder_and_slows_the_others(finished: Path) -> None:
    before, after = checkpoint(finished / "autoencoder")["ema"], checkpoint(finished / "joint")["trained"]
    moved = {name.split(".")[1] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"decoder"}
    groups = checkpoint(finished / "joint")["optimiser"]["param_groups"]
    assert [group["factor"] for group in groups] == [1.0, 0.2, 0.2]
    assert groups[1]["lr"] == pytest.approx(0.2 * groups[0]["lr"])


def test_the_teacher_is_the_target_of_some_degradations() -> None:
    stage, batch = stage_of("upsampler", teacher_for=["light"]), batch_of(4)
    assert isinstance(stage, UpsamplerStage)
    target = stage(batch, Draws(0, 0), 0).target
    assert torch.equal(target[::2], batch.hr[::2])
    assert batch.teacher is not None
    assert torch.equal(target[1::2], batch.teacher[1::2])


def test_losses_are_lazy() -> None:
    def never() -> Tensor:
        raise AssertionError

    seen = Comparison(Outcome(torch.zeros(1), never), None, View(torch.Generator()))  # type: ignore[arg-type]
    with pytest.raises(AssertionError):
        _ = seen.result


def test_a_loss_and_a_stage_of_another_package(finished: Path, photos: Path, tmp_path: Path) -> None:
    @register_loss("test-brightness")
    def brightness(seen: Comparison) -> Tensor:
        return (seen.result.mean() - seen.target.mean()).abs()

    @register_stage("test-polish")
    class Polish(UpsamplerStage):
        tunes = True

    out = copied(finished, tmp_path, "pool", "upsampler")
    polish = STAGE | {"steps": 2, "losses": [{"name": "test-brightness", "weight": 3.0}]}
    path = written(RECIPE | {"stages": RECIPE["stages"] | {"test-polish": polish}}, tmp_path)
    assert runs.train("test-polish", runs.Run(out, str(path), (photos,), device="cpu"))
    state, before = checkpoint(out / "test-polish"), checkpoint(out / "upsampler")
    assert state["origin"]["begun_with"] is None
    assert (state["trained"]["upsampler.conv_last.bias"] - before["ema"]["upsampler.conv_last.bias"]).abs().max() < 0.01
