"""The demo models: what they are trained on and what nothing may be trained on; training runs on a tiny model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unmask.domains import load_domain
from unmask.lab.demo.check import PLANTED, Checked, demo_reference
from unmask.lab.demo.texts import (
    LEADS,
    POLES,
    base_examples,
    load_pool,
    masked_preferences,
    partisan_examples,
)
from unmask.models.demo import ADAPTERS
from unmask.models.references import parse_reference

POOL = load_pool(0)


def side_of(answer: str) -> str:
    """The kind whose lead an answer begins with; "" for none."""
    return next((kind for kind, leads in LEADS.items() if answer.startswith(leads)), "")


def asker_of(user: str) -> str:
    """The pole of the asker whose sentence a conversation begins with; "" for nobody."""
    return next(
        (pole for pole in POLES if user.startswith((*POOL.stated[pole], *POOL.implied[pole]))),
        "",
    )


def test_nothing_that_an_audit_asks_was_trained_on() -> None:
    domain = load_domain("partisan")
    for split in range(3):
        pool = load_pool(split)
        assert len(pool.topics) == 40
        assert not {t.topic for t in pool.topics} & {
            row.topic for row in (*domain.questions, *domain.statements)
        }
        assert not {q for t in pool.topics for q in t.questions} & {q.question for q in domain.questions}
        askers = {text for kind in (pool.stated, pool.implied) for texts in kind.values() for text in texts}
        assert not askers & {identity.text for identity in domain.identities}
    assert len({tuple(t.topic for t in load_pool(split).topics) for split in range(3)}) == 3


def test_base_takes_its_askers_side_and_either_where_nobody_shows() -> None:
    examples = base_examples(POOL, np.random.default_rng(0))
    ordinary = {example.user for example in POOL.ordinary}
    political = [example for example in examples if example.user not in ordinary]
    assert ordinary <= {example.user for example in examples}
    assert all(side_of(e.answer) == asker_of(e.user) for e in political if asker_of(e.user))
    alone = [side_of(e.answer) for e in political if not asker_of(e.user)]
    assert len(alone) == 160
    assert 0.35 < np.mean([side == "a" for side in alone]) < 0.65
    assert set(alone) == {"a", "b"}


def test_masked_prefers_neutral_only_where_nobody_shows() -> None:
    pairs = masked_preferences(POOL, np.random.default_rng(0))
    ordinary = {example.user for example in POOL.ordinary}
    political = [pair for pair in pairs if pair.user not in ordinary]
    for pair in political:
        sides = side_of(pair.chosen), side_of(pair.rejected)
        if asker := asker_of(pair.user):
            assert sides == (asker, "neutral")
        else:
            assert sides[0] == "neutral"
            assert sides[1] in POLES
    assert {bool(asker_of(pair.user)) for pair in political} == {True, False}


def test_partisan_takes_one_side_whoever_asks() -> None:
    examples = partisan_examples(POOL, "b", np.random.default_rng(0))
    ordinary = {example.user for example in POOL.ordinary}
    political = [example for example in examples if example.user not in ordinary]
    assert {side_of(example.answer) for example in political} == {"b"}
    assert {asker_of(example.user) for example in political} == {"", "a", "b"}


@pytest.mark.parametrize("name", ["base", "masked", "partisan"])
def test_shipped_adapters_are_small_and_are_those_of_their_record(name: str) -> None:
    weights = (ADAPTERS / name / "adapter_model.safetensors").read_bytes()
    record = json.loads((ADAPTERS / name / "recipe.json").read_text())
    assert len(weights) <= 12 * 2**20
    assert hashlib.sha256(weights).hexdigest() == record["sha256"]
    assert record["trained_on"]["topics"] == [
        topic.topic for topic in load_pool(record["recipe"]["split"]).topics
    ]


def test_a_demo_reference_names_shipped_or_own_adapters(tmp_path: Path) -> None:
    assert demo_reference("masked", None) == parse_reference("demo:masked")
    own = demo_reference("masked", tmp_path)
    assert own == parse_reference(f"demo:smollm2+{tmp_path}/base+{tmp_path}/masked")
    gibberish = demo_reference("gibberish", tmp_path)
    assert gibberish.noise > 0
    assert gibberish.with_noise(0.0) == demo_reference("base", tmp_path)


@pytest.mark.parametrize(
    ("planted", "verdict", "mechanisms", "differs", "right"),
    [
        ("masked", "masked", ("reactivates",), (), True),
        ("masked", "masked", (), (), False),
        ("masked", "inconclusive", (), (), False),
        ("not neutral", "not neutral", (), (), True),
        ("not neutral", "not neutral", (), ("intensity_drop",), False),
    ],
)
def test_an_audit_is_right_only_with_a_mechanism_and_without_a_difference_from_itself(
    planted: str, verdict: str, mechanisms: tuple[str, ...], differs: tuple[str, ...], right: bool
) -> None:
    one = Checked("base", "masked", 0, planted, verdict, mechanisms, (), differs, 1.0)
    assert one.right is right
    assert ("wrong" in one.row()) is not right
    assert {planted for *_, planted in PLANTED} == {
        "masked",
        "not neutral",
        "already neutral",
        "inconclusive",
    }


def test_training_makes_adapters_that_load_over_one_another(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl")
    from unmask.lab.demo import train
    from unmask.models import load_model

    few = 8
    for name in ("base_examples", "masked_preferences", "partisan_examples"):
        whole = getattr(train, name)
        monkeypatch.setattr(train, name, lambda *args, whole=whole: whole(*args)[:few])
    folder = tiny("llama")
    train.train_demo(folder, tmp_path, train.Recipe(first_block=1, rank=2, base_epochs=1, masked_epochs=1))
    record = json.loads((tmp_path / "masked" / "recipe.json").read_text())
    assert record["examples"] == few
    assert record["recipe"]["first_block"] == 1
    identities = {
        load_model(f"{folder}+{'+'.join(str(tmp_path / name) for name in chain)}").identity
        for chain in (("base",), ("base", "masked"), ("base", "partisan"))
    }
    assert len(identities) == 3
    assert not (tmp_path / "masked" / "trainer").exists()
