"""Do the two models' directions agree more than directions of no concept would, at every layer?

A high cosine alone proves nothing, since training moves all activations little. So it stands beside what permuted
labels give, what two independent directions of the same covariance give, and how well base agrees with itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.measurements.base import Context, Estimate
from unmask.measurements.sets import ProbeSet
from unmask.runner.requests import SIDES
from unmask.stats import (
    cosine,
    direction,
    group_folds,
    ledoit_wolf,
    linear_cka_debiased,
    mahalanobis_cosine,
    matched_directions,
)

Floats = npt.NDArray[np.float64]
NULL_DIRECTIONS = 200  # of permuted labels, and of matched pairs; enough for a 95 % quantile


def axis_kept(ctx: Context) -> dict[str, Estimate]:
    """How much of its transfer base's probe keeps in the aligned model, as `structure` found it: what is measured along
    base's axis speaks of the concept only where the concept still lies there."""
    return {
        "transfer_change": replace(ctx.readings["structure"].estimates["transfer_change"], replicates=None)
    }


def geometry(raw: Mapping[str, Floats], statements: ProbeSet, labels: Floats, ctx: Context) -> pd.DataFrame:
    """Cosines of the two models' directions and likeness of their activations, a row a layer.

    Args:
        raw: both sides' activations on the statements, `[n, layers, d]`.
        statements: the set that the directions are fitted on.
        labels: `[1 + permutations, n]`, row 0 the true ones.
    """
    fitted = {side: direction(raw[side], labels[: 1 + NULL_DIRECTIONS]) for side in SIDES}
    cosines = cosine(fitted["base"], fitted["aligned"])  # [1 + permutations, layers]
    split_half = _split_half_cosine(raw["base"], statements, ctx)
    rows: list[dict[str, object]] = []
    for layer in range(raw["base"].shape[1]):
        pooled = np.concatenate([raw[side][:, layer] - raw[side][:, layer].mean(0) for side in SIDES])
        covariance = ledoit_wolf(pooled)
        shaped = mahalanobis_cosine(fitted["base"][:, layer], fitted["aligned"][:, layer], covariance)
        # Two independent directions that know the activations' covariance and nothing else.
        matched = matched_directions(pooled, 2 * NULL_DIRECTIONS, ctx.rng(f"structure.matched.{layer}"))
        chance = np.abs(cosine(matched[:NULL_DIRECTIONS], matched[NULL_DIRECTIONS:]))
        rows.append(
            {
                "layer": layer,
                "cosine": float(cosines[0, layer]),
                "cosine_null_q95": float(np.quantile(cosines[1:, layer], 0.95)),
                "cosine_matched_q95": float(np.quantile(chance, 0.95)),
                "cosine_split_half": float(split_half[layer]),
                "mahalanobis": float(shaped[0]),
                "mahalanobis_null_q95": float(np.quantile(shaped[1:], 0.95)),
                "cka": float(linear_cka_debiased(raw["base"][:, layer], raw["aligned"][:, layer])),
            }
        )
    return pd.DataFrame(rows)


def _split_half_cosine(x: Floats, statements: ProbeSet, ctx: Context) -> Floats:
    """How well a direction agrees with itself when fitted on two halves of the topics, `[layers]`."""
    folds = group_folds(statements.clusters, 2, ctx.rng("structure.halves"))
    first, second = (direction(x[folds == fold], statements.labels[folds == fold]) for fold in (0, 1))
    return np.asarray(cosine(first, second))
