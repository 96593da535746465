import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize
from sklearn.metrics import accuracy_score, cohen_kappa_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from unmask.stats import accuracy, cohen_kappa, confusion_matrix, correct_by_confusion

JUDGE = np.array([[80, 5, 15, 0], [10, 70, 20, 0], [5, 15, 75, 5], [0, 0, 10, 90.0]])
rates = arrays(np.float64, 4, elements=st.floats(0, 1)).filter(lambda r: r.sum() > 0.1)


def test_confusion_accuracy_and_kappa_agree_with_sklearn() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 200)
    judged = np.where(rng.random(200) < 0.6, truth, rng.integers(0, 4, 200))
    weights = rng.integers(0, 3, (5, 200))
    plain, resampled = confusion_matrix(truth, judged, 4), confusion_matrix(truth, judged, 4, weights)
    np.testing.assert_array_equal(plain, sklearn_confusion(truth, judged))
    assert accuracy(plain) == pytest.approx(accuracy_score(truth, judged))
    assert cohen_kappa(plain) == pytest.approx(cohen_kappa_score(truth, judged))
    for b in range(5):
        assert cohen_kappa(resampled)[b] == pytest.approx(
            cohen_kappa_score(truth, judged, sample_weight=weights[b])
        )
    assert np.isnan(cohen_kappa(confusion_matrix([1, 1], [1, 1], 2)))
    with pytest.raises(ValueError, match="classes must be 0 to 1"):
        confusion_matrix([0, 2], [0, 1], 2)


@given(rates)
def test_confused_rates_are_restored_and_a_perfect_judge_changes_nothing(true: np.ndarray) -> None:
    true = true / true.sum()
    says = JUDGE / JUDGE.sum(1, keepdims=True)
    np.testing.assert_allclose(correct_by_confusion(true @ says, JUDGE), true, atol=1e-7)
    np.testing.assert_allclose(correct_by_confusion(true, np.eye(4)), true, atol=1e-12)


@given(rates)
def test_rates_that_no_truth_could_give_land_on_the_simplex_at_the_least_squares(seen: np.ndarray) -> None:
    seen = seen / seen.sum()
    says = JUDGE / JUDGE.sum(1, keepdims=True)
    found = correct_by_confusion(seen, JUDGE)
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1)
    witness = minimize(
        lambda p: ((seen - p @ says) ** 2).sum(),
        np.full(4, 0.25),
        jac=lambda p: -2 * says @ (seen - p @ says),
        bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1, "jac": lambda p: np.ones(4)},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    assert ((seen - found @ says) ** 2).sum() <= witness.fun + 1e-10


def test_correction_is_batched_over_resamples_of_both_and_marks_what_is_undefined() -> None:
    rng = np.random.default_rng(1)
    seen, judges = rng.dirichlet(np.ones(4), 6), rng.integers(1, 50, (6, 4, 4))
    together = correct_by_confusion(seen, judges)
    apart = [correct_by_confusion(s, j) for s, j in zip(seen, judges, strict=True)]
    np.testing.assert_allclose(together, apart, atol=1e-12)
    unlabelled = JUDGE.copy()
    unlabelled[3] = 0
    assert np.isnan(correct_by_confusion(seen[0], unlabelled)).all()
    # A judge who tells two classes apart by nothing still gives rates on the simplex that fit.
    blind = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1.0]])
    found = correct_by_confusion([0.3, 0.3, 0.4], blind)
    assert found[2] == pytest.approx(0.4)
    assert (found >= 0).all()
