"""Latents one by one: contexts cut into stretches, effects on one line, gaps kept as gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from report import fixture
from unmask.report.latents import MAX_CONTEXTS, latents, pieces


def _own() -> dict[str, pd.DataFrame]:
    prefix = "partisan/features."
    return {
        key.removeprefix(prefix): frame for key, frame in fixture.tables().items() if key.startswith(prefix)
    }


def test_silent_tokens_stand_together_and_shade_is_of_the_peak() -> None:
    codes = np.array([0.0, 0.0, 1.0, 4.0, 0.0], dtype=np.float32)
    cut = pieces(np.array(["a", " b", " c", " d", " e"], dtype=object), codes)
    assert [(piece.text, piece.strength, piece.peak) for piece in cut] == [
        ("a b", 0.0, False), (" c", 0.25, False), (" d", 1.0, True), (" e", 0.0, False),
    ]  # fmt: skip


@pytest.mark.parametrize("codes", [[0.0, 0.0], [np.nan, -1.0], [None, 0.0]])
def test_where_nothing_fires_nothing_is_shaded(codes: list[float]) -> None:
    assert [piece.strength for piece in pieces(["a", "b"], codes)] == [0.0]
    assert pieces([], []) == ()


@pytest.mark.parametrize("broken", ["\n", "\r\n", "\r", "\v", "\f", "\x85", "\u2028", "\u2029"])
def test_every_line_break_is_shown(broken: str) -> None:
    (piece,) = pieces([f"a{broken}b"], [1.0])
    assert piece.text == "a⏎b"


def test_effects_share_one_line_with_chance_around_its_middle() -> None:
    found = latents(_own())
    effects = [latent.effects[side] for latent in found for side in ("base", "aligned")]
    places = [effect.at for effect in effects if effect.at is not None]
    assert max(abs(at - 50) for at in places) == pytest.approx(46)
    for effect in effects:
        assert effect.chance is not None
        assert effect.chance.x + effect.chance.width / 2 == pytest.approx(50, abs=0.01)
        assert (effect.value is None) == (effect.at is None)
    assert found[-1].effects["base"].value is None, "one latent of the fixture was not clamped"


def test_contexts_are_each_side_s_own_strongest_first() -> None:
    tables = _own()
    first = tables["latents"]["latent"].iloc[0]
    tables["contexts"] = pd.DataFrame(
        [(first, "base", rank, "answer", [str(rank)], [1.0], 0) for rank in reversed(range(9))],
        columns=tables["contexts"].columns,
    )
    latent, other = latents(tables)[:2]
    assert [context.pieces[0].text for context in latent.contexts["base"]] == [
        str(rank) for rank in range(MAX_CONTEXTS)
    ]
    assert latent.contexts["aligned"] == ()
    assert other.contexts["base"] == ()
