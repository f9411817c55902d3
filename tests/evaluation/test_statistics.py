"""How sure a difference is: against scipy where it says the same, and against known cases."""

import pytest

from qwen3_ascend_rerank.evaluation.statistics import gains

np = pytest.importorskip("numpy")
stats = pytest.importorskip("scipy.stats")


def drawn(shift: float, count: int, seed: int = 1) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    before = rng.random(count)
    return before.tolist(), (before + rng.normal(shift, 0.2, count)).tolist()


@pytest.mark.parametrize(("shift", "count"), [(0.1, 40), (0.0, 40), (-0.05, 300)])
def test_interval_and_p_are_those_of_scipy(shift: float, count: int) -> None:
    before, after = drawn(shift, count)
    (gain,) = gains([before], [after])
    change = np.subtract(after, before)
    rng = np.random.default_rng(5)
    theirs = stats.bootstrap(
        (change,), np.mean, n_resamples=10_000, method="percentile", rng=rng
    ).confidence_interval
    test = stats.permutation_test(
        (after, before),
        lambda one, other, axis: np.mean(one - other, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=10_000,
        rng=rng,
    )
    assert gain.mean == pytest.approx(change.mean())
    assert (gain.low, gain.high) == pytest.approx((theirs.low, theirs.high), abs=0.005)
    assert gain.p == pytest.approx(test.pvalue, abs=0.02)


def test_no_difference_is_no_difference() -> None:
    (gain,) = gains([[0.1, 0.2, 0.3]], [[0.1, 0.2, 0.3]])
    assert (gain.mean, gain.low, gain.high, gain.p) == (0, 0, 0, 1)


def test_a_gain_of_every_query_is_sure() -> None:
    (gain,) = gains([[0.1] * 50], [[0.2] * 50])
    assert gain.low == pytest.approx(0.1)
    assert gain.p < 0.001


def test_p_is_below_005_for_one_in_twenty_where_there_is_nothing() -> None:
    """Two hundred experiments without a difference; 10 are expected, and 22 are one in 10,000."""
    before, after = zip(*(drawn(0.0, 20, seed) for seed in range(200)), strict=True)
    assert sum(one.p < 0.05 for one in gains(before, after)) < 23
    covered = sum(one.low <= 0 <= one.high for one in gains(before, after))
    assert covered > 165


def test_seeds_decide_what_is_drawn() -> None:
    before, after = drawn(0.1, 30)
    assert gains([before], [after], 3) == gains([before], [after], 3)
    assert gains([before], [after], 3) != gains([before], [after], 4)
