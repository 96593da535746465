"""Signals while models run: the batch in flight is finished and kept, a second signal stops at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from runner.work import requests_of, runner, same_bits
from unmask import Stopped
from unmask.runner import local
from unmask.runner.requests import Request

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[dict[int, Any]]:
    """Those of a program in the foreground, whatever started the tests; they must be back after every run."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    ours = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.default_int_handler}
    for number, handler in ours.items():
        signal.signal(number, handler)
    yield ours
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def in_flight(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Any]]:
    """What happens while each batch is with the model, one thing a batch."""
    events: list[Callable[[], Any]] = []
    serve = local.serve

    def serving(engine: Any, requests: Sequence[Request], *more: Any) -> Any:
        if events:
            events.pop(0)()
        return serve(engine, requests, *more)

    monkeypatch.setattr(local, "serve", serving)
    return events


def send(*numbers: int) -> Callable[[], None]:
    return lambda: [os.kill(os.getpid(), number) for number in numbers] and None


def nothing() -> None:
    pass


def kept(folder: Path) -> int:
    return len([path for path in folder.rglob("*") if path.is_file()])


@pytest.mark.parametrize("number", SIGNALS)
def test_the_batch_in_flight_is_finished_and_kept(
    tmp_path: Path, in_flight: list[Callable[[], Any]], handlers: dict[int, Any], number: int
) -> None:
    whole = runner(tmp_path / "whole").answer(requests_of())
    in_flight += [nothing, send(number)]
    with pytest.raises(Stopped, match=f"{signal.Signals(number).name} ended the run after a batch"):
        runner(tmp_path / "cut").answer(requests_of())
    assert kept(tmp_path / "cut") == 2
    assert {number: signal.getsignal(number) for number in SIGNALS} == handlers
    assert same_bits(runner(tmp_path / "cut").answer(requests_of()), whole)


def test_a_second_signal_stops_at_once(
    tmp_path: Path, in_flight: list[Callable[[], Any]], handlers: dict[int, Any]
) -> None:
    in_flight += [nothing, send(signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(KeyboardInterrupt) as stop:
        runner(tmp_path).answer(requests_of())
    assert not isinstance(stop.value, Stopped)
    assert kept(tmp_path) == 1
    assert {number: signal.getsignal(number) for number in SIGNALS} == handlers


def test_while_the_weights_are_loaded_no_batch_is_in_flight(tmp_path: Path) -> None:
    live = runner(tmp_path)
    load = live.engines["base"].load
    object.__setattr__(live.engines["base"], "load", lambda: send(signal.SIGINT)() or load())
    with pytest.raises(Stopped):
        live.answer(requests_of())
    assert kept(tmp_path) == 0


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path, in_flight: list[Callable[[], Any]]) -> None:
    """As that of a terminal is by what runs in its background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    in_flight += [send(signal.SIGINT)]
    runner(tmp_path).answer(requests_of())
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_another_thread_runs_models_without_handlers(
    tmp_path: Path, in_flight: list[Callable[[], Any]], handlers: dict[int, Any]
) -> None:
    seen: list[Any] = []
    in_flight += [lambda: seen.append({number: signal.getsignal(number) for number in SIGNALS})]
    thread = threading.Thread(target=lambda: seen.append(runner(tmp_path).answer(requests_of())))
    thread.start()
    thread.join()
    assert seen[0] == handlers
    assert same_bits(seen[1], runner(tmp_path).answer(requests_of()))
