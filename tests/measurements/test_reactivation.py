"""Reactivation on planted pairs: a swing that is there, one that is not, and pressure on facts."""

from __future__ import annotations

import numpy as np
import pytest

from measurements.planted import Shares, World, context, findings, measure, structure_reading
from unmask.measurements.base import Reading
from unmask.measurements.profiles import ALL
from unmask.measurements.reactivation import Reactivation, personas, sentences_of
from unmask.runner.requests import Generate
from unmask.verdict.findings import Finding

LOUD: Shares = {"a": 0.3, "b": 0.3, "neutral": 0.4}


def judged(truth: World) -> tuple[Reading, dict[str, Finding]]:
    reading = measure(Reactivation(), context(readings={"structure": structure_reading()}), truth)
    return reading, findings(Reactivation(), reading)


def test_a_planted_swing_comes_back() -> None:
    reading, found = judged(World(persona={"base": 1.2, "aligned": 0.8}))
    for side, planted in (("base", 1.2), ("aligned", 0.8)):
        swing = reading.estimates[f"swing_{side}"]
        assert swing.value == pytest.approx(planted, abs=0.15)
        assert swing.low <= planted <= swing.high
    # Nobody in particular gets neutral answers, a partisan takes a side with probability .4.
    assert reading.estimates["intensity_beyond_plain_aligned"].value == pytest.approx(0.4, abs=0.1)
    assert found["reactivation.reactivates"].status == "supported"
    assert found["reactivation.sycophancy"].status == "refuted"
    swings = reading.tables["swings"].set_index(["side", "identity", "request"])["swing"].sort_index()
    assert swings["aligned", "irrelevant"].abs().max() < 0.05
    assert swings["aligned", "stated"].min() > 0.4


def test_an_aligned_model_that_answers_everybody_alike_does_not_reactivate() -> None:
    reading, found = judged(World(persona={"base": 1.2, "aligned": 0.0}))
    assert found["reactivation.reactivates"].status == "refuted"
    assert reading.estimates["swing_aligned"].value == pytest.approx(0, abs=1e-9)


def test_a_loud_model_without_a_swing_does_not_reactivate() -> None:
    """Sides are taken at random whoever asks; only a difference between askers counts."""
    reading, found = judged(World(shares=lambda side, _: LOUD, persona={"base": 1.2, "aligned": None}))
    assert found["reactivation.reactivates"].status == "refuted"
    assert abs(reading.estimates["swing_aligned"].value) < 0.15


def test_where_base_does_not_swing_nothing_is_said() -> None:
    _, found = judged(World(persona={"base": 0.0, "aligned": 0.8}))
    finding = found["reactivation.reactivates"]
    assert finding.status == "inconclusive"
    assert [control.name for control in finding.failed_controls] == ["swing_base"]


def test_broken_answers_block_the_claim() -> None:
    truth = World(
        persona={"base": 1.2, "aligned": None}, shares=lambda side, _: {"off_topic": 0.5, "neutral": 0.5}
    )
    _, found = judged(truth)
    assert found["reactivation.reactivates"].status == "inconclusive"
    assert "coherent_aligned" in [c.name for c in found["reactivation.reactivates"].failed_controls]


def test_pressure_on_facts_comes_back_at_its_planted_size() -> None:
    reading, found = judged(
        World(persona={"base": 1.2, "aligned": 0.8}, pressure={"base": 0.0, "aligned": 1.5})
    )
    planted = (np.tanh(3.5 / 2) - np.tanh(0.5 / 2)) / 2
    assert reading.estimates["fact_shift_aligned"].value == pytest.approx(planted, abs=0.02)
    assert reading.estimates["fact_shift_base"].value == pytest.approx(0, abs=1e-6)
    assert reading.estimates["facts_known_aligned"].value == 1.0
    assert found["reactivation.sycophancy"].status == "supported"


def test_facts_that_are_not_known_cannot_be_pressed() -> None:
    _, found = judged(World(persona={"base": 1.2, "aligned": 0.8}, known=-1.0))
    finding = found["reactivation.sycophancy"]
    assert finding.status == "inconclusive"
    assert [control.name for control in finding.failed_controls] == ["facts_known_aligned"]


def test_what_a_mention_does_as_well_is_no_deference() -> None:
    truth = World(
        persona={"base": 1.2, "aligned": 0.8},
        pressure={"base": 0.0, "aligned": 1.5},
        mention={"base": 0.0, "aligned": 1.5},
    )
    reading, found = judged(truth)
    assert reading.estimates["fact_shift_beyond_mention_aligned"].value == pytest.approx(0, abs=1e-6)
    assert found["reactivation.sycophancy"].status == "inconclusive"


def test_a_judge_that_mixes_up_the_sides_hides_no_swing() -> None:
    """As it calls them, a swing of 1.2 would be one of .6."""
    confused = np.eye(6)
    confused[0, :2], confused[1, :2] = (0.7, 0.3), (0.2, 0.8)
    planted = {"base": 1.2, "aligned": 0.5}
    readings = [judged(World(seed=seed, persona=planted, judge=confused))[0] for seed in range(5)]
    for side, swing in planted.items():
        found = [reading.estimates[f"swing_{side}"] for reading in readings]
        assert np.mean([estimate.value for estimate in found]) == pytest.approx(swing, abs=0.2)
        assert sum(estimate.low <= swing <= estimate.high for estimate in found) >= 4


def test_the_design_is_crossed_and_the_sides_get_the_same_words() -> None:
    truth = World(persona={"base": 1.2, "aligned": 0.8})
    ctx = context(readings={"structure": structure_reading()})
    reading = measure(Reactivation(), ctx, truth)
    asked = [request for request in truth.asked if isinstance(request, Generate)]
    prompts = {side: [r.prompt.text for r in asked if r.side == side] for side in ("base", "aligned")}
    assert prompts["base"] == prompts["aligned"]
    assert len(prompts["base"]) == 9 * 3 * 20
    seeds = {side: {r.seed for r in asked if r.side == side} for side in prompts}
    assert not seeds["base"] & seeds["aligned"]
    cells = reading.tables["cells"]
    assert len(cells) == 2 * 9 * 3
    assert set(cells["identity"]) == {"none", "stated", "implied", "irrelevant", "neutral"}


@pytest.mark.parametrize("identity", ["irrelevant", "neutral"])
def test_the_control_compares_different_sentences(identity: str) -> None:
    """A control whose two halves ask the same words would measure sampling noise and not what a persona changes."""
    truth = World(persona={"base": 1.2, "aligned": 0.8})
    reading = measure(Reactivation(), context(readings={"structure": structure_reading()}), truth)
    rows = reading.tables["answers"].query(
        f"identity == '{identity}' and side == 'base' and request == 'plain'"
    )
    per_question = rows.groupby("question")["identity_text"].nunique()
    assert (per_question == 2).all()


def test_personas_come_in_rounds_while_there_are_new_sentences() -> None:
    domain = context().domain
    of_a_kind = min(
        len(domain.identities_of(kind, pole)) for kind in ("stated", "implied") for pole in ("a", "b")
    )
    controls = min(len(domain.identities_of(kind, None)) // 2 for kind in ("irrelevant", "neutral"))
    most = 8 * min(of_a_kind, controls)
    assert [len(personas(n, domain)) for n in (8, 24, ALL)] == [9, 25, 1 + most]
    for n in (8, 24, ALL):
        assert len(set(personas(n, domain))) == len(personas(n, domain))


@pytest.mark.parametrize("count", [20, 40, 88])
def test_every_round_has_sentences_of_its_own(count: int) -> None:
    ctx = context()
    said: dict[tuple[str, object], list[list[str]]] = {}
    for persona in personas(ALL, ctx.domain)[1:]:
        said.setdefault((persona.identity, persona.pole), []).append(sentences_of(ctx, persona, count))
    for rounds in said.values():
        assert len(rounds) > 2
        for question in range(count):
            assert len({texts[question] for texts in rounds}) == len(rounds)
