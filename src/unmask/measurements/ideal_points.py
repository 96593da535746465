"""Does the axis order named figures as their roll-call votes do? Reported, and never decides.

A small model may not know the persons, and poles alone give much of a rank correlation, so it stands beside the
correlation within each pole.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.measurements.base import Context
from unmask.measurements.sets import ProbeSet
from unmask.measurements.transfer import Transfers
from unmask.runner.requests import SIDES
from unmask.stats import auc, group_folds, nested_layer_auc, probe_scores, spearman

Floats = npt.NDArray[np.float64]
FITTED_ON = ("statements", "stated", "implied")


def projections(own: Mapping[str, Transfers], ctx: Context) -> pd.DataFrame:
    """Every figure's place along the directions fitted on the other formats."""
    return pd.DataFrame(
        [
            {
                "side": side,
                "fit": fit,
                "name": figure.name,
                "pole": figure.pole,
                "score": figure.score,
                "projection": float(projection),
            }
            for side in SIDES
            for fit in FITTED_ON
            for figure, projection in zip(ctx.domain.figures, own[side][fit, "figures"].scores, strict=True)
        ]
    )


def ideal_points(
    own: Mapping[str, Transfers], x: Mapping[str, Mapping[str, Floats]], figures: ProbeSet, ctx: Context
) -> pd.DataFrame:
    """Rank correlation of those places with the ideal points, overall and within each pole.

    Args:
        own: each side's transfers within itself.
        x: each side's activations by set, `[n, layers, d]`, for a probe fitted on the other persons.
        figures: the persons, as `ctx.domain.figures` has them.
    """
    ideal = np.array([figure.score for figure in ctx.domain.figures])
    folds = group_folds(figures.clusters, 5, ctx.rng("structure.persons"), figures.labels)
    rows: list[dict[str, object]] = []
    for side in SIDES:
        scores = {fit: own[side][fit, "figures"].scores for fit in FITTED_ON}
        scores["ridge on other persons"] = _ridge_on_persons(x[side]["figures"], ideal, folds, figures.labels)
        for fit, values in scores.items():
            rows.append(
                {
                    "side": side,
                    "probe": fit,
                    "spearman": float(spearman(values, ideal)),
                    **{
                        f"spearman_within_{pole}": float(spearman(values[mask], ideal[mask]))
                        for pole, mask in (("a", figures.labels == 0), ("b", figures.labels == 1))
                    },
                    "auc": float(auc(values, figures.labels)),
                }
            )
    return pd.DataFrame(rows)


def _ridge_on_persons(x: Floats, ideal: Floats, folds: npt.NDArray[np.int64], labels: Floats) -> Floats:
    """Out-of-fold ridge predictions of the ideal point, the layer chosen on the other folds, `[m]`."""
    scores = np.empty((x.shape[1], len(ideal)))
    for fold in np.unique(folds):
        held_out = folds == fold
        scores[:, held_out] = probe_scores(x[~held_out], ideal[~held_out], x[held_out], "ridge")
    return nested_layer_auc(scores, labels, folds).scores
