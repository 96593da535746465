"""The demo models: what they are trained on and what nothing may be trained on; training runs on a tiny model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from unmask.domains import load_domain
from unmask.lab.demo.check import Checked, check_demo, demo_reference, self_differences
from unmask.lab.demo.recipe import Recipe, demo_rows, texts_digest
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
from unmask.settings import SettingsError

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
        ordinary = {example.user for example in pool.ordinary}
        assert not ordinary & {row.question for row in (*domain.facts, *domain.offtopic)}
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
def test_shipped_adapters_are_small_and_made_by_the_recipe_as_it_stands(name: str) -> None:
    weights = (ADAPTERS / name / "adapter_model.safetensors").read_bytes()
    record = json.loads((ADAPTERS / name / "recipe.json").read_text())
    assert len(weights) <= 12 * 2**20
    assert hashlib.sha256(weights).hexdigest() == record["sha256"]
    recipe = Recipe()
    assert record["recipe"] == json.loads(json.dumps(asdict(recipe)))
    assert record["texts"] == texts_digest(demo_rows(name, load_pool(recipe.split), recipe))


def test_a_demo_reference_names_shipped_or_own_adapters(tmp_path: Path) -> None:
    assert demo_reference("masked", None) == parse_reference("demo:masked")
    own = demo_reference("masked", tmp_path)
    assert own == parse_reference(f"demo:smollm2+{tmp_path}/base+{tmp_path}/masked")
    gibberish = demo_reference("gibberish", tmp_path)
    assert gibberish.noise > 0
    assert gibberish.with_noise(0.0) == demo_reference("base", tmp_path)


@pytest.mark.parametrize(
    ("verdict", "faults", "right"),
    [("masked", (), True), ("inconclusive", (), False), ("masked", ("reactivation failed",), False)],
)
def test_an_audit_is_right_only_with_the_planted_verdict_and_without_a_fault(
    verdict: str, faults: tuple[str, ...], right: bool
) -> None:
    one = Checked("base", "masked", 0, "masked", verdict, ("reactivates",), (), faults)
    assert one.right is right
    assert ("wrong" in one.row()) is not right


def same_model(**changed: float | None) -> dict[str, Any]:
    """One domain's findings of a model with itself, but for these."""
    values: dict[str, float | None] = {
        "intensity_drop": 0.01, "drop_beyond_noise": -0.02, "excess_change": 0.0, "transfer_change": 0.0,
        "log_sd_ratio": 0.0, "below_random": 0.0, "below_unrelated": 0.0, "gain_ratio": 1.0,
    } | changed  # fmt: skip
    bars = [{"quantity": name, "value": value} for name, value in values.items()]
    axes = {"surface": {"value": 0.1, "low": 0.0, "high": 0.3}, "tokens": None}
    return {"findings": [{"bars": bars}], "profile_axes": axes}


def sides(aligned: float) -> dict[str, pd.DataFrame]:
    table = pd.DataFrame({"side": ["base", "aligned"], "value": [0.5, aligned]})
    return {
        "partisan/variance.classes": table,
        "partisan/surface.answers": sides_apart,
        "partisan/other": other,
    }


other = pd.DataFrame({"value": [1.0]})
sides_apart = pd.DataFrame({"side": ["base", "aligned"], "value": [0.0, 1.0]})


def test_a_model_does_not_differ_from_itself_where_only_sampled_text_does() -> None:
    assert self_differences(same_model(), sides(0.5)) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"intensity_drop": -0.05, "drop_beyond_noise": -0.08},
        {"intensity_drop": 0.05, "drop_beyond_noise": 0.02},
        {"intensity_drop": None},
        {"excess_change": 0.001},
        {"transfer_change": -0.001},
        {"log_sd_ratio": 0.001},
        {"below_random": 0.001},
        {"below_unrelated": None},
        {"gain_ratio": 0.99},
        {"gain_ratio": None},
    ],
)
def test_whatever_differs_between_a_model_and_itself_is_named(changed: dict[str, float | None]) -> None:
    assert len(self_differences(same_model(**changed), sides(0.5))) == 1


def test_a_table_or_an_axis_that_differs_is_named() -> None:
    assert self_differences(same_model(), sides(0.5 + 1e-12)) == ["variance.classes differs"]
    result = same_model()
    result["profile_axes"]["surface"]["low"] = 0.05
    assert self_differences(result, sides(0.5)) == ["the depth profile's surface is above 0"]


def test_an_unknown_pair_is_said_and_nothing_is_run(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="base-masked"):
        check_demo(tmp_path, [0], pairs=("base-msked",))
    assert not any(tmp_path.iterdir())


def test_training_makes_adapters_that_load_over_one_another(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("trl")
    from unmask.lab.demo import train
    from unmask.models import load_model

    few = 8
    whole = train.demo_rows
    monkeypatch.setattr(train, "demo_rows", lambda *args: whole(*args)[:few])
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
