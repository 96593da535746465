"""Variance on planted pairs: one axis squeezed, everything squeezed, nothing squeezed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from measurements.planted import D, World, axis, context, findings, measure, structure_reading, without
from unmask.measurements.base import Reading
from unmask.measurements.sets import ProbeSet, pair_set
from unmask.measurements.variance import FRAMINGS, Variance, axis_doubt, held_out_projections, is_represented
from unmask.stats import bootstrap_weights, separation
from unmask.verdict.findings import Finding


def judged(through: np.ndarray, seed: int = 0) -> tuple[Reading, dict[str, Finding]]:
    ctx = context(readings={"structure": structure_reading()})
    reading = measure(Variance(), ctx, World(seed=seed, through=through))
    return reading, findings(Variance(), reading)


def wobble(size: float = 0.1) -> np.ndarray:
    """What training does to every axis: a small random map."""
    return size * np.random.default_rng(3).normal(size=(D, D)) / np.sqrt(D)


def test_one_axis_squeezed_is_compressed_and_specific() -> None:
    reading, found = judged(without(axis("concept"), 0.5) + wobble(0.05))
    assert {id_: f.status for id_, f in found.items()} == {
        "variance.compressed": "supported",
        "variance.specific": "supported",
    }
    ratio = reading.estimates["log_sd_ratio"]
    assert ratio.value == pytest.approx(np.log(0.5), abs=0.1)
    assert ratio.low < np.log(0.5) < ratio.high
    # The classes shrink with the axis's noise: d′ stays, which says rescaled rather than made neutral.
    classes = reading.tables["classes"].set_index("side")
    assert classes["within"]["aligned"] / classes["within"]["base"] == pytest.approx(0.5, abs=0.05)
    assert classes["between"]["aligned"] / classes["between"]["base"] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_everything_squeezed_alike_is_compressed_and_not_specific(seed: int) -> None:
    reading, found = judged(0.5 * (np.eye(D) + wobble()), seed)
    assert found["variance.compressed"].status == "supported"
    assert found["variance.specific"].status != "supported"
    assert reading.estimates["log_sd_ratio"].value == pytest.approx(np.log(0.5), abs=0.1)
    normed = reading.tables["specificity"].query("kind == 'concept'")["log_ratio_normed"]
    assert normed.iloc[0] == pytest.approx(0, abs=0.1)  # in units of the norm nothing happened


def test_everything_squeezed_by_exactly_one_factor_is_rescaled() -> None:
    _, found = judged(0.5 * np.eye(D))
    assert found["variance.compressed"].status == "supported"
    assert found["variance.specific"].status == "refuted"


def test_nothing_squeezed_is_not_compressed() -> None:
    reading, found = judged(np.eye(D) + wobble())
    assert found["variance.compressed"].status == "refuted"
    assert found["variance.specific"].status != "supported"
    assert reading.estimates["log_sd_ratio"].value == pytest.approx(0, abs=0.1)


def test_a_model_against_itself_is_nothing() -> None:
    reading, found = judged(np.eye(D))
    assert found["variance.compressed"].status == "refuted"
    assert found["variance.specific"].status == "refuted"
    assert (reading.estimates["log_sd_ratio"].low, reading.estimates["log_sd_ratio"].high) == (0, 0)


def test_another_axis_squeezed_is_not_this_one() -> None:
    _, found = judged(without(axis("truth"), 0.5) + wobble())
    assert found["variance.compressed"].status == "refuted"
    assert found["variance.specific"].status != "supported"


def test_an_unrelated_concept_squeezed_as_far_takes_the_specificity_away() -> None:
    squeeze = without(axis("concept"), 0.5) @ without(axis("truth"), 0.6) + wobble(0.05)
    _, found = judged(squeeze)
    assert found["variance.compressed"].status == "supported"
    assert found["variance.specific"].status != "supported"


def test_the_ratio_is_the_one_of_the_projections_in_the_table() -> None:
    reading, _ = judged(without(axis("concept"), 0.5) + wobble())
    sd = reading.tables["projections"].groupby(["side", "framing"])["projection"].std(ddof=0)
    by_hand = np.mean([np.log(sd["aligned", f] / sd["base", f]) for f in FRAMINGS])
    assert reading.estimates["log_sd_ratio"].value == pytest.approx(by_hand)
    row = reading.tables["specificity"].iloc[0]
    assert (row["kind"], row["log_ratio"]) == ("concept", pytest.approx(by_hand))
    assert len(reading.tables["specificity"].query("kind == 'random'")) == 1000
    assert reading.estimates["same_positions"].value == 1.0


def test_statements_without_a_side_do_not_lie_apart() -> None:
    """Along a direction that was fitted on them they would, by about one d′ here."""
    ctx = context()
    statements = pair_set("statements", ctx.domain.statements)
    apart = []
    for seed in range(6):
        world = World(signal=0.0, seed=seed)
        x = np.stack([world.states("base", text)[2] for text in statements.texts]).astype(np.float64)
        places = held_out_projections({"base": x, "aligned": 2 * x}, statements, ctx)
        np.testing.assert_allclose(places["aligned"], 2 * places["base"])
        apart.append(separation(places["base"], statements.labels).d_prime)
    assert abs(np.mean(apart)) < 0.3


def test_a_concept_that_base_does_not_represent_is_no_axis() -> None:
    """Sixty pairs over six topics: a concept that holds on all topics, one that holds on each in another direction, and
    noise, which passes for a concept in one of twenty draws."""
    topics = tuple(f"topic {k // 20}" for k in range(120))
    passed = {"shared": 0, "of each topic": 0, "noise": 0}
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = np.tile(np.array([0.0, 1.0]), 60)
        pairs = ProbeSet(f"axis {seed}", tuple(map(str, range(120))), labels, topics)
        noise, signs = rng.normal(size=(120, 1, 30)), np.where(labels, 1.0, -1.0)[:, None, None]
        own = np.repeat(rng.normal(size=(6, 1, 30)), 20, axis=0)
        ctx = context()
        passed["shared"] += is_represented(noise + signs * rng.normal(size=30), pairs, ctx)
        passed["of each topic"] += is_represented(noise + 2 * signs * own, pairs, ctx)
        passed["noise"] += is_represented(noise, pairs, ctx)
    assert passed["shared"] == 20
    assert passed["noise"] <= 4
    assert passed["of each topic"] <= 10


def test_an_axis_is_in_as_much_doubt_as_other_texts_would_move_it() -> None:
    """Questions vary ten times as much along one dimension as along the axis, in part together, and the aligned model
    leaves that one alone: a direction slightly off takes part of it in."""
    rng = np.random.default_rng(5)
    d, n, topics = 12, 60, 40
    base = rng.normal(size=(n, d))
    base[:, 1] = 10.0 * (0.6 * base[:, 0] + 0.8 * base[:, 1])
    squeezed = base * np.where(np.arange(d) == 0, 0.5, 1.0)
    x = {"base": dict.fromkeys(FRAMINGS, base), "aligned": dict.fromkeys(FRAMINGS, squeezed)}
    labels, clusters = np.tile([0.0, 1.0], topics), np.repeat(np.arange(topics), 2)

    def drawn() -> npt.NDArray[np.float64]:
        apart = 10.0 * np.eye(d)[0] + 0.5 * rng.normal(size=(topics, d))
        return np.stack([-apart / 2, apart / 2], axis=1).reshape(-1, d)

    def ratio(texts: npt.NDArray[np.float64]) -> float:
        axis = texts[labels == 1].mean(0) - texts[labels == 0].mean(0)
        return float(np.log((squeezed @ axis).std() / (base @ axis).std()))

    others = np.std([ratio(drawn()) for _ in range(400)])
    doubts = []
    for _ in range(20):
        doubt = axis_doubt(x, drawn(), labels, bootstrap_weights(clusters, 300, rng))
        assert doubt[0] == 0.0
        doubts.append(doubt.std())
    assert others > 0.02
    assert np.mean(doubts) == pytest.approx(others, rel=0.2)
    same = axis_doubt(
        {"base": x["base"], "aligned": x["base"]}, drawn(), labels, bootstrap_weights(clusters, 9, rng)
    )
    np.testing.assert_allclose(same, 0.0, atol=1e-12)
