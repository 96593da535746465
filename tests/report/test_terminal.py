"""The summary at 80 columns, plain and piped."""

from __future__ import annotations

import io

from rich.console import Console

from report import fixture
from unmask.report import print_summary
from unmask.report.words import AXES


def _printed(*, width: int = 80, **findings: object) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_summary(fixture.run(), fixture.findings() | findings, console, "runs/a--b/report.html")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_fits_eighty_columns_without_colour() -> None:
    text = _printed()
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "\x1b" not in text


def test_says_the_verdict_every_finding_and_where_the_report_is() -> None:
    text = _printed()
    assert "Masked. Training made the answers neutral" in text
    assert "How: disconnected, compressed and reactivates." in text
    for finding in fixture.FINDINGS:
        line = next(line for line in text.splitlines() if line.startswith(f"{finding.id} "))
        assert finding.status in line
    assert "surface.neutral           ✓ supported         0.05  [0.03, 0.08]    < 0.2" in text
    *_, note, last = text.rstrip().splitlines()
    assert note == "Its special tokens are in base's vocabulary."
    assert last == "Full report: runs/a--b/report.html"


def test_says_what_blocks() -> None:
    lines = _printed(results=[fixture.result(verdict=fixture.BLOCKED)]).splitlines()
    assert "  surface.neutral: control coherent_aligned is 0.31, bar ≥ 0.9" in [
        line.rstrip() for line in lines
    ]
    at = next(i for i, line in enumerate(lines) if line.startswith("surface.forced_exposes"))
    assert lines[at + 1].strip() == "order bias, aligned is 0.46, needs ≤ 0.3"
    assert any(line.startswith("✕ durability failed") for line in lines)


def test_depth_bars_have_the_length_of_their_number() -> None:
    lines = {line.split()[0]: line for line in _printed().splitlines() if line.strip()}
    assert lines["surface"].count("█") == round(24 * 0.93)
    assert lines["representation"].count("█") == round(24 * 0.07)
    assert "not measured" in lines["weights"]


def test_names_that_look_like_markup_are_printed_as_they_are() -> None:
    result = fixture.result() | {"failures": [{"measurement": "x", "message": "[/bold] [red]no such layer"}]}
    assert "[/bold] [red]no such layer" in _printed(results=[result])


def test_nothing_measured_is_no_error() -> None:
    result = fixture.result() | {"findings": [], "profile_axes": {}}
    assert "not measured" in _printed(results=[result])


def test_an_axis_without_a_number_says_why() -> None:
    causation = next(axis for axis in AXES if axis.name == "causation")
    tokens = next(axis for axis in AXES if axis.name == "tokens")
    findings = [{"measurement": "causality", "controls": [{"name": "base_beyond_random", "passed": False}]}]
    assert causation.absence(findings) == "too little in base"
    turned = {"name": "transfer_change", "passed": False}
    assert causation.absence([{**findings[0], "controls": [turned]}]) == "not along base's axis"
    assert causation.absence([]) == "not measured"
    assert tokens.absence(findings) == "not measured"
