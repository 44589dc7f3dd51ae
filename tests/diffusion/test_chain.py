"""Schedule, process and chain: the identities that define them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lpnsr.diffusion import (
    GaussianNoise,
    MixedNoise,
    OracleNoise,
    PredictedNoise,
    Schedule,
    StepState,
    optimal_noise,
    posterior_mean,
    q_mean,
    q_sample,
    reverse_chain,
)
from lpnsr.errors import ConfigError

SHAPE = (2, 3, 4, 5)
relaxed = settings(deadline=None)  # a busy machine is no failure


def tensor(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def draw(step: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(100 + step), dtype=torch.float64)


def never(state: StepState) -> Tensor:
    raise AssertionError(f"asked for noise at t = {state.t}")


@st.composite
def schedules(make: st.DrawFn) -> Schedule:
    return Schedule.geometric(
        steps=make(st.integers(1, 20)),
        kappa=make(st.floats(0.1, 8)),
        min_noise_level=make(st.floats(0.01, 0.3)),
        power=make(st.floats(0.1, 3)),
    )


@pytest.mark.parametrize("steps", [4, 15])
def test_recorded_schedules(data: Path, steps: int) -> None:
    recorded = json.loads((data / f"schedule_{steps}.json").read_text())
    names = ("steps", "kappa", "min_noise_level", "etas_end", "power")
    schedule = Schedule.geometric(**{name: recorded[name] for name in names})
    assert [math.sqrt(eta) for eta in schedule.etas] == pytest.approx(recorded["sqrt_etas"], abs=1e-7)
    if "alpha" not in recorded:
        return
    each = range(1, steps + 1)
    assert [schedule.alpha(t) for t in each] == pytest.approx(recorded["alpha"], abs=1e-7)
    keep, take = zip(*map(schedule.posterior_coefficients, each), strict=True)
    assert keep == pytest.approx(recorded["posterior_mean_coef1"], abs=1e-7)
    assert take == pytest.approx(recorded["posterior_mean_coef2"], abs=1e-7)
    variances = [schedule.sigma(t) ** 2 for t in each]
    assert variances == pytest.approx(recorded["posterior_variance"], abs=1e-6)


@relaxed
@given(schedules(), st.data())
def test_reverse_step_has_the_forward_marginal(schedule: Schedule, data: st.DataObject) -> None:
    t = data.draw(st.integers(1, schedule.steps))
    keep, take = schedule.posterior_coefficients(t)
    assert keep + take == pytest.approx(1)
    # x_t = x0 + eta_t (y0 - x0) + kappa sqrt(eta_t) eps  =>  x_{t-1} has eta_{t-1} in mean and in variance.
    assert keep * schedule.eta(t) == pytest.approx(schedule.eta_previous(t))
    variance = keep**2 * schedule.noise_scale(t) ** 2 + schedule.sigma(t) ** 2
    assert variance == pytest.approx(schedule.kappa**2 * schedule.eta_previous(t))
    assert schedule.input_scale(t) == pytest.approx((schedule.noise_scale(t) ** 2 + 1) ** -0.5)


@relaxed
@given(schedules(), st.data())
def test_respacing_keeps_the_last_step_and_the_labels(schedule: Schedule, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, schedule.steps))
    some = schedule.respaced(count)
    assert some.steps == len(set(some.labels)) == count
    assert some.labels[-1] == schedule.steps - 1
    assert some.labels[0] == (0 if count > 1 else schedule.steps - 1)
    assert some.etas == tuple(schedule.etas[label] for label in some.labels)
    assert schedule.respaced(schedule.steps) == schedule


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"kappa": 0.0}, {"etas_end": 1.5}, {"min_noise_level": 3.0}, {"power": 0.0}]
)
def test_impossible_schedules(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Schedule.geometric(**wrong)  # type: ignore[arg-type]


def test_out_of_range() -> None:
    schedule = Schedule.geometric()
    for t in (0, 5):
        with pytest.raises(IndexError, match="allowed: 1 to 4"):
            schedule.sigma(t)
    with pytest.raises(ConfigError, match="1 to 4"):
        schedule.respaced(5)
    with pytest.raises(ConfigError, match="1 to 4"):
        reverse_chain(lambda x, t: x, schedule, tensor(0), GaussianNoise(), draw, start=0)
    with pytest.raises(ConfigError, match="rise"):
        Schedule(2.0, (0.5, 0.5))
    with pytest.raises(ConfigError, match="labels"):
        Schedule(2.0, (0.1, 0.5), (3,))


def test_process_by_hand() -> None:
    schedule = Schedule(2.0, (0.25, 0.64))
    x0, y0, noise = tensor(0), tensor(1), tensor(2)
    torch.testing.assert_close(q_sample(schedule, x0, y0, 1, noise), 0.75 * x0 + 0.25 * y0 + noise)
    torch.testing.assert_close(q_sample(schedule, x0, y0, 2, noise), 0.36 * x0 + 0.64 * y0 + 1.6 * noise)
    torch.testing.assert_close(posterior_mean(schedule, y0, x0, 2), (0.25 * y0 + 0.39 * x0) / 0.64)
    assert schedule.sigma(2) == pytest.approx(2 * math.sqrt(0.25 * 0.39 / 0.64))
    assert posterior_mean(schedule, y0, x0, 1) is x0


@relaxed
@given(schedules().filter(lambda schedule: schedule.steps > 1), st.data())
def test_optimal_noise_lands_on_the_forward_mean(schedule: Schedule, data: st.DataObject) -> None:
    t = data.draw(st.integers(2, schedule.steps))
    x0, y0, guess = tensor(0), tensor(1), tensor(2)
    x_t = q_sample(schedule, x0, y0, t, tensor(3))
    mean = posterior_mean(schedule, x_t, guess, t)
    z = optimal_noise(schedule, x0, y0, t, mean)
    torch.testing.assert_close(mean + schedule.sigma(t) * z, q_mean(schedule, x0, y0, t - 1))


def test_no_optimal_noise_at_the_last_step() -> None:
    with pytest.raises(ConfigError, match="t >= 2"):
        optimal_noise(Schedule.geometric(), tensor(0), tensor(1), 1, tensor(2))


@relaxed
@given(schedules(), st.data())
def test_oracle_noise_follows_the_forward_means(schedule: Schedule, data: st.DataObject) -> None:
    """Whatever the denoiser says: the noise makes up for it."""
    start = data.draw(st.integers(1, schedule.steps))
    x0, y0, states = tensor(0), tensor(1), []
    result = reverse_chain(
        lambda x, t: torch.tanh(x), schedule, y0, OracleNoise(x0, y0), draw, start=start, callback=states.append
    )
    assert [state.t for state in states] == [*range(start, 0, -1)]
    torch.testing.assert_close(states[0].x_t, y0 + schedule.noise_scale(start) * draw(start, SHAPE))
    for state in states[:-1]:
        torch.testing.assert_close(state.x_previous, q_mean(schedule, x0, y0, state.t - 1))
    assert states[-1].x_previous is result
    assert states[-1].x0 is result


@relaxed
@given(schedules())
def test_denoiser_sees_scaled_states_and_its_own_labels(schedule: Schedule) -> None:
    some, seen = schedule.respaced((schedule.steps + 1) // 2), []

    def denoiser(x: Tensor, label: int) -> Tensor:
        seen.append((x, label))
        return x

    states: list[StepState] = []
    reverse_chain(denoiser, some, tensor(0), GaussianNoise(), draw, callback=states.append)
    assert [label for _, label in seen] == [*reversed(some.labels)] == [state.label for state in states]
    for (x, _), state in zip(seen, states, strict=True):
        torch.testing.assert_close(x, state.x_t / math.sqrt(some.kappa**2 * some.eta(state.t) + 1))


def test_gaussian_step() -> None:
    schedule, states = Schedule.geometric(), []
    reverse_chain(lambda x, t: x.sin(), schedule, tensor(0), GaussianNoise(), draw, callback=states.append)
    for state in states[:-1]:
        expected = posterior_mean(schedule, state.x_t, state.x0, state.t) + state.sigma * draw(state.t - 1, SHAPE)
        torch.testing.assert_close(state.x_previous, expected)


def test_last_step_asks_for_no_noise() -> None:
    asked = []

    def counting(step: int, shape: tuple[int, ...]) -> Tensor:
        asked.append(step)
        return draw(step, shape)

    reverse_chain(lambda x, t: x, Schedule.geometric(), tensor(0), GaussianNoise(), counting)
    assert asked == [4, 3, 2, 1]
    reverse_chain(lambda x, t: x, Schedule.geometric(), tensor(0), never, counting, start=1)
    reverse_chain(lambda x, t: x, Schedule.geometric(steps=1), tensor(0), never, counting)


def test_predicted_noise() -> None:
    schedule, calls = Schedule.geometric(), []

    def predictor(state: StepState) -> tuple[Tensor, Tensor]:
        calls.append(state)
        return state.x_t, torch.full_like(state.x_t, math.log(9))

    def forbidden() -> Tensor:
        raise AssertionError("the mode draws nothing")

    state = StepState(schedule, 2, 7, tensor(0), tensor(1), tensor(2), 1.0, draw=lambda: tensor(3))
    sampled = PredictedNoise(predictor, temperature=0.5)(state)
    torch.testing.assert_close(sampled, tensor(0) + 0.5 * 3 * tensor(3))
    assert calls == [state]
    silent = StepState(schedule, 2, 7, tensor(0), tensor(1), tensor(2), 1.0, draw=forbidden)
    torch.testing.assert_close(PredictedNoise(predictor, temperature=0.0)(silent), tensor(0))
    with pytest.raises(ConfigError, match="temperature"):
        PredictedNoise(predictor, temperature=-0.1)


def test_mixed_noise_switches_single_steps() -> None:
    mixed = MixedNoise({2: lambda state: torch.zeros_like(state.x_t)}, default=GaussianNoise())
    states: list[StepState] = []
    reverse_chain(lambda x, t: x, Schedule.geometric(), tensor(0), mixed, draw, callback=states.append)
    for state in states[:-1]:
        assert state.noise is not None
        assert bool(state.noise.any()) == (state.t != 2)
    assert states[-1].noise is None
    with pytest.raises(ConfigError, match="t = 1 takes no noise"):
        MixedNoise({1: GaussianNoise()})


def test_gradients_reach_everything() -> None:
    y0 = tensor(0).requires_grad_()
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    offset = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)

    def run(y0: Tensor, weight: Tensor, offset: Tensor) -> Tensor:
        noise = PredictedNoise(lambda state: (offset * state.x0, offset * state.x_t))
        return reverse_chain(lambda x, t: weight * x.tanh(), Schedule.geometric(), y0, noise, draw)

    assert torch.autograd.gradcheck(run, (y0, weight, offset))
