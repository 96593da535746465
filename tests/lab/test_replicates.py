"""Coverage on planted populations: where naive intervals fail and the audit's hold, and what is planted is there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from unmask.lab.replicates import answering, representing
from unmask.lab.replicates.__main__ import main
from unmask.lab.replicates.acting import Moved, Pressed, causality, sycophancy
from unmask.lab.replicates.answering import Said
from unmask.lab.replicates.coverage import coverage, every_study
from unmask.lab.replicates.representing import FORMATS, D, Represented, Squeezed, probe_set, states
from unmask.lab.replicates.study import Study, beta, categorical
from unmask.measurements.base import Estimate, bootstrapped, lesser
from unmask.stats import (
    bootstrap_weights,
    correct_by_confusion,
    invert_confusion,
    matched_directions,
    percentile_interval,
    weighted_mean,
)
from unmask.verdict.rules import RULES

OF_PERMUTATIONS = {"permutation_p_aligned"}
"""Held against a permutation null: no population's number."""
CONTROLS = {"excess_base", "unrelated_moves_aligned", "swing_base"}


def test_the_lesser_of_two_is_covered_where_percentiles_of_it_fail() -> None:
    """A swing less the size of a control that is nothing: |control| is never below 0, so noise lowers what is left of
    the swing, and resampling lowers it twice."""
    rng, truth, topics = np.random.default_rng(0), 0.2, 20
    ours, naive = 0, 0
    for _ in range(400):
        swing, control = truth + 0.4 * rng.normal(size=topics), 0.4 * rng.normal(size=topics)
        weights = bootstrap_weights(np.arange(topics), 400, rng)
        at, chance = weighted_mean(swing, weights), weighted_mean(control, weights)
        left = lesser(*(bootstrapped(v[0], v[1:], "", topics) for v in (at - chance, at + chance)))
        assert left.value == pytest.approx(swing.mean() - abs(control.mean()))
        ours += left.low <= truth <= left.high
        assert left.replicates is not None
        plain = percentile_interval(left.value, left.replicates, clusters=topics)
        naive += plain.low <= truth <= plain.high
    assert 0.91 <= ours / 400 <= 0.985
    assert naive / 400 < 0.91


def test_rates_that_may_be_negative_are_right_on_average_where_others_cannot_be() -> None:
    """No partisan answer at all, and a judge who calls one in ten neutral ones partisan."""
    rng = np.random.default_rng(0)
    judge = answering.JUDGE / answering.JUDGE.sum(1, keepdims=True)
    called = rng.multinomial(120, np.array([0, 0, 0.6, 0.4, 0, 0]) @ judge, size=2000).astype(np.float64)
    signed, corrected = (f(called, judge)[:, :2].sum(1) for f in (invert_confusion, correct_by_confusion))
    assert signed.mean() == pytest.approx(0, abs=4 * signed.std() / np.sqrt(2000))
    assert corrected.mean() > 0.008
    inside = (corrected > 0.01) & (invert_confusion(called, judge) > 0).all(1)
    assert inside.any()
    np.testing.assert_allclose(signed[inside], corrected[inside], atol=1e-9)


def test_a_ratio_below_random_axes_is_covered() -> None:
    """The 5 % quantile of noisy ratios lies too low; the estimate takes back what resampling shows of that."""
    study = representing.variance("planted", Squeezed(1.0))
    table = coverage([study], 200).set_index("quantity")
    assert table.loc["below_random", "coverage"] >= 0.88  # .929 in 1,000; three sd of 200 below
    assert abs(float(table.loc["below_random", "bias"])) < 0.018  # .024 without
    assert 0.89 <= float(table.loc["log_sd_ratio", "coverage"]) <= 0.985


@pytest.mark.parametrize(
    ("study", "quantity", "truth"),
    [
        (
            sycophancy("planted", dict.fromkeys(("base", "aligned"), Pressed(0.0, 0.0))),
            "fact_shift_aligned",
            0.0,
        ),
        (causality("planted", Moved(0.5, bend=1e6)), "gain_ratio", 0.5),
    ],
)
def test_large_samples_give_what_is_planted(study: Study, quantity: str, truth: float) -> None:
    assert study.truth()[quantity] == pytest.approx(truth, abs=0.005)
    found = [study.sample(np.random.default_rng([1, k]))[quantity].value for k in range(60)]
    assert np.mean(found) == pytest.approx(truth, abs=4 * np.std(found) / np.sqrt(60) + 0.01)


def test_planted_answers_have_the_rates_that_their_truth_says() -> None:
    """Closed forms against a population's own draws, before any judge."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, 100_000))
    said = Said(0.3, 0.8, 2.0)
    partisan, of_b = beta(said.intensity, 2.0, z[0]), beta(said.toward_b, 2.0, z[1])
    shares = answering.kind_shares(partisan * (1 - of_b), partisan * of_b, rng.normal(size=z.shape))
    np.testing.assert_allclose(shares.sum(-1), 1.0)
    counts = np.bincount(categorical(shares, rng), minlength=6)
    stanced = counts[:4].sum()
    assert counts[:2].sum() / stanced == pytest.approx(said.intensity, abs=0.006)
    assert (counts[1] - counts[0]) / stanced == pytest.approx(said.lean, abs=0.008)
    forced = np.abs(np.tanh(said.forced * rng.normal(size=200_000) / 2)).mean()
    assert forced - said.intensity == pytest.approx(said.gap, abs=0.004)


def test_planted_ratios_are_those_of_the_population() -> None:
    """The covariances that the truth is reckoned from are those of many drawn states."""
    squeezed = Squeezed(0.5, (0.8, 1.0, 1.0, 1.0), everything=0.9)
    root = np.linalg.cholesky(squeezed.covariances["base"]).T
    rng = np.random.default_rng(0)
    base = rng.normal(size=(200_000, D)) @ root
    own = squeezed.everything * squeezed.own * np.sqrt(np.trace(squeezed.covariances["base"]) / D)
    aligned = base @ squeezed.through + own * rng.normal(size=base.shape)
    axes = np.concatenate([squeezed.axes, matched_directions(base[:100], 5, rng)])
    drawn = np.log((aligned @ axes.T).std(0) / (base @ axes.T).std(0))
    np.testing.assert_allclose(squeezed.ratio(axes), drawn, atol=0.01)


def test_planted_poles_lie_apart_as_far_as_they_are_set() -> None:
    """Along a format's axis, at the layer that has all of it, and nowhere at the layer that has none."""
    rng = np.random.default_rng(0)
    sets = {name: probe_set(name, 4000, 0.0, rng) for name in FORMATS[1:]}
    x = states(sets, Represented(2.0, 0.0), rng)
    labels = sets["stated"].labels
    gap = {
        side: x[side]["stated"][labels == 1].mean(0) - x[side]["stated"][labels == 0].mean(0) for side in x
    }
    length = {side: np.linalg.norm(gap[side], axis=1) for side in x}  # [layers]
    assert length["base"][0] < 0.3 < 1.3 < length["base"][3] < 2.0
    assert length["aligned"].max() < 0.3


def test_counting_by_hand() -> None:
    """Three intervals: one holds the truth, one lies below, one has no bound."""
    ends = iter([(-1.0, 1.0), (-3.0, -2.0), (-np.inf, np.inf)])

    def sample(_: np.random.Generator) -> dict[str, Estimate]:
        low, high = next(ends)
        return {"x": Estimate(0.5, low, high, "", 9)}

    (row,) = coverage([Study("made", "up", lambda: {"x": 0.0}, sample)], 3).to_dict("records")
    assert row["coverage"] == pytest.approx(2 / 3)
    assert (row["below"], row["above"]) == (pytest.approx(1 / 3), 0.0)
    assert (row["width"], row["unbounded"]) == (pytest.approx(1.5), pytest.approx(1 / 3))
    assert row["bias"] == pytest.approx(0.5)


def test_every_deciding_quantity_has_three_truths_and_the_table_is_repeatable(tmp_path: Path) -> None:
    studies = every_study()
    settings = {(s.measurement, s.setting) for s in studies}
    assert len(settings) == len(studies)
    # One sample of each measurement names all that its studies cover.
    firsts = {s.measurement: s for s in reversed(studies)}
    given = {name for s in firsts.values() for name in s.sample(np.random.default_rng(0))}
    deciding = {
        bar.quantity
        for claim, rule in RULES.items()
        for bar in rule.bars
        if not claim.startswith("features.")  # as in test_published_calibration.py
    }
    assert given >= deciding - OF_PERMUTATIONS | CONTROLS
    assert min(sum(s.measurement == name for s in studies) for name in firsts) >= 3
    out = tmp_path / "table.csv"
    tables: list[pd.DataFrame] = []
    for workers in ("1", "2"):
        main(["--replicates", "3", "--only", "sycophancy", "--workers", workers, "--out", str(out)])
        tables.append(pd.read_csv(out))
        assert len(tables[-1]) == 12
    assert tables[0].equals(tables[1])
    again = coverage([replace(s) for s in studies if s.measurement == "sycophancy"], 3)
    np.testing.assert_allclose(tables[0]["width"], again["width"], rtol=1e-3)
