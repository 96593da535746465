"""Where things lie on a strip, worked out by hand."""

from __future__ import annotations

import pytest

from unmask.report.numbers import duration, number, ticks
from unmask.report.strips import strip, thresholds


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("< 0.2", ("<", 0.2)), ("> -0.1", (">", -0.1)), ("> −0.1", (">", -0.1)), ("≥ 0.9", (">", 0.9)),
        ("within ±0.1", ("within", 0.1)), ("< 1e-05", ("<", 1e-05)), ("no bar", None),
    ],
)  # fmt: skip
def test_thresholds_are_read_from_words(words: str, expected: tuple[str, float] | None) -> None:
    assert thresholds(words) == expected


def test_places_in_percent() -> None:
    # The places run from 0 to 1; 12 % of that on either side makes an axis from −0.12 to 1.12.
    got = strip({"value": 0.5, "low": 0.25, "high": 1.0, "bar": "> 0.25"}, null_q95=0.25)
    assert got.dot == pytest.approx(50)
    quarter = 100 * 0.37 / 1.24
    assert got.interval is not None
    assert got.interval.x == pytest.approx(quarter, abs=1e-3)
    assert got.interval.x + got.interval.width == pytest.approx(100 * 1.12 / 1.24, abs=1e-2)
    assert got.null is not None
    assert (got.null.x, got.null.width) == (0, pytest.approx(quarter, abs=1e-3))
    assert got.zone is not None
    assert got.zone.x + got.zone.width == pytest.approx(100, abs=1e-2)
    assert [bar.x for bar in got.bars] == [pytest.approx(quarter, abs=1e-3)]


def test_a_lower_tail_null_is_shaded_upwards() -> None:
    got = strip({"value": -0.8, "low": -0.9, "high": -0.7, "bar": "< -0.223"}, null_q95=-0.3)
    assert got.null is not None
    assert got.null.x + got.null.width == pytest.approx(100, abs=1e-2)


def test_within_has_two_bars_and_the_zone_between() -> None:
    got = strip({"value": 0.0, "low": -0.05, "high": 0.05, "bar": "within ±0.1"})
    low, high = got.bars
    assert got.zone is not None
    assert (got.zone.x, got.zone.x + got.zone.width) == (pytest.approx(low.x), pytest.approx(high.x))


def test_nothing_measured_is_nothing_drawn() -> None:
    got = strip({"value": float("nan"), "low": None, "high": float("inf"), "bar": "> 0.1"})
    assert got.dot is None
    assert got.interval is None
    assert got.zone is not None


def test_numbers() -> None:
    shown = [number(x) for x in (-0.0312, 1234.5, 0.004, -0.0, -2e-16, 3, None, float("nan"), "x")]
    assert shown == ["−0.03", "1,234", "0.004", "0.00", "0.00", "3.00", "–", "–", "–"]
    assert [duration(x) for x in (2.25, 48, 200, 7500, None)] == [
        "2.2 s",
        "48 s",
        "3 min 20 s",
        "2 h 05 min",
        "–",
    ]
    assert ticks(-0.12, 1.12) == (0.0, 0.5, 1.0) or ticks(-0.12, 1.12) == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
