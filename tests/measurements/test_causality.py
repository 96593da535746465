"""Causality on planted pairs: a pathway cut, a pathway whole, a model that nothing moves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from measurements.planted import (
    PROMPT_TOKENS,
    SMALL,
    D,
    World,
    axis,
    context,
    findings,
    measure,
    structure_reading,
    without,
    words_of,
)
from unmask.measurements.base import Reading
from unmask.measurements.causality import Causality
from unmask.measurements.dose_response import slope_at_zero
from unmask.measurements.profiles import ALL
from unmask.measurements.sets import axis_sets, refusal_set
from unmask.measurements.steering import held_out_topics, push_along, steered_layers
from unmask.models.edits import Add, Patch, Vector
from unmask.runner.requests import Classify, Read, Score
from unmask.stats import direction
from unmask.verdict.findings import Finding


def gains(base: float = 0.2, aligned: float = 0.2, sentiment: float = 0.2) -> dict[tuple[str, str], float]:
    return {
        ("base", "concept"): base,
        ("aligned", "concept"): aligned,
        ("base", "sentiment"): 0.2,
        ("aligned", "sentiment"): sentiment,
    }


def judged(truth: World, layers: int = 1) -> tuple[Reading, dict[str, Finding]]:
    profile = replace(SMALL, resamples=300, steered_layers=layers)
    ctx = context(profile=profile, readings={"structure": structure_reading()})
    reading = measure(Causality(), ctx, truth)
    return reading, findings(Causality(), reading)


@pytest.mark.parametrize(
    ("ratio", "disconnected", "connected"),
    [(0.2, "supported", "refuted"), (0.5, "refuted", "refuted"), (1.0, "refuted", "supported")],
)
def test_the_planted_gain_ratio_comes_back(ratio: float, disconnected: str, connected: str) -> None:
    reading, found = judged(World(gain=gains(aligned=0.2 * ratio)))
    estimate = reading.estimates["gain_ratio"]
    assert estimate.value == pytest.approx(ratio, abs=0.05)
    assert estimate.low <= ratio + 0.02
    assert estimate.high >= ratio - 0.02
    assert found["causality.disconnected"].status == disconnected
    assert found["causality.connected"].status == connected
    # One dose is base's σ along the axis: √(1 + 2.5²) here, whatever the sample makes of it.
    curve = reading.tables["curves"].query("side == 'base' and arm == 'concept'")
    assert list(curve["dose"]) == [-4, -2, 0, 2, 4]
    assert reading.estimates["gain_base"].value == pytest.approx(0.2 * np.sqrt(1 + 2.5**2), rel=0.1)


@pytest.mark.parametrize(
    ("truth", "control"),
    [
        (World(gain=gains(aligned=0.0, sentiment=0.0), wobble=0.0), "unrelated_moves_aligned"),
        (World(gain=gains(base=0.0, aligned=0.0)), "base_beyond_random"),
        (World(gain=gains(aligned=0.02), garbled=True), "coherence_ratio"),
    ],
    ids=["dead model", "base unmoved", "broken text"],
)
def test_without_a_working_control_nothing_is_said(truth: World, control: str) -> None:
    _, found = judged(truth)
    for finding in found.values():
        assert finding.status == "inconclusive"
        assert control in [failed.name for failed in finding.failed_controls]


def test_a_squeezed_axis_with_a_whole_pathway_is_connected() -> None:
    """Pushed by the same absolute amount it answers as before; in its own σ it would look half disconnected."""
    reading, found = judged(World(through=without(axis("concept"), 0.6)))
    assert found["causality.connected"].status == "supported"
    assert found["causality.disconnected"].status == "refuted"
    own = float(reading.notes[1].rsplit(" ", 1)[1].rstrip("."))
    assert own == pytest.approx(0.4 * reading.estimates["gain_ratio"].value, abs=0.1)


def test_a_push_grows_with_the_models_norms() -> None:
    """Everything twice as large, read by a pathway half as steep: the same model in other units."""
    reading, found = judged(World(through=2 * np.eye(D), gain=gains(aligned=0.1)))
    assert reading.estimates["gain_ratio"].value == pytest.approx(1.0, abs=0.05)
    assert found["causality.connected"].status == "supported"


def test_every_arm_gets_the_same_push_and_the_concept_goes_first() -> None:
    truth = World()
    ctx = context(readings={"structure": structure_reading()})
    reading = measure(Causality(), ctx, truth)
    pushes = [r.edit for r in truth.asked if isinstance(r, Score) and isinstance(r.edit, Add)]
    assert {edit.layers for edit in pushes} == {(2,)}
    np.testing.assert_allclose([np.linalg.norm(edit.vector.values) for edit in pushes], 1, atol=1e-6)
    assert len({round(abs(edit.dose), 4) for edit in pushes if edit.dose}) <= 4  # two doses, two sides
    assert "by_layer" not in reading.tables
    arms = reading.tables["gains"].groupby("arm").size()
    assert arms["random"] == 40
    assert {"concept", "unrelated", "permuted", "orthogonal"} <= set(arms.index)
    # The orthogonal arm has nothing left of the refusal direction, and keeps the concept.
    vectors = {edit.vector.key.split("@")[0]: edit.vector.values for edit in pushes}
    refusal = refusal_set(ctx.domain)
    states = np.stack([truth.states("base", text)[2] for text in refusal.texts])
    away = direction(states[:, None], refusal.labels)[0]
    assert vectors["orthogonal"] @ (away / np.linalg.norm(away)) == pytest.approx(0, abs=1e-5)
    assert vectors["orthogonal"] @ axis("concept") > 0.9
    assert vectors["concept"] @ axis("concept") == pytest.approx(1, abs=1e-6)
    assert vectors["sentiment of half the topics"] @ axis("sentiment") > 0.8


def test_a_curve_that_flattens_keeps_its_slope_at_zero() -> None:
    """A line through all doses would call the flatter of two curves weak though both start alike."""
    doses = np.linspace(-4, 4, 5)
    at_zero = slope_at_zero(doses)
    assert at_zero @ (3 + 0.5 * doses - 0.1 * doses**2 - 0.02 * doses**3) == pytest.approx(0.5)
    flattened = np.tanh(0.3 * doses)
    line = doses @ flattened / (doses @ doses)
    assert abs(at_zero @ flattened - 0.3) < abs(line - 0.3) / 3
    with pytest.raises(ValueError, match="at least 4 different doses"):
        slope_at_zero(np.linspace(-1, 1, 3))


def test_the_unrelated_push_is_tested_on_topics_that_it_was_not_fitted_on() -> None:
    truth = World()
    ctx = context(readings={"structure": structure_reading()})
    measure(Causality(), ctx, truth)
    sentiment = axis_sets(ctx.domain)["sentiment"]
    topic_of = dict(zip(sentiment.texts, sentiment.clusters, strict=True))
    tested = {
        topic_of[r.continuation] for r in truth.asked if isinstance(r, Score) and r.continuation in topic_of
    }
    assert tested == set(held_out_topics(sentiment))
    assert 0 < len(tested) < len(set(sentiment.clusters))


def test_a_vector_is_known_by_the_sample_that_it_was_fitted_on() -> None:
    """Another profile fits other directions; were they named alike, records of one would answer for the other."""
    keys = []
    for pairs in (120, 60):
        truth = World()
        ctx = context(profile=replace(SMALL, pairs=pairs), readings={"structure": structure_reading()})
        measure(Causality(), ctx, truth)
        keys.append(
            {r.edit.vector.key for r in truth.asked if isinstance(r, Score) and isinstance(r.edit, Add)}
        )
    # The concept's own direction is handed in and alike here; the permuted labels' one is fitted on the sample.
    permuted = [{key for key in found if key.startswith("permuted")} for found in keys]
    assert not permuted[0] & permuted[1]


def test_both_models_are_read_bare_where_directions_are_fitted() -> None:
    truth = World()
    measure(Causality(), context(readings={"structure": structure_reading()}), truth)
    fitted = [r for r in truth.asked if isinstance(r, Read) and r.pick == "mean"]
    assert {r.side for r in fitted} == {"base", "aligned"}
    assert all(r.edit is None and r.prompt.text == r.prompt.text[slice(*r.prompt.content)] for r in fitted)


@pytest.mark.parametrize(
    ("chosen", "count", "n_layers", "layers"),
    [
        (15, 1, 30, [15]),
        (15, 3, 30, [8, 15, 22]),
        (8, 3, 30, [7, 8, 22]),
        (12, 5, 30, [4, 11, 12, 19, 26]),
        (2, 9, 4, [1, 2, 3, 4]),
        (2, ALL, 4, [1, 2, 3, 4]),
    ],
)
def test_the_chosen_layer_is_steered_and_others_spread_over_the_depth(
    chosen: int, count: int, n_layers: int, layers: list[int]
) -> None:
    assert steered_layers(chosen, count, n_layers) == layers


def test_a_connection_at_one_depth_shows_there_and_decides_nothing() -> None:
    """Base answers to a push at every layer, aligned at the third alone; the second is the one that decides."""
    planted = {1: 0.0, 2: 0.1, 3: 0.9}
    truth = World(reach={("aligned", layer): share for layer, share in planted.items()})
    reading, found = judged(truth, layers=3)
    table = reading.tables["by_layer"].set_index(["layer", "side"])
    assert list(table.index) == [(layer, side) for layer in planted for side in ("base", "aligned")]
    for layer, share in planted.items():
        base, aligned = table.loc[(layer, "base")], table.loc[(layer, "aligned")]
        assert base["gain"] == pytest.approx(0.2 * np.sqrt(1 + 2.5**2), rel=0.1)
        assert base["low"] > base["random_q95"]
        assert aligned["ratio"] == aligned["gain"] / base["gain"] == pytest.approx(share, abs=0.03)
        assert aligned["ratio_low"] - 0.02 <= share <= aligned["ratio_high"] + 0.02
        assert aligned["chosen"] == (layer == 2)
    # Its own layer alone speaks for the claims, and the table repeats it.
    ratio = reading.estimates["gain_ratio"]
    assert table.loc[(2, "aligned")][["ratio", "ratio_low", "ratio_high"]].tolist() == [
        ratio.value,
        ratio.low,
        ratio.high,
    ]
    assert found["causality.disconnected"].status == "supported"
    assert set(reading.tables["curves"]["arm"]) > {"concept", "random"}
    # Elsewhere the models are pushed along the concept and the random directions, and nothing else is asked.
    edits = [(type(r), r.edit) for r in truth.asked if not isinstance(r, Classify) and r.edit is not None]
    elsewhere = [(kind, edit) for kind, edit in edits if not isinstance(edit, Patch) and edit.layers != (2,)]
    assert {(kind, type(edit), edit.layers) for kind, edit in elsewhere} == {
        (Score, Add, (n,)) for n in (1, 3)
    }
    names = {edit.vector.key.split("@")[0] for _, edit in elsewhere if isinstance(edit, Add)}
    assert names == {"concept", *(f"random {k}" for k in range(SMALL.random_arms))}


def test_what_a_component_carries_is_told_by_layer_and_position() -> None:
    """The answer hangs on the last prompt token at layer 2, and on an earlier one at layer 1."""
    last = PROMPT_TOKENS - 1
    # Token 0 is no part of any patch, whatever it would carry.
    carried = {(2, last): 0.8, (1, 2): 0.6, (1, last): 0.1, (1, 0): 9.0}
    truth = World(stance={"base": 0.5, "aligned": 0.1}, carried=carried)
    reading, _ = judged(truth)
    table = reading.tables["patching"].set_index(["layer", "positions"])
    planted = {
        (1, "all"): 0.7, (1, "last"): 0.1, (1, "earlier"): 0.6,
        (2, "all"): 0.8, (2, "last"): 0.8, (2, "earlier"): 0.0,
        (3, "all"): 0.0, (3, "last"): 0.0, (3, "earlier"): 0.0,
    }  # fmt: skip
    assert list(table.index) == list(planted)
    np.testing.assert_allclose(table["effect"], list(planted.values()), atol=1e-4)
    assert (table["low"] <= table["effect"] + 1e-9).all()
    assert (table["high"] >= table["effect"] - 1e-9).all()
    # What is written is base's component, a number for each token of the prompt.
    asked = [r for r in truth.asked if isinstance(r, Score) and isinstance(r.edit, Patch)]
    assert len(asked) == len(planted) * 8 * 2
    for request in asked:
        edit = request.edit
        assert isinstance(edit, Patch)
        (layer,) = edit.layers
        component = truth.states("base", words_of(request.prompt))[layer] @ axis("concept")
        np.testing.assert_allclose(edit.values, [component] * PROMPT_TOKENS, atol=1e-5)
        assert (request.side, edit.where, edit.skip_first) == ("aligned", "prompt", True)
    assert {r.edit.positions for r in asked if isinstance(r.edit, Patch)} == {None, (last,), (1, 2, 3)}


def test_the_last_digits_of_a_push_make_no_other_request() -> None:
    vector = Vector("concept", np.ones(4, np.float32))
    assert push_along(2, vector, 0.3 + 1e-12) == push_along(2, vector, 0.3)
    assert push_along(2, vector, 0.3 + 1e-3) != push_along(2, vector, 0.3)
