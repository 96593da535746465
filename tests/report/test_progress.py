"""What is left of an audit, by a planted clock."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import pytest

from unmask.report.progress import Remaining, TokenProgress
from unmask.runner.pace import Pace
from unmask.runner.rehearsal import Share


@dataclass
class Clock:
    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Ahead:
    """The part of a forecast that the bar looks at."""

    beside: float = 10.0
    pace: Pace = field(default_factory=lambda: Pace({"Look": 0.1, "Generate": 1.0}))
    rounds: tuple[tuple[Share, ...], ...] = (
        (Share("aligned", "Look", 3, 50, 0, 0), Share("base", "Look", 3, 50, 0, 0)),
        (Share("base", "Generate", 2, 20, 0, 0),),
    )


def remaining() -> tuple[Remaining, Clock]:
    clock = Clock()
    return Remaining(Ahead(), clock), clock  # type: ignore[arg-type]  # a part of a forecast is enough


def test_the_whole_audit_is_known_from_the_start_and_corrected() -> None:
    left, clock = remaining()
    assert (left.tokens, left.done, left.rounds) == (120, 0, 2)
    assert left.seconds() == pytest.approx(10 + 20 + 10)

    clock.now += 4  # models were loaded
    left.begin({"Look": 80}, {"Look": 30})  # the round is smaller than was forecast, and some of it on disk
    assert (left.tokens, left.done) == (100, 30)
    assert left.seconds() == pytest.approx(50 * 0.1 + 20 + 6)

    clock.now += 5
    left.advance("Look", 25, 5.0)  # 0.2 s a token: twice as slow as guessed, and so will generating be
    assert left.seconds() == pytest.approx(25 * 0.2 + 20 * 2.0 + 6)
    clock.now += 3  # in the middle of a batch
    assert left.seconds() == pytest.approx(5 + 40 + 6 - 3)
    clock.now += 2
    left.advance("Look", 25, 5.0)
    clock.now += 9  # statistics took 3 s longer than foreseen in all
    left.begin({"Generate": 10}, {})
    assert left.seconds() == pytest.approx(10 * 2.0)
    clock.now += 5
    left.advance("Generate", 10, 5.0)
    assert left.seconds() == 0
    assert left.done == left.tokens == 90


def test_kinds_that_differ_in_speed_are_not_averaged() -> None:
    left, clock = remaining()
    left.begin({"Look": 100}, {})
    clock.now += 1
    left.advance("Look", 100, 1.0)
    assert left.seconds() == pytest.approx(20 * 0.1 + 10)  # all was 10 times as fast as guessed
    left.begin({"Generate": 20}, {})
    clock.now += 30
    left.advance("Generate", 10, 30.0)
    assert left.seconds() == pytest.approx(10 * 3.0 + 10)


def test_without_a_forecast_rounds_are_known_as_they_begin() -> None:
    clock = Clock()
    left = Remaining(None, clock)
    assert left.seconds() is None
    for rounds in (1, 2):
        left.begin({"Look": 10}, {})
        assert left.rounds == rounds
        clock.now += 2
        left.advance("Look", 5, 2.0)
        assert left.seconds() == pytest.approx(2.0)
        clock.now += 2
        left.advance("Look", 5, 2.0)


def test_piped_output_has_no_bar_and_rehearses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    with TokenProgress() as bar:
        bar.expect(lambda: pytest.fail("a forecast was made for nobody"))
        bar.begin({"Look": 10}, {"Look": 5})
        bar.advance("base", "Look", 5, 1.0)
    assert out.getvalue() == ""


def test_a_terminal_shows_the_round_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    out.isatty = lambda: True  # type: ignore[method-assign]  # a terminal as far as anyone asks
    monkeypatch.setattr("sys.stderr", out)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with TokenProgress() as bar:
        bar.expect(Ahead)  # type: ignore[arg-type]  # a part of a forecast is enough
        bar.begin({"Look": 100}, {})
        bar.advance("base", "Look", 50, 5.0)
    text = out.getvalue()
    assert "round 1 of 2, base" in text
    assert "50/120 tokens" in text
    assert "about 3" in text
    assert "left" in text
