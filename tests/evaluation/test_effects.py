"""Smallest effects of interest: the table, and properties of the judgement."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lpnsr.evaluation.metrics import METRICS
from lpnsr.evaluation.statistics import Effect, Interval, effect, effects_text, smallest_effect

numbers = st.floats(-10, 10)
smallest = st.floats(1e-4, 1)


@st.composite
def intervals(draw: st.DrawFn) -> Interval:
    low, mean, high = sorted(draw(st.tuples(numbers, numbers, numbers)))
    return Interval(mean, low, high, draw(st.integers(2, 100)))


def mirrored(of: Interval) -> Interval:
    return Interval(-of.mean, -of.high, -of.low, of.count)


@given(intervals(), smallest)
def test_a_certain_effect_excludes_zero_and_is_large(difference: Interval, least: float) -> None:
    found = effect(difference, least)
    large = difference.mean > least and difference.low > 0
    assert (found is Effect.HIGHER) == large
    assert (found is Effect.NONE) == (-least <= difference.low and difference.high <= least)


@given(intervals(), smallest)
def test_the_order_of_the_two_does_not_matter(difference: Interval, least: float) -> None:
    sides = {Effect.HIGHER: Effect.LOWER, Effect.LOWER: Effect.HIGHER}
    found = effect(difference, least)
    assert effect(mirrored(difference), least) is sides.get(found, found)


@given(intervals(), smallest, st.floats(0.01, 100))
def test_units_do_not_matter(difference: Interval, least: float, unit: float) -> None:
    scaled = Interval(*(unit * x for x in (difference.mean, difference.low, difference.high)), difference.count)
    close = any(abs(abs(x) - least) < 1e-6 for x in (difference.mean, difference.low, difference.high))
    assert close or effect(scaled, unit * least) is effect(difference, least)


@given(intervals(), smallest, st.floats(1, 10))
def test_a_larger_smallest_effect_finds_no_more(difference: Interval, least: float, times: float) -> None:
    rank = {Effect.HIGHER: 2, Effect.LOWER: 2, Effect.UNDECIDED: 1, Effect.NONE: 0}
    assert rank[effect(difference, times * least)] <= rank[effect(difference, least)]


@given(numbers, smallest)
def test_one_image_decides_nothing(mean: float, least: float) -> None:
    assert effect(Interval(mean, mean, mean, 1), least) is Effect.UNDECIDED


def test_every_metric_has_a_smallest_effect() -> None:
    assert all(smallest_effect(name) > 0 for name in METRICS)
    assert smallest_effect("edges_t2") == smallest_effect("edges")
    assert "NIQE 0.05, distance 0.02. No" in effects_text(
        [("niqe", "NIQE"), ("distance_t4", "distance, t = 4"), ("distance_t3", "distance, t = 3")]
    )
