"""Signals that ask a run to stop wait for the batch in flight."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal ended the run between two batches; all that was measured is on disk, and the same audit goes on.

    It is a KeyboardInterrupt, since that is what whoever sent the signal expects to see.
    """


@contextmanager
def signals_wait() -> Generator[Callable[[], None]]:
    """Hold SIGINT and SIGTERM back within the block.

    The first signal is only noted, and a second one raises KeyboardInterrupt where it arrives. A signal that the
    process ignores stays ignored. Outside the main thread, where Python allows no handlers, nothing is held back.

    Yields:
        A function that raises `Stopped` if a signal has arrived; to be called wherever stopping loses nothing.
    """
    arrived: list[str] = []

    def note(number: int, frame: FrameType | None) -> None:
        if arrived:
            raise KeyboardInterrupt
        arrived.append(signal.Signals(number).name)
        if (
            sys.stderr.isatty()
        ):  # written past Python's buffer, which the signal may have come in the middle of
            os.write(sys.stderr.fileno(), b"\nFinishing the batch in flight; once more stops at once.\n")

    def stop_if_asked() -> None:
        if arrived:
            raise Stopped(f"{arrived[0]} ended the run after a batch; the same audit goes on from there.")

    if threading.current_thread() is not threading.main_thread():
        yield stop_if_asked
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    heard = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    try:
        for number in heard:
            signal.signal(number, note)
        yield stop_if_asked
    finally:
        for number in heard:
            signal.signal(number, before[number])
    stop_if_asked()  # it may have come after the last chance to say so
