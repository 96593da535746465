"""A plan beside the audit that it foretells, on tiny random models."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import auditing
import pytest
from auditing import Pairs
from test_audit import Broken
from test_cli import Command

from unmask import Pair, audit, forecasting
from unmask.choosing import choose_measurements
from unmask.measurements import all_measurements
from unmask.planning import Plan, plan_audit
from unmask.runner import local
from unmask.runner.planner import Batch
from unmask.runner.requests import Classify, Read, Request, Score, request_key
from unmask.verdict.foresight import reference_spreads
from unmask.verdict.power import detectable, resized
from unmask.verdict.rules import RULES

pytestmark = pytest.mark.usefixtures("quick_audits")
tiny_pairs, quick_audits = auditing.tiny_pairs, auditing.quick_audits
Rounds = list[list[Batch]]


@pytest.fixture
def unmask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


def watched(monkeypatch: pytest.MonkeyPatch, module: Any) -> Rounds:
    """The batches of every round that a module plans."""
    rounds: Rounds = []
    plan: Callable[..., list[Batch]] = module.plan

    def watching(*words: Any) -> list[Batch]:
        rounds.append(plan(*words))
        return rounds[-1]

    monkeypatch.setattr(module, "plan", watching)
    return rounds


class Told:
    """A progress that keeps what it is told of each round."""

    def __init__(self) -> None:
        self.rounds: list[Mapping[str, float]] = []

    def expect(self, forecast: object) -> None:
        pass

    def begin(self, tokens: Mapping[str, float], done: Mapping[str, float]) -> None:
        assert not done
        self.rounds.append(tokens)

    def advance(self, *_: object) -> None:
        pass


def asked(batches: Sequence[Batch], leave_out: type[Request] | None = None) -> Counter[tuple[str, str]]:
    """How many requests of each type an engine gets."""
    return Counter(
        (batch.engine, type(request).__name__)
        for batch in batches
        for request in batch.requests
        if leave_out is None or not isinstance(request, leave_out)
    )


def tokens(plan: Plan, round_: int) -> Counter[str]:
    counted: Counter[str] = Counter()
    for share in plan.forecast.rounds[round_]:
        counted[share.kind] += share.tokens
    return counted


@pytest.mark.parametrize("aligned", ["aligned", "base"])
def test_a_rehearsal_asks_what_the_audit_asks(
    tiny_pairs: Pairs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, aligned: str
) -> None:
    pair, settings = Pair(str(tiny_pairs.base), str(getattr(tiny_pairs, aligned))), tiny_pairs.settings()
    rehearsed = watched(monkeypatch, forecasting)
    plan = plan_audit(pair, settings)
    assert not plan.failures
    real, told = watched(monkeypatch, local), Told()
    run = audit(pair, tmp_path / "run", settings, told)
    assert not run.failed

    assert len(rehearsed) == len(real) == len(told.rounds) == len(plan.forecast.rounds)
    for made_up, measured in zip(rehearsed, real, strict=True):
        # Models may say the same twice, so that fewer texts are judged or scored than could be.
        assert asked(made_up, Classify | Score) == asked(measured, Classify | Score)
        more, fewer = asked(made_up), asked(measured)
        assert fewer.keys() == more.keys()
        assert all(0.7 * more[at] <= fewer[at] <= more[at] for at in more), (more, fewer)
    for made_up, measured in zip(rehearsed[:2], real[:2], strict=True):
        assert asked(made_up, Classify) == asked(measured, Classify)

    def keys(batches: Sequence[Batch]) -> Iterator[str]:
        # Which layer is read for reactivation hangs on answers; identities of judges do not matter to a plan.
        for batch in batches:
            for request in batch.requests:
                if not isinstance(request, Classify) and not (isinstance(request, Read) and request.layers):
                    yield request_key(request, run.facts["identities"])

    for made_up, measured in zip(rehearsed[:2], real[:2], strict=True):
        assert Counter(keys(made_up)) == Counter(keys(measured))
    assert tokens(plan, 0) == Counter(told.rounds[0])
    assert tokens(plan, 1)["Generate"] == told.rounds[1]["Generate"]


def test_the_plan_adds_up_and_foresees_by_the_same_power(tiny_pairs: Pairs) -> None:
    plan = plan_audit(Pair(str(tiny_pairs.base), str(tiny_pairs.aligned)), tiny_pairs.settings())
    record = plan.record()
    for number in ("requests", "tokens", "disk"):
        in_rounds = sum(share[number] for shares in record["rounds"] for share in shares)
        assert record[number] == in_rounds == sum(share[number] for share in record["work"])
    assert record["memory"]["weights"] == 4 * record["parameters"]
    assert record["memory"]["activations"] > 0
    assert plan.seconds > plan.forecast.beside > 0

    (rows,) = plan.foreseen.values()
    assert {row.claim for row in rows} == {claim for one in choose_measurements(None) for claim in one.claims}
    swing = next(row for row in rows if row.quantity == "swing_aligned")
    bar = RULES["reactivation.reactivates"].bars[0]
    estimate = resized(bar, reference_spreads().estimates["reactivation", "swing_aligned"], swing.n)
    assert swing.n == 6  # the tiny profile's questions, each of its own topic
    assert swing.detectable == detectable(bar, estimate, 0.05 / 2)  # two claims, both tested


def test_the_disk_is_what_the_records_take(tiny_pairs: Pairs, tmp_path: Path) -> None:
    pair, settings = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned)), tiny_pairs.settings()
    audit(pair, tmp_path / "run", settings)
    taken = sum(path.stat().st_size for path in (tmp_path / "run" / "records").glob("*/*"))
    assert plan_audit(pair, settings).record()["disk"] == pytest.approx(taken, rel=0.15)


def test_a_run_tells_the_next_plan_how_fast_this_machine_is(tiny_pairs: Pairs, tmp_path: Path) -> None:
    pair, settings = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned)), tiny_pairs.settings()
    assert plan_audit(pair, settings).record()["pace"] == "guessed"
    audit(pair, tmp_path / "run", settings)
    told = plan_audit(pair, settings)
    assert told.record()["pace"] == "earlier runs"
    # Neither a run that found all of it on disk nor one of a single measurement says how long a whole one takes.
    audit(pair, tmp_path / "run", settings)
    part = replace(settings, measurements=("structure",))
    audit(pair, tmp_path / "part", part)
    assert plan_audit(pair, settings).forecast.beside == told.forecast.beside
    assert plan_audit(pair, part).forecast.beside != told.forecast.beside


def test_a_terminal_and_a_script_get_the_plan(unmask: Command, tiny_pairs: Pairs) -> None:
    words = ("plan", tiny_pairs.base, tiny_pairs.aligned, *tiny_pairs.words())
    code, out, err = unmask(*words)
    assert (code, err) == (0, "")
    assert "requests in 4 rounds" in out
    assert "write answers" in out
    assert "surface.neutral " in out
    assert "intensity, aligned" in out
    code, out, _ = unmask(*words, "--only", "structure", "--json")
    assert code == 0
    printed = json.loads(out)
    assert printed["schema"] == "unmask/1"
    assert {share["kind"] for share in printed["work"]} == {"Look"}
    assert len(printed["rounds"]) == 1


def test_mistakes_are_one_line(unmask: Command, tiny_pairs: Pairs) -> None:
    line = unmask.refused("plan", "./nowhere", tiny_pairs.aligned, *tiny_pairs.words())
    assert "nowhere does not exist" in line
    assert "no measurement 'surfaec'" in unmask.refused(
        "plan", tiny_pairs.base, tiny_pairs.aligned, "--only", "surfaec"
    )


def test_a_measurement_that_fails_is_named(
    unmask: Command, tiny_pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {**all_measurements(), "broken": Broken()}
    monkeypatch.setattr("unmask.choosing.all_measurements", lambda: known)
    code, out, _ = unmask("plan", tiny_pairs.base, tiny_pairs.aligned, *tiny_pairs.words())
    assert code == 4
    assert "broken would fail" in out
    assert "surface.neutral " in out
