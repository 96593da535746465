"""Directions of two planted models: one axis, a turned axis, and two models that agree on no concept at all."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from measurements.planted import D, axis, context, rng_of, swapped
from unmask.measurements.geometry import geometry
from unmask.measurements.sets import pair_set
from unmask.stats import permuted_labels

SIGNAL = 2.0


def compare(through: np.ndarray, signal: float = SIGNAL) -> pd.Series:
    """One layer; the aligned model has base's activations through a matrix."""
    ctx = context()
    statements = pair_set("statements", ctx.domain.statements)
    poles = 2 * statements.labels - 1
    x = rng_of("geometry").normal(size=(len(poles), D)) + signal * poles[:, None] * axis("concept")
    labels = np.concatenate([statements.labels[None], permuted_labels(statements.labels, 99, rng_of("null"))])
    table = geometry({"base": x[:, None], "aligned": (x @ through)[:, None]}, statements, labels, ctx)
    assert list(table["layer"]) == [0]
    return table.iloc[0]


def test_the_same_axis_agrees_with_itself() -> None:
    row = compare(np.eye(D))
    assert row["cosine"] == pytest.approx(1)
    assert row["mahalanobis"] == pytest.approx(1)
    assert row["cka"] == pytest.approx(1)
    assert row["cosine_matched_q95"] < 0.5 < row["cosine_split_half"] < 1


def test_a_turned_axis_does_not_agree() -> None:
    row = compare(swapped(axis("concept"), axis("other")))
    assert abs(row["cosine"]) < row["cosine_matched_q95"]
    assert row["cka"] == pytest.approx(1, abs=0.01)  # a rotation, which CKA does not see


def test_without_a_concept_a_perfect_cosine_is_no_more_than_the_null() -> None:
    """Two models that training hardly moved: directions from random labels agree as well."""
    row = compare(np.eye(D), signal=0.0)
    assert row["cosine"] == pytest.approx(1)
    assert row["cosine_null_q95"] == pytest.approx(1)
    assert abs(row["cosine_split_half"]) < 0.5
