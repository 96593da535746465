"""How long work takes: guessed, learnt, and kept for the next run."""

from __future__ import annotations

from pathlib import Path

import pytest

from unmask.runner.pace import EFFICIENCY, Pace, guess_pace, keep_pace, recall_pace

ENGINE = {"n_layers": 3, "width": 32, "threads": 2, "dtype": "float32", "device": "cpu"}


def test_a_kind_goes_at_its_own_speed_once_it_is_seen() -> None:
    pace = Pace({"Look": 0.1, "Generate": 1.0})
    work = {"Look": 10.0, "Generate": 2.0}
    assert pace.seconds(work) == pytest.approx(1.0 + 2.0)
    pace.learn("Look", 100, 20.0)  # twice as slow as guessed; so will the other kind be
    assert pace.seconds(work) == pytest.approx(2.0 + 4.0)
    pace.learn("Generate", 1, 0.5)
    pace.learn("Generate", 1, 1.5)
    assert pace.seconds(work) == pytest.approx(2.0 + 2.0)


def test_nothing_guessed_and_nothing_seen_is_not_known() -> None:
    pace = Pace({})
    assert pace.seconds({"Look": 1.0}) is None
    pace.learn("Look", 10, 5.0)
    assert pace.seconds({"Look": 1.0, "Classify": 1.0}) == pytest.approx(1.0)


def test_a_run_tells_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path))
    assert recall_pace(ENGINE) is None
    keep_pace(ENGINE, {"Look": (100.0, 20.0), "Generate": (10.0, 0.01)}, "quick", 12.0)
    keep_pace(ENGINE, {"Classify": (10.0, 5.0)}, "standard", 40.0)
    keep_pace(ENGINE, {}, "quick", None)
    known = recall_pace(ENGINE)
    assert known is not None
    assert known.a_token == {"Look": 0.2, "Classify": 0.5}  # too little was generated to tell
    assert known.beside == {"quick": 12.0, "standard": 40.0}
    assert recall_pace({**ENGINE, "dtype": "bfloat16"}) is None
    (note,) = tmp_path.glob("pace/*.json")
    note.write_text('{"a_token": [1], "beside": {}}')
    assert recall_pace(ENGINE) is None


def test_a_note_that_cannot_be_kept_is_lost_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setenv("UNMASK_CACHE", str(tmp_path / "cache"))
    keep_pace(ENGINE, {"Look": (100.0, 20.0)}, "quick", 12.0)
    assert recall_pace(ENGINE) is None


def test_the_guess_is_a_share_of_a_matmuls_speed() -> None:
    guessed = guess_pace({"Look": 10**6, "Generate": 10**6}, 64, "float32", "cpu")
    assert guessed["Generate"] / guessed["Look"] == pytest.approx(EFFICIENCY["Look"] / EFFICIENCY["Generate"])
    assert 0 < guessed["Look"] < 1
