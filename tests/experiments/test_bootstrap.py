"""Intervals of estimates, on samples whose truth is known."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from adamas.experiments.bootstrap import Estimate, caveat, estimate, estimate_runs

Array = NDArray[np.float64]
SAMPLES = 400


def mean(samples: Array) -> Array:
    """The mean over all axes of a sample."""
    return samples.reshape(len(samples), -1).mean(axis=1, keepdims=True)


def ratio(samples: Array) -> Array:
    """The mean of the first column over that of the second."""
    means = samples.reshape(len(samples), -1, 2).mean(axis=1)
    return means[:, :1] / means[:, 1:]


def only(estimates: list[Estimate]) -> Estimate:
    (found,) = estimates
    return found


def interval(estimates: list[Estimate]) -> tuple[float, float]:
    found = only(estimates).interval
    assert found is not None
    return found


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_of_a_mean_of_normal_noise_has_the_truth_in_19_of_20_cases(seeds: int) -> None:
    random = np.random.default_rng(0)
    ends = [interval(estimate(mean, random.normal(1.0, 0.3, seeds))) for _ in range(SAMPLES)]
    assert 0.92 <= np.mean([low < 1 < high for low, high in ends]) <= 0.98


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_so_has_that_of_a_ratio_of_runs_with_common_seeds(seeds: int) -> None:
    random = np.random.default_rng(1)
    ends = []
    for _ in range(SAMPLES):
        common = random.normal(0, 0.05, (seeds, 1, 1, 1))
        costs = (np.array([2.0, 1.0]) + 0.1 * random.normal(size=(seeds, 4, 2, 2))) * (1 + common)
        ends.append(interval(estimate_runs(ratio, costs, ratio=True)))
    assert 0.92 <= np.mean([low < 2 < high for low, high in ends]) <= 0.98


@pytest.mark.parametrize(("epochs", "records"), [(3, 2), (8, 2), (3, 4)])
def test_with_one_seed_the_mini_batches_of_an_epoch_are_drawn(epochs: int, records: int) -> None:
    random = np.random.default_rng(2)
    level = np.arange(epochs, dtype=float)[:, None]  # epochs differ, and are not drawn
    found = [
        only(estimate_runs(mean, (level + random.normal(size=(epochs, records)))[None]))
        for _ in range(SAMPLES)
    ]
    truth = level.mean()
    assert 0.92 <= np.mean([each.within(truth, truth) is None for each in found]) <= 0.98
    assert all(each.of_one_run for each in found)
    assert caveat(found) == "; one seed: intervals over its mini-batches"


def test_the_interval_of_a_mean_is_students() -> None:
    sample = np.random.default_rng(3).normal(size=7)
    expected = stats.ttest_1samp(sample, 0).confidence_interval()
    assert interval(estimate(mean, sample)) == pytest.approx(tuple(expected), abs=0.05)


def test_it_moves_with_the_unit_and_is_the_same_every_time() -> None:
    costs = np.random.default_rng(4).normal(1, 0.1, (5, 3, 2, 2))
    for measure, of_ratio, factor in ((mean, False, 8.0), (ratio, True, 1.0)):
        one, other = (only(estimate_runs(measure, unit * costs, ratio=of_ratio)) for unit in (1.0, 8.0))
        assert one.interval is not None
        assert other.value == pytest.approx(factor * one.value)
        assert other.interval == pytest.approx([factor * end for end in one.interval])
        assert one == only(estimate_runs(measure, costs, ratio=of_ratio))


def test_a_ratio_and_its_inverse_have_the_same_interval() -> None:
    costs = np.random.default_rng(5).normal(1, 0.2, (4, 1, 1, 2))
    low, high = interval(estimate_runs(ratio, costs, ratio=True))
    assert interval(estimate_runs(ratio, costs[..., ::-1], ratio=True)) == pytest.approx([1 / high, 1 / low])


def test_what_moves_all_curves_alike_moves_no_ratio() -> None:
    random = np.random.default_rng(6)
    common = random.normal(1, 0.3, (3, 4, 2, 1)) * np.array([2.0, 1.0])
    apart = random.normal(1, 0.3, (3, 4, 2, 2)) * np.array([2.0, 1.0])
    found = only(estimate_runs(ratio, common, ratio=True))
    assert found.value == pytest.approx(2)
    assert found.interval == (found.value, found.value)  # rounding is no spread
    low, high = interval(estimate_runs(ratio, apart, ratio=True))
    assert high - low > 0.1


def test_more_seeds_narrow_it_and_seeds_count_for_more_than_their_records() -> None:
    random = np.random.default_rng(7)
    seeds = random.normal(size=(100, 1, 1))
    widths = [np.ptp(interval(estimate_runs(mean, seeds[:n]))) for n in (3, 10, 30, 100)]
    assert widths == sorted(widths, reverse=True)
    # Records of one seed that are alike are no more seeds.
    repeated = np.tile(seeds[:10], (1, 20, 5))
    assert interval(estimate_runs(mean, repeated)) == pytest.approx(interval(estimate_runs(mean, seeds[:10])))


def test_with_one_seed_and_one_record_an_epoch_there_is_no_interval() -> None:
    found = estimate_runs(mean, np.ones((1, 5, 1)))
    assert found == estimate(mean, np.ones((1, 5))) == [Estimate(1.0)]
    assert f"{only(found):.2f}" == "1.00"
    assert caveat(found) == "; one seed: no interval"
    assert caveat(estimate(mean, np.ones((2, 5)))) == ""


@pytest.mark.parametrize("sample", [[[1.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]], [[1.0, 0.0]] * 2])
def test_a_ratio_without_logarithm_has_the_range_of_what_was_drawn(sample: list[list[float]]) -> None:
    with np.errstate(divide="ignore"):
        found = only(estimate(ratio, np.array(sample), ratio=True))
    assert found.interval is not None
    assert found.interval[0] <= found.value <= found.interval[1]


def test_an_estimate_is_formatted_as_its_value() -> None:
    assert f"{Estimate(1.861, (1.712, 2.021)):.2f}" == "1.86 [1.71, 2.02]"
    assert f"{Estimate(0.5):.0%}" == "50%"


@pytest.mark.parametrize(
    ("low", "high", "inside"),
    [(1.0, 3.0, True), (1.5, 2.5, True), (0.0, 2.0, None), (2.0, math.inf, None), (3.0, 4.0, False)],
)
def test_a_threshold_in_the_interval_decides_nothing(low: float, high: float, inside: bool | None) -> None:
    assert Estimate(2.0, (1.5, 2.5)).within(low, high) is inside
    assert Estimate(2.0).within(low, high) is (low <= 2.0 <= high)


@pytest.mark.parametrize(
    ("level", "above"), [(1.0, True), (1.5, None), (2.0, None), (2.5, False), (3, False)]
)
def test_above_is_the_whole_interval(level: float, above: bool | None) -> None:
    assert Estimate(2.0, (1.5, 2.5)).above(level) is above
    assert Estimate(-2.0, (-2.5, -1.5)).below(-level) is above
    assert Estimate(2.0).above(2.0) is Estimate(2.0).below(2.0) is False


def test_where_a_drawn_sample_has_no_such_measure_nothing_is_known() -> None:
    sample = np.array([1.0, 2.0, -1.0])
    with np.errstate(invalid="ignore", divide="ignore"):
        found = only(estimate(lambda drawn: np.log(drawn.mean(axis=1))[:, None], sample))
    assert found.value == pytest.approx(math.log(2 / 3))
    assert found.within(-100, 100) is None
