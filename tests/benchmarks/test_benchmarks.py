"""The harness itself: ratios and bars from planted times, the order of a race, and that our side runs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import gpu, material, ours, plain, report
from benchmarks.__main__ import arguments
from benchmarks.contest import Contender, ContestError, environment, race, run_json, sample_of
from benchmarks.results import Limit, Outcome, Ratio, Sample


def line(seconds: list[float], tokens: int = 120) -> dict[str, object]:
    return {"tokens": tokens, "seconds": seconds, "peak_mib": 10}


def program(text: str) -> Contender:
    return Contender("program", (sys.executable, "-c", text))


def test_a_ratio_is_that_of_the_medians_beside_each_rounds_own() -> None:
    us = sample_of([line([2.0]), line([3.0]), line([6.0])])  # 60, 40 and 20 tokens a second
    them = sample_of([line([6.0]), line([4.0]), line([8.0])])  # 20, 30 and 15
    ratio = Ratio("read", "peer", us, them, bar=2.0)
    assert us == Sample("tokens/s", (60.0, 40.0, 20.0), 10)
    assert ratio.value == pytest.approx(40 / 20)
    assert ratio.by_round == pytest.approx((3.0, 4 / 3, 4 / 3))
    assert ratio.met
    assert not Ratio("read", "peer", us, them, bar=2.01).met
    assert Ratio("read", "peer", us, them).met is None


@pytest.mark.parametrize(
    ("value", "least", "met"), [(3.0, False, True), (5.0, False, False), (5.0, True, True)]
)
def test_a_limit_is_the_most_or_the_least(value: float, least: bool, met: bool) -> None:
    assert Limit("growth", value, "MiB", 4.0, least).met is met


def test_a_number_that_is_none_meets_no_bar() -> None:
    assert not Limit("difference", float("nan"), "nats", 1e-4).met


def test_programs_take_turns() -> None:
    order: list[str] = []

    def run(contender: Contender) -> dict[str, object]:
        order.append(contender.name)
        return line([float(len(order))])

    found = race([Contender("a", ()), Contender("b", ())], 2, run)
    assert order == ["a", "b", "a", "b"]
    assert found["b"].rates == (60.0, 30.0)


def test_the_last_json_line_counts_and_a_failure_is_told() -> None:
    environ = environment(1)
    assert run_json(program("print('loading'); print('{\"tokens\": 1}')"), environ) == {"tokens": 1}
    threads = run_json(program("import os, json; print(json.dumps(dict(os.environ)))"), environ)
    assert threads["OMP_NUM_THREADS"] == "1"
    with pytest.raises(ContestError, match="no weights"):
        run_json(program("raise SystemExit('no weights')"), environ)
    with pytest.raises(ContestError, match="no result"):
        run_json(program("print('done')"), environ)


def test_the_report_names_what_was_missed_and_what_failed() -> None:
    slow = Ratio(
        "read, float32", "peer", Sample("tokens/s", (90.0,), 1), Sample("tokens/s", (100.0,), 1), 0.95
    )
    text = report.render(
        [
            Outcome("read", "What it is.", (slow,), (Limit("audit", 3.0, "minutes", 4.0),)),
            Outcome("steer", failed="a peer is gone"),
        ],
        {"processor": "one"},
        3,
    )
    assert "1 of 2 bars met" in text
    assert "missed: read, float32, against peer: 0.90 ×, bar 0.95 ×" in text
    assert "| **0.90 ×** (0.90–0.90) | ≥ 0.95 × | **no** |" in text
    assert "a peer is gone" in text


def test_the_words_choose_the_cases() -> None:
    assert arguments(["--only", "steer,read"]).only == ["read", "steer"]
    with pytest.raises(SystemExit):
        arguments(["--only", "sleep"])


def test_prefixes_are_counted_once() -> None:
    assert material.distinct_prefixes([(1, 2, 3), (1, 2, 4), (2, 2, 3)]) == 3 + 1 + 3


@pytest.mark.parametrize(
    ("count", "shapes"), [(70, [(10, 7)]), (72, [(10, 7), (1, 2)]), (301, [(32, 7), (11, 7)])]
)
def test_the_floor_forwards_exactly_so_many_tokens(count: int, shapes: list[tuple[int, int]]) -> None:
    assert [tuple(ids.shape) for ids in plain.well_shaped([5, 6, 7], count, 7)] == shapes


@pytest.mark.parametrize("work", ["read", "score", "generate", "memory"])
def test_our_side_prints_a_peers_line(
    work: str,
    tiny: Callable[[str], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = material.write_lines(tmp_path / "lines", ["User: What now?", "User: Taxes should be lower."])
    if work == "score":
        given = material.write_rows(
            tmp_path / "rows", [{"context": "User: Why?", "continuation": " It depends."}]
        )
    words = [
        work,
        "--model",
        str(tiny("llama")),
        "--input",
        str(given),
        "--dtype",
        "float32",
        "--repeats",
        "2",
    ]
    monkeypatch.setattr(sys, "argv", ["ours", *words, "--new-tokens", "3"])
    ours.main()
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["peak_mib"] > 0
    if work != "memory":
        assert len(sample_of([found]).rates) == 2


def test_the_gpu_program_runs_at_a_toy_size(
    tiny: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--tiny", "--only", "read", "--repeats", "1", "--peak", "1000", "--device", "cpu"]
    assert gpu.main([*words, "--tokenizer", str(tiny("llama")), "--folder", str(tmp_path)]) == 0
    assert "of 1000 TFLOP/s" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())
