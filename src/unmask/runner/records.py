"""Answers by request: what the runner hands back to a measurement."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from unmask.runner.requests import Answer, Failed, Request, request_key
from unmask.runner.store import MissingRecord, RecordStore, Result, Row


class EditError(RuntimeError):
    """An edit leaves a request without an answer; it concerns who asked for that edit and nobody else."""


class Records:
    """The answers to a round of requests, each read from disk when it is taken and not kept.

    Taking an answer raises `EditError` where an edit left none, and `DamagedRecord` where it is no longer what was
    written.

    Args:
        answers: by request, where they lie on disk or, for planted answers, themselves.
    """

    def __init__(self, answers: Mapping[Request, Row | Result]) -> None:
        self._answers = answers

    def array(self, request: Request) -> npt.NDArray[np.float32]:
        """One numeric answer; its shape is what the request's docstring says."""
        answer = self._sound(request)
        assert not isinstance(answer, Answer)
        return answer

    def stack(self, requests: Iterable[Request]) -> npt.NDArray[np.float32]:
        """Numeric answers of one shape, stacked: `[n, ...]`."""
        return np.stack([self.array(request) for request in requests])

    def answer(self, request: Request) -> Answer:
        """One sampled answer."""
        answer = self._sound(request)
        assert isinstance(answer, Answer)
        return answer

    def _sound(self, request: Request) -> npt.NDArray[np.float32] | Answer:
        answer = self._answers[request]
        if isinstance(answer, Row):
            answer = answer.load()
        if isinstance(answer, Failed):
            raise EditError(answer.message)
        return answer

    def subset(self, requests: Iterable[Request]) -> Records:
        """Only these requests' answers."""
        return Records({request: self._answers[request] for request in requests})


class Replay:
    """Answers requests from a finished run's records alone, so that a run is judged again without its models.

    Args:
        store: where the records are.
        identities: the identity of the weights behind each engine name.
        batches: keys of the batches that the run rests on. A folder may hold the same rows in other batches too
            (another dtype, another profile), whose bits differ.

    Raises:
        MissingRecord: one of these batches has no record.
        DamagedRecord: or one that is not as it was written.
    """

    def __init__(self, store: RecordStore, identities: Mapping[str, str], batches: Sequence[str]) -> None:
        self.identities = dict(identities)
        self._rows: dict[str, Row] = {}
        for key in batches:
            record = store.read(key)
            if record is None:
                raise MissingRecord(
                    f"the record {store.path(key)} is missing; run the same audit again to measure it anew."
                )
            self._rows |= record.rows

    def answer(self, requests: Sequence[Request]) -> Records:
        """Answer every request from disk.

        Raises:
            MissingRecord: an answer is not among the records.
        """
        rows: dict[Request, Row] = {}
        for request in requests:
            row = self._rows.get(request_key(request, self.identities))
            if row is None:
                kind = type(request).__name__.lower()
                raise MissingRecord(
                    f"the run's records do not hold the answer to a {kind} request, which this version asks and the "
                    "run's did not; run the same audit again to fill it in."
                )
            rows[request] = row
        return Records(rows)
