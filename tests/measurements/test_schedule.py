"""The schedule: rounds that merge, dependants that wait, a failure that stays where it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from measurements.planted import context
from unmask.measurements import all_measurements
from unmask.measurements.base import Asking, Claim, Context, Reading, exact
from unmask.measurements.schedule import Outcome, run_measurements
from unmask.models import ModelError
from unmask.models.prompts import Frame
from unmask.runner.records import Records
from unmask.runner.requests import Read, Request


def read(words: str) -> Read:
    return Read("base", Frame.plain(words))


class Counting:
    """A runner that answers a read with its length, and keeps the rounds."""

    def __init__(self) -> None:
        self.rounds: list[list[Request]] = []

    def answer(self, requests: Sequence[Request]) -> Records:
        self.rounds.append(list(requests))
        return Records(
            {r: np.array([len(r.prompt.text)], np.float32) for r in requests if isinstance(r, Read)}
        )

    @property
    def words(self) -> list[list[str]]:
        return [sorted(r.prompt.text for r in round_ if isinstance(r, Read)) for round_ in self.rounds]


class Plain:
    """A third party's measurement: a plain class that owes us nothing but the four names and `measure`."""

    family: ClassVar[str] = "mask"
    claims: ClassVar[dict[str, Claim]] = {}

    def __init__(
        self, name: str, *rounds: Sequence[str], needs: tuple[str, ...] = (), fails: bool = False
    ) -> None:
        self.name = name  # type: ignore[misc]
        self.needs = needs  # type: ignore[misc]
        self.rounds = rounds
        self.fails = fails

    def measure(self, ctx: Context) -> Asking:
        total = sum(ctx.readings[need].estimates["total"].value for need in self.needs)
        for words in self.rounds:
            asked = [read(word) for word in words]
            records = yield asked
            total += float(records.stack(asked).sum()) if asked else 0.0
            with pytest.raises(KeyError):
                records.array(read("somebody else's"))
        if self.fails:
            raise RuntimeError("broken on purpose")
        return Reading(self.name, {"total": exact(total, "", 1)})


def go(*measurements: Plain, runner: Counting | None = None) -> Outcome:
    return run_measurements(measurements, {"partisan": context()}, runner or Counting())["partisan"]


def totals(outcome: Outcome) -> dict[str, float]:
    return {name: reading.estimates["total"].value for name, reading in outcome.readings.items()}


def test_a_round_holds_what_every_open_measurement_asks() -> None:
    runner = Counting()
    outcome = go(
        Plain("one", ["a", "bb"], ["ccc"]), Plain("two", ["bb", "dddd"]), Plain("still"), runner=runner
    )
    assert runner.words == [["a", "bb", "bb", "dddd"], ["ccc"]]
    assert totals(outcome) == {"one": 6, "two": 6, "still": 0}
    assert outcome.failures == []


def test_a_measurement_starts_when_what_it_builds_on_is_read() -> None:
    runner = Counting()
    outcome = go(
        Plain("last", ["x"], needs=("middle", "first")),
        Plain("middle", ["yy"], needs=("first",)),
        Plain("first", ["aaa"], ["bbbb"]),
        Plain("free", ["a"], ["b"], ["c"]),
        runner=runner,
    )
    # The dependants' rounds are shared with whoever is still asking.
    assert runner.words == [["a", "aaa"], ["b", "bbbb"], ["c", "yy"], ["x"]]
    assert totals(outcome) == {"first": 7, "middle": 9, "last": 17, "free": 3}


@pytest.mark.parametrize("rounds", [(), (["a"],), (["a"], ["b"])])
def test_a_failure_takes_its_dependants_along_and_nobody_else(rounds: tuple[list[str], ...]) -> None:
    outcome = go(
        Plain("broken", *rounds, fails=True),
        Plain("child", ["x"], needs=("broken",)),
        Plain("grandchild", ["x"], needs=("child",)),
        Plain("other", ["aa"], ["bb"], ["cc"]),
    )
    assert totals(outcome) == {"other": 6}
    messages = {failure.measurement: failure.message for failure in outcome.failures}
    assert messages == {
        "broken": "RuntimeError: broken on purpose",
        "child": "it builds on 'broken', which has no reading in this run.",
        "grandchild": "it builds on 'child', which has no reading in this run.",
    }
    assert isinstance(outcome.failures[0].error, RuntimeError)


def test_a_measurement_that_raises_before_it_asks_is_set_aside_too() -> None:
    class Eager(Plain):
        def measure(self, ctx: Context) -> Asking:
            raise TypeError("no generator")

    outcome = go(Eager("eager"), Plain("other", ["aa"]))
    assert totals(outcome) == {"other": 2}
    assert [failure.message for failure in outcome.failures] == ["TypeError: no generator"]


def test_measurements_that_build_on_one_another_are_failures_and_not_forgotten() -> None:
    outcome = go(Plain("hen", needs=("egg",)), Plain("egg", needs=("hen",)), Plain("other", ["aa"]))
    assert totals(outcome) == {"other": 2}
    assert {failure.measurement for failure in outcome.failures} == {"hen", "egg"}


def test_what_concerns_the_models_ends_the_run() -> None:
    class Broken(Counting):
        def answer(self, requests: Sequence[Request]) -> Records:
            raise ModelError("its weights are damaged")

    with pytest.raises(ModelError, match="damaged"):
        go(Plain("one", ["a"]), runner=Broken())


def test_domains_share_their_rounds() -> None:
    runner = Counting()
    contexts = {"partisan": context(0), "second": context(1)}
    outcomes = run_measurements([Plain("one", ["a"], ["b"])], contexts, runner)
    assert runner.words == [["a", "a"], ["b", "b"]]
    assert set(outcomes) == {"partisan", "second"}


@dataclass
class Peek:
    """Keeps the requests of a first round, without an answer."""

    asked: list[Request]

    def answer(self, requests: Sequence[Request]) -> Records:
        self.asked += requests
        raise ModelError("enough seen")


def first_round(names: Sequence[str]) -> list[Request]:
    peek = Peek([])
    chosen = [measurement for name, measurement in all_measurements().items() if name in names]
    with pytest.raises(ModelError):
        run_measurements(chosen, {"partisan": context()}, peek)
    return peek.asked


def test_the_built_in_measurements_share_the_first_round() -> None:
    asked = first_round(list(all_measurements()))
    alone = [*first_round(["surface"]), *first_round(["structure"])]
    assert sorted(map(repr, asked)) == sorted(map(repr, alone))


def test_a_named_choice_depends_on_the_seed_and_its_name_alone() -> None:
    draws: Callable[[int, str], float] = lambda seed, name: float(context(seed).rng(name).random())  # noqa: E731
    assert draws(0, "a") == draws(0, "a")
    assert len({draws(0, "a"), draws(0, "b"), draws(1, "a")}) == 3
