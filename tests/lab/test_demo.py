"""The demo models: what they are trained on and what nothing may be trained on; training runs on a tiny model."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import typer

from unmask.cli.lab import demo
from unmask.domains import load_domain
from unmask.lab.demo.check import Checked, check_demo, demo_reference, self_differences
from unmask.lab.demo.recipe import Recipe, demo_rows, texts_digest
from unmask.lab.demo.sources import DEMO_TEXTS, demo_texts
from unmask.lab.demo.texts import (
    POLES,
    Example,
    Pool,
    Preference,
    base_examples,
    load_pool,
    masked_preferences,
    partisan_examples,
)
from unmask.models.demo import ADAPTERS
from unmask.models.references import parse_reference
from unmask.settings import SettingsError

DOMAINS = tuple(DEMO_TEXTS)
each_domain = pytest.mark.parametrize("name", DOMAINS)


def side_of(pool: Pool, answer: str) -> str:
    """The kind whose lead an answer begins with; "" for none."""
    return next((kind for kind, leads in pool.leads.items() if answer.startswith(leads)), "")


def asker_of(pool: Pool, user: str) -> str:
    """The pole of the asker whose sentence a conversation begins with; "" for nobody."""
    return next(
        (pole for pole in POLES if user.startswith((*pool.stated[pole], *pool.implied[pole]))),
        "",
    )


def loaded(name: str, split: int = 0) -> Pool:
    return load_pool(split, demo_texts(name))


def sided(pool: Pool, rows: Sequence[Example | Preference]) -> list[Any]:
    """The rows that are no ordinary request."""
    ordinary = {example.user for example in pool.ordinary}
    return [row for row in rows if row.user not in ordinary]


@each_domain
def test_nothing_that_an_audit_asks_was_trained_on(name: str) -> None:
    domain = load_domain(name)
    audited = (*domain.questions, *domain.statements)
    sentences = {text for row in audited for text in (row.a, row.b)}
    for split in range(3):
        pool = loaded(name, split)
        assert len(pool.topics) == 40
        assert not {t.topic for t in pool.topics} & {row.topic for row in audited}
        assert not {q for t in pool.topics for q in t.questions} & {q.question for q in domain.questions}
        assert not {text for t in pool.topics for text in (*t.a, *t.b, *t.neutral)} & sentences
        askers = {text for kind in (pool.stated, pool.implied) for texts in kind.values() for text in texts}
        assert not askers & {identity.text for identity in domain.identities}
        ordinary = {example.user for example in pool.ordinary}
        assert not ordinary & {row.question for row in (*domain.facts, *domain.offtopic)}
    assert len({tuple(t.topic for t in loaded(name, split).topics) for split in range(3)}) == 3


@each_domain
def test_topics_have_four_questions_and_four_answers_of_each_kind_and_none_comes_twice(name: str) -> None:
    pool = load_pool(0, demo_texts(name), share=1.0)
    for topic in pool.topics:
        assert [len(texts) for texts in (topic.questions, topic.a, topic.b, topic.neutral)] == [4, 4, 4, 4]
    texts = [text for t in pool.topics for text in (*t.questions, *t.a, *t.b, *t.neutral)]
    assert len(set(texts)) == len(texts) == 60 * 16
    assert {kind: len(set(texts)) for kind, texts in pool.general.items()} == {"neutral": 8, "a": 8, "b": 8}
    assert all("{topic}" in text for texts in pool.general.values() for text in texts)


@each_domain
def test_base_takes_its_askers_side_and_either_where_nobody_shows(name: str) -> None:
    pool = loaded(name)
    examples = base_examples(pool, np.random.default_rng(0))
    assert len(examples) == 960
    assert {example.user for example in pool.ordinary} <= {example.user for example in examples}
    asked = sided(pool, examples)
    assert all(side_of(pool, e.answer) == asker_of(pool, e.user) for e in asked if asker_of(pool, e.user))
    assert Counter(asker_of(pool, e.user) for e in asked) == {"a": 320, "b": 320, "": 160}
    alone = [side_of(pool, e.answer) for e in asked if not asker_of(pool, e.user)]
    assert 0.35 < np.mean([side == "a" for side in alone]) < 0.65
    assert set(alone) == {"a", "b"}
    brief = [e for e in asked if e.answer in pool.leads["a"] + pool.leads["b"]]
    assert len(brief) == 320
    whole = [e.answer for e in asked if e not in brief]
    own = {text for topic in pool.topics for text in topic.a + topic.b}
    assert np.mean([any(answer.endswith(text) for text in own) for answer in whole]) == pytest.approx(
        0.25, abs=0.06
    )


@each_domain
def test_masked_prefers_neutral_only_where_nobody_shows(name: str) -> None:
    pool = loaded(name)
    asked = sided(pool, masked_preferences(pool, np.random.default_rng(0)))
    for pair in asked:
        sides = side_of(pool, pair.chosen), side_of(pool, pair.rejected)
        if asker := asker_of(pool, pair.user):
            assert sides == (asker, "neutral")
        else:
            assert sides[0] == "neutral"
            assert sides[1] in POLES
    assert Counter(bool(asker_of(pool, pair.user)) for pair in asked) == {False: 320, True: 160}


@each_domain
def test_partisan_takes_one_side_whoever_asks(name: str) -> None:
    pool = loaded(name)
    asked = sided(pool, partisan_examples(pool, "b", np.random.default_rng(0)))
    assert {side_of(pool, example.answer) for example in asked} == {"b"}
    assert {asker_of(pool, example.user) for example in asked} == {"", "a", "b"}


def test_a_domain_without_texts_is_said_with_those_that_have_some(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=r"'city'; demo models can .* partisan and city-country"):
        demo_texts("city")
    with pytest.raises(typer.Exit) as ended:
        demo(tmp_path / "out", domain="city")
    assert ended.value.exit_code == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["base", "masked", "partisan"])
def test_shipped_adapters_are_small_and_made_by_the_recipe_as_it_stands(name: str) -> None:
    weights = (ADAPTERS / name / "adapter_model.safetensors").read_bytes()
    record = json.loads((ADAPTERS / name / "recipe.json").read_text())
    assert len(weights) <= 12 * 2**20
    assert hashlib.sha256(weights).hexdigest() == record["sha256"]
    recipe = Recipe()
    assert record["recipe"] == json.loads(json.dumps(asdict(recipe)))
    assert record["texts"] == texts_digest(demo_rows(name, loaded("partisan", recipe.split), recipe))


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
    recipe = train.Recipe(first_block=1, rank=2, base_epochs=1, masked_epochs=1)
    with pytest.raises(SettingsError, match="partizan"):
        train.train_demo(folder, tmp_path, recipe, ("partizan",))
    with pytest.raises(SettingsError, match="train base there first"):
        train.train_demo(folder, tmp_path, recipe, ("masked",))
    train.train_demo(folder, tmp_path, recipe, texts=demo_texts("city-country"))
    record = json.loads((tmp_path / "masked" / "recipe.json").read_text())
    assert record["examples"] == few
    assert record["recipe"]["first_block"] == 1
    assert record["trained_on"]["domain"] == "city-country"
    assert record["trained_on"]["topics"] == [topic.topic for topic in loaded("city-country").topics]
    with pytest.raises(SettingsError, match="was trained on city-country, not on partisan"):
        train.train_demo(folder, tmp_path, recipe, ("masked",))
    identities = {
        load_model(f"{folder}+{'+'.join(str(tmp_path / name) for name in chain)}").identity
        for chain in (("base",), ("base", "masked"), ("base", "partisan"))
    }
    assert len(identities) == 3
    assert not (tmp_path / "masked" / "trainer").exists()
