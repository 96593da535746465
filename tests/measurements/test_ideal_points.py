"""Figures with planted places: ideal points, poles alone, and nothing."""

from __future__ import annotations

import numpy as np
import pytest

from measurements.planted import D, axis, context, rng_of
from unmask.measurements.ideal_points import FITTED_ON, ideal_points, projections
from unmask.measurements.sets import figure_set
from unmask.measurements.transfer import Transfer, Transfers

CTX = context()
FIGURES = figure_set(CTX.domain)
IDEAL = np.array([figure.score for figure in CTX.domain.figures])


def placed(scores: np.ndarray) -> Transfers:
    """Transfers of which the scores alone are known."""
    none = np.zeros(0)
    return {
        (fit, "figures"): Transfer(
            fit, "figures", none, 0.5, none, none, none, none, np.zeros(5, np.int64), scores
        )
        for fit in FITTED_ON
    }


def test_poles_alone_order_nobody_within_a_pole() -> None:
    rng = rng_of("persons")
    own = {"base": placed(IDEAL), "aligned": placed(FIGURES.labels + 1e-3 * rng.normal(size=len(IDEAL)))}
    along = IDEAL[:, None, None] * axis("concept")
    noise = rng.normal(size=(len(IDEAL), 1, D))
    x = {"base": {"figures": 0.2 * noise + 3 * along}, "aligned": {"figures": noise}}
    table = ideal_points(own, x, FIGURES, CTX).set_index(["side", "probe"]).sort_index()

    exact = table.loc["base", "stated"]
    for name in ("spearman", "spearman_within_a", "spearman_within_b"):
        assert exact[name] == pytest.approx(1)
    by_pole = table.loc["aligned", "stated"]
    assert by_pole["auc"] == 1
    assert by_pole["spearman"] == pytest.approx(0.75, abs=0.05)  # of two halves in order and chance within
    assert abs(by_pole["spearman_within_a"]) < 0.25 > abs(by_pole["spearman_within_b"])
    # A probe of the persons' own activations finds ideal points that are there, and none in noise.
    assert table.loc["base", "ridge on other persons"]["spearman_within_b"] > 0.8
    assert abs(table.loc["aligned", "ridge on other persons"]["spearman"]) < 0.4


def test_every_figure_has_its_place() -> None:
    table = projections({"base": placed(IDEAL), "aligned": placed(-IDEAL)}, CTX)
    assert len(table) == 2 * len(FITTED_ON) * len(IDEAL)
    signs = table["side"].map({"base": 1, "aligned": -1})
    np.testing.assert_array_equal(table["projection"], signs * table["score"])
