from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import false_discovery_control

from unmask.stats import benjamini_hochberg, holm, holm_level

p_values = arrays(np.float64, st.integers(1, 7), elements=st.floats(0, 1))


def test_holm_on_a_case_worked_by_hand() -> None:
    # Sorted .005 .01 .03 .04, times 4 3 2 1: .02 .03 .06 .04, and the last may not fall below the third.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


@given(p_values)
def test_holm_is_closed_testing_with_bonferroni(p: np.ndarray) -> None:
    """Brute force: a claim falls at α only if every set of claims that holds it does, by Bonferroni."""
    k = p.size
    subsets = [list(s) for size in range(1, k + 1) for s in combinations(range(k), size)]
    closed = [max(min(1.0, len(s) * p[s].min()) for s in subsets if claim in s) for claim in range(k)]
    np.testing.assert_allclose(holm(p), closed, atol=1e-12)


@settings(deadline=None)
@given(p_values, st.floats(0, 1), st.floats(0.001, 0.5))
def test_the_level_that_holm_leaves_is_where_it_starts_to_reject(
    others: np.ndarray, p: float, alpha: float
) -> None:
    level = holm_level(others, alpha)
    for candidate in (p, level * (1 - 1e-9), level * (1 + 1e-9)):
        if abs(candidate - level) > 1e-12 and candidate <= 1:
            assert (holm([candidate, *others])[0] <= alpha) == (candidate <= level)
    assert holm_level([], alpha) == alpha


@given(p_values)
def test_benjamini_hochberg_agrees_with_scipy(p: np.ndarray) -> None:
    np.testing.assert_allclose(benjamini_hochberg(p), false_discovery_control(p), atol=1e-12)


@given(p_values)
def test_adjusting_keeps_the_order_and_never_makes_a_p_value_smaller(p: np.ndarray) -> None:
    for adjusted in (holm(p), benjamini_hochberg(p)):
        assert (adjusted >= p - 1e-15).all()
        assert (adjusted <= 1).all()
        assert (np.diff(adjusted[np.argsort(p)]) >= -1e-15).all()


def test_a_missing_p_value_is_refused() -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm([0.1, float("nan")])
