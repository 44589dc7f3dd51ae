"""What the seeds draw: every probability and range of the recipe; kernels against their formulas."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from lpnsr.degradation import PRESETS, DegradationRecipe, kernels
from lpnsr.degradation.plan import MODES, DegradationStage, Kernel, Plan, draw
from lpnsr.errors import ConfigError

PLANS = [draw(PRESETS["real"], seed, (256, 256)) for seed in range(6000)]
FIRST = [plan.stages[0] for plan in PLANS]
SECOND = [plan.stages[1] for plan in PLANS if len(plan.stages) == 2]
STAGES = {"first": FIRST, "second": SECOND}


def assert_share(hits: list[bool], probability: float) -> None:
    """Within four standard deviations."""
    sigma = math.sqrt(probability * (1 - probability) / len(hits))
    assert np.mean(hits) == pytest.approx(probability, abs=4 * sigma + 1e-12)


def assert_uniform(values: list[float], low: float, high: float) -> None:
    """Within the range, near both ends, with the mean of a uniform law."""
    width, n = high - low, len(values)
    assert low <= min(values) < low + 12 * width / n
    assert high - 12 * width / n < max(values) <= high
    assert np.mean(values) == pytest.approx((low + high) / 2, abs=4 * width / math.sqrt(12 * n))


def blurs(stages: list[DegradationStage]) -> list[Kernel]:
    return [stage.blur for stage in stages if stage.blur]


def test_a_plan_is_a_function_of_its_seed() -> None:
    assert PLANS[:50] == [draw(PRESETS["real"], seed, (256, 256)) for seed in range(50)]
    assert len(set(PLANS)) == len(PLANS)


def test_the_second_order_comes_as_a_whole_half_the_time() -> None:
    assert_share([len(plan.stages) == 2 for plan in PLANS], 0.5)
    assert all(stage.resize and stage.noise and stage.quality is None for stage in SECOND)
    assert all(stage.blur and stage.resize and stage.noise and stage.quality for stage in FIRST)
    assert_share([stage.blur is not None for stage in SECOND], 0.8)


@pytest.mark.parametrize(("order", "largest", "sigma"), [("first", 19, (0.2, 3.0)), ("second", 13, (0.2, 1.5))])
def test_blur_kernels(order: str, largest: int, sigma: tuple[float, float]) -> None:
    drawn = blurs(STAGES[order])
    sizes = range(3, largest + 1, 2)
    for size in sizes:
        assert_share([kernel.size == size for kernel in drawn], 1 / len(sizes))
    assert_share([kernel.kind == "sinc" for kernel in drawn], 0.1)
    odds = {
        "iso": 0.45,
        "aniso": 0.25,
        "generalised_iso": 0.12,
        "generalised_aniso": 0.03,
        "plateau_iso": 0.12,
        "plateau_aniso": 0.03,
    }
    smooth = [kernel for kernel in drawn if kernel.kind != "sinc"]
    for kind, probability in odds.items():
        assert_share([kernel.kind == kind for kernel in smooth], probability)
    turned = [kernel for kernel in smooth if kernel.kind.endswith("aniso")]
    assert_uniform([kernel.sigma_x for kernel in smooth], *sigma)
    assert_uniform([kernel.sigma_y for kernel in turned], *sigma)
    assert_uniform([kernel.theta for kernel in turned], -math.pi, math.pi)
    assert all(k.sigma_x == k.sigma_y and not k.theta for k in smooth if k not in turned)
    assert all(k.beta == 1 for k in smooth if k.kind in ("iso", "aniso"))
    plateau = [k.beta for k in smooth if k.kind.startswith("plateau")]
    assert_uniform(plateau, 1.0, 2.0)
    general = [k.beta for k in smooth if k.kind.startswith("generalised")]
    assert_share([beta < 1 for beta in general], 0.5)
    assert_uniform([beta for beta in general if beta < 1], 0.5, 1.0)
    assert_uniform([beta for beta in general if beta >= 1], 1.0, 4.0)
    for small in (True, False):
        cutoffs = [k.cutoff for k in drawn if k.kind == "sinc" and (k.size < 13) == small]
        if len(cutoffs) > 30:
            assert_uniform(cutoffs, math.pi / 3 if small else math.pi / 5, math.pi)


@pytest.mark.parametrize(
    ("order", "base", "odds", "factor"),
    [("first", 256, (0.2, 0.7, 0.1), (0.15, 1.5)), ("second", 64, (0.3, 0.4, 0.3), (0.3, 1.2))],
)
def test_resizes(order: str, base: int, odds: tuple[float, ...], factor: tuple[float, float]) -> None:
    plans = [draw(PRESETS["real"], seed, (base * 4000, base * 4000)) for seed in range(6000)]  # rounding hides nothing
    whole = base * 4000 // (1 if order == "first" else 4)
    base = whole
    place = 0 if order == "first" else 1
    resizes = [plan.stages[place].resize for plan in plans if len(plan.stages) > place]
    factors = [resize.size[0] / base for resize in resizes if resize]
    for hits, probability in zip(
        ([f > 1 for f in factors], [f < 1 for f in factors], [f == 1 for f in factors]), odds, strict=True
    ):
        assert_share(hits, probability)
    assert_uniform([f for f in factors if f > 1], 1, factor[1])
    assert_uniform([f for f in factors if f < 1], factor[0], 1)
    for mode in MODES:
        assert_share([bool(resize and resize.mode == mode) for resize in resizes], 1 / 3)


@pytest.mark.parametrize(
    ("order", "sigma", "scale"), [("first", (1.0, 30.0), (0.05, 3.0)), ("second", (1.0, 25.0), (0.05, 2.5))]
)
def test_noises(order: str, sigma: tuple[float, float], scale: tuple[float, float]) -> None:
    noises = [stage.noise for stage in STAGES[order] if stage.noise]
    assert_share([noise.gaussian for noise in noises], 0.5)
    for gaussian in (True, False):
        assert_share([noise.gray for noise in noises if noise.gaussian == gaussian], 0.4)
    assert_uniform([noise.strength * 255 for noise in noises if noise.gaussian], *sigma)
    assert_uniform([noise.strength for noise in noises if not noise.gaussian], *scale)


def test_jpeg_and_the_last_steps() -> None:
    for qualities in ([s.quality for s in FIRST], [plan.quality for plan in PLANS]):
        counts = Counter(qualities)
        assert set(counts) == set(range(30, 96))
        assert max(counts.values()) < 4 * math.sqrt(6000 / 66) + 6000 / 66
    assert_share([plan.jpeg_first for plan in PLANS], 0.5)
    assert_share([plan.sinc is not None for plan in PLANS], 0.8)
    sincs = [plan.sinc for plan in PLANS if plan.sinc]
    for size in range(7, 22, 2):
        assert_share([sinc.size == size for sinc in sincs], 1 / 8)
    assert_uniform([sinc.cutoff for sinc in sincs], math.pi / 3, math.pi)
    assert all(plan.resize.size == (64, 64) for plan in PLANS)
    for mode in MODES:
        assert_share([plan.resize.mode == mode for plan in PLANS], 1 / 3)


def test_draws_of_different_steps_are_independent() -> None:
    columns = [
        [plan.quality for plan in PLANS],
        [plan.jpeg_first for plan in PLANS],
        [plan.sinc is not None for plan in PLANS],
        [len(plan.stages) for plan in PLANS],
        [stage.quality for stage in FIRST],
        [bool(stage.noise and stage.noise.gaussian) for stage in FIRST],
        [bool(stage.noise and stage.noise.gray) for stage in FIRST],
    ]
    correlation = np.corrcoef(np.array(columns, float))
    np.fill_diagonal(correlation, 0)
    assert np.abs(correlation).max() < 4.5 / math.sqrt(6000)


def test_classic_has_nothing_but_the_resize() -> None:
    for seed in range(20):
        plan = draw(PRESETS["classic"], seed, (64, 32))
        assert plan.stages == (DegradationStage(None, None, None, None),)
        assert (plan.resize.size, plan.resize.mode, plan.resize.antialias) == ((16, 8), "bicubic", True)
        assert plan.sinc is None
        assert plan.quality is None


def test_light_is_milder_than_real() -> None:
    def strength(plans: list[Plan]) -> float:
        return float(np.mean([s.noise.strength for p in plans for s in p.stages if s.noise and s.noise.gaussian]))

    light = [draw(PRESETS["light"], seed, (256, 256)) for seed in range(500)]
    assert all(len(plan.stages) == 1 for plan in light)
    assert strength(light) < strength(PLANS) / 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"jpeg": (95, 30)}, "swap them"),
        ({"jpeg": (0, 30)}, "jpeg.0"),
        ({"blur": {"sizes": (4, 9)}}, "odd"),
        ({"blur": {"sigma": (0, 1)}}, "sigma.0"),
        ({"blur": {"kinds": {"iso": 0}}}, "above 0"),
        ({"blur": {"kinds": {"isotropic": 1}}}, "isotropic"),
        ({"resize": {"odds": (0, 0, 0)}}, "above 0"),
        ({"resize": {"odds": (-1, 1, 1)}}, "odds.0"),
        ({"resize": {"factor": (0.1, float("inf"))}}, "factor.1"),
        ({"noise": {"gaussian_probability": 1.5}}, "gaussian_probability"),
        ({"final_sinc_cutoff": (1, 4)}, "final_sinc_cutoff.1"),
        ({"scale": 0}, "scale"),
        ({"second_probabilty": 0.5}, "second_probability"),
        ({"blur": {"sigmas": (1, 2)}}, "did you mean 'sigma'"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        DegradationRecipe.parse(change, "recipe")


def moments(kernel: np.ndarray) -> np.ndarray:
    """The covariance of x and y under the kernel."""
    axis = np.arange(len(kernel)) - len(kernel) // 2
    x, y = np.meshgrid(axis, axis)
    k = kernel.astype(np.float64)
    return np.array([[(k * x * x).sum(), (k * x * y).sum()], [(k * x * y).sum(), (k * y * y).sum()]])


@pytest.mark.parametrize("theta", [0.0, math.pi / 6, -2.0, math.pi / 2])
def test_a_gaussian_has_the_covariance_of_its_sigmas_turned(theta: float) -> None:
    turn = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    expected = turn @ np.diag([16.0, 4.0]) @ turn.T
    np.testing.assert_allclose(moments(kernels.gaussian(61, 4.0, 2.0, theta)), expected, atol=0.02)


def test_generalised_gaussian_and_plateau_follow_their_formulas() -> None:
    for make, law in (
        (kernels.gaussian, lambda q, b: math.exp(-0.5 * q**b)),
        (kernels.plateau, lambda q, b: 1 / (1 + q**b)),
    ):
        for beta in (0.5, 1.7, 4.0):
            kernel = make(9, 1.5, 2.5, 0.0, beta)
            assert float(kernel[4, 6] / kernel[4, 4]) == pytest.approx(law((2 / 1.5) ** 2, beta), rel=1e-5)
            assert float(kernel[6, 4] / kernel[4, 4]) == pytest.approx(law((2 / 2.5) ** 2, beta), rel=1e-5)


def test_beta_flattens_the_middle() -> None:
    flat, peaked = (kernels.gaussian(15, 3.0, 3.0, 0.0, beta) for beta in (4.0, 0.5))
    assert flat[7, 8] / flat[7, 7] > 0.99
    assert peaked[7, 8] / peaked[7, 7] < 0.9


@pytest.mark.parametrize("cutoff", [math.pi / 5, 1.5, 2.5])
def test_sinc_passes_below_its_cutoff_and_stops_above(cutoff: float) -> None:
    spectrum = np.abs(np.fft.fft2(kernels.sinc(41, cutoff), s=(512, 512)))
    fy, fx = np.meshgrid(2 * math.pi * np.fft.fftfreq(512), 2 * math.pi * np.fft.fftfreq(512), indexing="ij")
    radius = np.hypot(fx, fy)
    assert spectrum[radius < cutoff - 0.25].min() > 0.8
    assert spectrum[radius > cutoff + 0.25].max() < 0.15
    ring = spectrum[np.abs(radius - cutoff) < 0.02]
    assert ring.mean() == pytest.approx(0.5, abs=0.08)


def test_sinc_follows_its_formula() -> None:
    """J1 by its integral: (1/pi) int cos(t - x sin t) dt over 0..pi."""
    t = (np.arange(20000) + 0.5) * math.pi / 20000
    kernel = kernels.sinc(9, 1.3)
    for column in (5, 7):
        r = column - 4
        j1 = np.cos(t - 1.3 * r * np.sin(t)).mean()
        expected = (1.3 * j1 / (2 * math.pi * r)) / (1.3**2 / (4 * math.pi))
        assert float(kernel[4, column] / kernel[4, 4]) == pytest.approx(expected, rel=1e-5)


def test_every_drawn_kernel_has_the_sum_one_and_is_symmetric() -> None:
    for kernel in [*blurs(FIRST[:600]), *(plan.sinc for plan in PLANS[:200] if plan.sinc)]:
        taps = kernel.taps()
        assert taps.shape == (kernel.size, kernel.size)
        assert taps.dtype == np.float32
        assert float(taps.sum(dtype=np.float64)) == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(taps, taps[::-1, ::-1], rtol=1e-4, atol=1e-8)
        if kernel.kind != "sinc":
            assert taps.min() >= 0
            assert taps.argmax() == taps.size // 2


def test_separable_terms_add_up_to_the_kernel() -> None:
    terms = []
    for kernel in blurs(FIRST[:400]):
        taps = kernel.taps()
        pairs = kernels.separable(taps)
        terms.append(len(pairs))
        assert np.abs(taps - sum(np.outer(*pair) for pair in pairs)).sum() < 2.1e-4
    assert len(kernels.separable(kernels.gaussian(19, 2.0, 1.0, 0.0))) == 1
    assert np.mean(terms) < 5
