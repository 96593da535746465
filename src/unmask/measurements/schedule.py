"""Runs measurements side by side, so that what several of them ask is answered once.

In each round every unfinished measurement has one list of requests open; the runner answers all lists
together. A measurement that builds on another of its domain starts when that one has its reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from unmask.measurements.base import Asking, Context, Measurement, Reading
from unmask.models.errors import ModelError
from unmask.runner.records import Records
from unmask.runner.requests import Request
from unmask.runner.store import MissingRecord


class Answering(Protocol):
    """Anything that answers requests: models, or a finished run's records."""

    def answer(self, requests: Sequence[Request]) -> Records: ...


@dataclass(frozen=True)
class Failure:
    """A measurement that did not reach its reading, and why, in a sentence."""

    measurement: str
    message: str
    error: Exception


@dataclass
class Outcome:
    """What a domain's measurements came to."""

    readings: dict[str, Reading]
    failures: list[Failure]


class _Domain:
    """The measurements of one domain on their way."""

    def __init__(self, measurements: Iterable[Measurement], ctx: Context) -> None:
        self.ctx = ctx
        self.waiting = {measurement.name: measurement for measurement in measurements}
        self.asking: dict[str, Asking] = {}
        self.asked: dict[str, Sequence[Request]] = {}
        self.outcome = Outcome({}, [])

    def start(self) -> None:
        """Start what has all that it builds on; set aside what can no longer get it."""
        progress = True
        while progress:
            progress = False
            for name, measurement in list(self.waiting.items()):
                missing = [need for need in measurement.needs if need not in self.outcome.readings]
                lost = [need for need in missing if need not in self.waiting and need not in self.asking]
                if lost:
                    error = LookupError(f"it builds on '{lost[0]}', which has no reading in this run")
                    self.outcome.failures.append(Failure(name, f"{error}.", error))
                elif missing:
                    continue
                else:
                    self.begin(measurement)
                del self.waiting[name]
                progress = True

    def begin(self, measurement: Measurement) -> None:
        """Let a measurement ask for the first time."""
        ctx = replace(self.ctx, readings=dict(self.outcome.readings))
        try:
            self.asking[measurement.name] = measurement.measure(ctx)
        except Exception as error:  # a plain function, where a generator was expected
            self._fail(measurement.name, error)
        else:
            self.step(measurement.name, None)

    def give_up(self) -> None:
        """Set aside what waits for its own reading, through whatever it builds on."""
        for name, measurement in self.waiting.items():
            self._fail(name, LookupError(f"it and {', '.join(measurement.needs)} build on one another"))

    def _fail(self, name: str, error: Exception) -> None:
        self.outcome.failures.append(Failure(name, f"{type(error).__name__}: {error}", error))

    def step(self, name: str, records: Records | None) -> None:
        """Hand a measurement its records and keep what it asks next, or its reading."""
        try:
            asking = self.asking[name]
            self.asked[name] = next(asking) if records is None else asking.send(records)
            return
        except StopIteration as stop:
            self.outcome.readings[name] = stop.value
        except (ModelError, MissingRecord):
            raise
        except Exception as error:  # a third party's measurement may raise anything
            self._fail(name, error)
        del self.asking[name]
        self.asked.pop(name, None)


def run_measurements(
    measurements: Iterable[Measurement], contexts: Mapping[str, Context], runner: Answering
) -> dict[str, Outcome]:
    """Run every measurement on every domain to its reading.

    A measurement that raises is set aside, with those that build on it; the others go on. So is one whose own edit
    leaves a request without an answer. What concerns the models themselves (a prompt too long, activations that are
    not finite without any edit) ends the run.

    Args:
        measurements: which to run.
        contexts: a context for each domain, by name.
        runner: answers the requests.

    Returns:
        Each domain's outcome, by name.

    Raises:
        ModelError: from the runner.
        MissingRecord: an answer is not on disk, or no longer as it was written.
    """
    chosen = list(measurements)
    domains = {name: _Domain(chosen, ctx) for name, ctx in contexts.items()}
    for domain in domains.values():
        domain.start()
    while any(domain.asked for domain in domains.values()):
        open_lists = [
            (domain, name, asked) for domain in domains.values() for name, asked in domain.asked.items()
        ]
        records = runner.answer([request for _, _, asked in open_lists for request in asked])
        for domain, name, asked in open_lists:
            domain.step(name, records.subset(asked))
        for domain in domains.values():
            domain.start()
    for domain in domains.values():
        domain.give_up()
    return {name: domain.outcome for name, domain in domains.items()}
