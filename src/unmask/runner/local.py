"""Runs requests on this machine: one model at a time, every batch on disk before the next begins."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import psutil
import torch

from unmask.models.errors import ModelError, NotFinite
from unmask.models.judges import Judge
from unmask.models.memory import TO_FIT, memory_ran_out
from unmask.models.model import Model
from unmask.models.size import ModelSize
from unmask.models.tokens import Tokens
from unmask.runner.pace import work_kind
from unmask.runner.planner import Batch, Budget, plan
from unmask.runner.records import Records
from unmask.runner.requests import (
    Failed,
    Generate,
    Request,
    engine_name,
    request_key,
)
from unmask.runner.serve import edit_of, serve
from unmask.runner.stopping import signals_wait
from unmask.runner.store import RECORD_VERSION, DamagedRecord, Record, RecordStore, Result, Row

if TYPE_CHECKING:
    from unmask.forecasting import Forecast


class Progress(Protocol):
    """Watches rounds of work; tokens are the unit, since those of one kind of work predict its time."""

    def expect(self, forecast: Callable[[], Forecast]) -> None:
        """An audit begins; what it will ask takes a moment to say, and need not be asked for."""
        ...

    def begin(self, tokens: Mapping[str, float], done: Mapping[str, float]) -> None:
        """A round begins: its tokens by kind of work, and how many of them are on disk."""
        ...

    def advance(self, engine: str, kind: str, tokens: float, seconds: float) -> None:
        """A batch is on disk: of which engine and kind, and how long it took to serve."""
        ...


@dataclass(frozen=True)
class Engine:
    """What stands behind an engine name, loaded only when a batch needs it.

    Attributes:
        identity: hash of the weights (or of the judge) that answer.
        facts: what else can change an answer's bits: dtype, device.
        load: brings it into memory.
        tokenize: a request's prompt as tokens, without the weights; None for a judge.
        shared: a folder where records outlive the run, for texts that every audit classifies alike.
        size: of the model, for what work on it costs; None for a judge.
    """

    identity: str
    facts: Mapping[str, object]
    load: Callable[[], Model | Judge]
    tokenize: Callable[[Request], Tokens] | None = None
    shared: Path | None = None
    size: ModelSize | None = None


def software_facts() -> dict[str, object]:
    """What of this machine's software and threading can change an answer's last bits."""
    return {
        "records": RECORD_VERSION,
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "threads": torch.get_num_threads(),
    }


@dataclass
class LocalRunner:
    """Answers requests with the models of this machine.

    Attributes:
        engines: what stands behind "base", "aligned" and each domain's judge.
        store: where the run's records are.
        budget: how large a batch may grow.
        fresh: do not take a judge's answers from the folder that outlives the run; they are still left there.
        seconds: time spent by engine and kind of request, loading apart.
        served: tokens served and the seconds that they took, by kind of work.
        damaged: files of records that were not as they were written, from the run's folder on; their batches are
            asked again.
        recalled: how many batches were on disk before they were asked.
        plainly: by engine, why (some of) its rows were run in full, padded, with nothing shared.
    """

    engines: Mapping[str, Engine]
    store: RecordStore
    budget: Budget = field(default_factory=Budget)
    progress: Progress | None = None
    fresh: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    served: dict[str, tuple[float, float]] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    plainly: dict[str, str] = field(default_factory=dict)
    recalled: int = 0
    _loaded: dict[str, Model | Judge] = field(default_factory=dict)
    _planned: dict[str, Batch] = field(default_factory=dict)  # by key
    _held_in: dict[str, str] = field(default_factory=dict)  # row: key of the batch that answers it
    _split: dict[str, int] = field(default_factory=dict)  # batch: as Record has it
    _too_large: dict[str, int] = field(
        default_factory=dict
    )  # engine and kind: tokens that memory did not hold

    @property
    def batches(self) -> list[str]:
        """Keys of the batches that the run rests on, in the order in which they were planned."""
        return list(self._planned)

    @property
    def halved(self) -> list[str]:
        """Keys of the batches that had to be split, in this run or in the one that left the record.

        Memory ran out, or the row had to be found that an edit leaves without an answer.
        """
        return list(self._split)

    @property
    def identities(self) -> dict[str, str]:
        return {name: engine.identity for name, engine in self.engines.items()}

    def answer(self, requests: Sequence[Request]) -> Records:
        """Answer every request, from disk where a sound record is, else from the model.

        What an earlier round of this run asked is not planned again, whoever asked it. While models run, SIGINT and
        SIGTERM wait for the batch in flight.

        Raises:
            ModelError: a model could not be loaded, a prompt does not fit, activations are not finite without any
                edit, or one row alone is too large for the memory.
            Stopped: a signal came, and the batch in flight is done.
            OSError: a record could not be written; ENOSPC or EDQUOT where the disk is full.
        """
        identities = self.identities
        keys = {request: request_key(request, identities) for request in requests}
        new = self._plan([request for request, row in keys.items() if row not in self._held_in])
        asked = {self._held_in[row] for row in keys.values()}
        rows: dict[str, Row] = {}
        pending: list[str] = []
        done: list[str] = []
        for key in [key for key in self._planned if key in asked]:
            record = self._recall(key)
            if record is None:
                pending.append(key)
            else:
                rows |= record.rows
                done += [key] if key in new else []
        self.recalled += len(done)
        if self.progress:
            self.progress.begin(self._tokens_by_kind([*done, *pending]), self._tokens_by_kind(done))
        with signals_wait() as stop_if_asked:
            for key in sorted(pending, key=lambda key: identities[self._planned[key].engine]):
                batch = self._planned[key]
                self._load(batch.engine)
                stop_if_asked()
                begun = time.monotonic()
                answers = self._run(key)
                seconds = time.monotonic() - begun
                rows |= self._keep(key, answers).rows
                kind = work_kind(batch.requests[0])
                tokens, so_far = self.served.get(kind, (0.0, 0.0))
                self.served[kind] = tokens + batch.tokens, so_far + seconds
                if self.progress:
                    self.progress.advance(batch.engine, kind, batch.tokens, seconds)
                stop_if_asked()
        return Records({request: rows[row] for request, row in keys.items()})

    def _plan(self, requests: Sequence[Request]) -> set[str]:
        """Form batches of what no earlier round asked; their keys."""
        sizes = {name: engine.size for name, engine in self.engines.items() if engine.size is not None}
        batches = plan(requests, self.identities, self._tokens, self.budget, sizes)
        keyed = {batch.key(self._facts(batch.engine)): batch for batch in batches}
        self._planned |= keyed
        for key, batch in keyed.items():
            self._held_in |= dict.fromkeys(batch.keys, key)
        return {*keyed}

    def _tokens_by_kind(self, keys: Sequence[str]) -> dict[str, float]:
        tokens: dict[str, float] = {}
        for batch in (self._planned[key] for key in keys):
            kind = work_kind(batch.requests[0])
            tokens[kind] = tokens.get(kind, 0.0) + batch.tokens
        return tokens

    def _facts(self, name: str) -> dict[str, object]:
        return {**software_facts(), **self.engines[name].facts}

    def _recall(self, key: str) -> Record | None:
        """The sound record of a planned batch, from the run or from the folder that outlives it."""
        batch = self._planned[key]
        record = self._sound(self.store, key)
        shared = self.engines[batch.engine].shared
        if record is None and shared is not None and not self.fresh:
            record = self._sound(RecordStore(shared), key)
            if record is not None:
                answers = [row.load() for row in record.rows.values()]
                record = self.store.write(key, list(record.rows), answers, record.split, record.plainly)
        if record is not None and record.plainly:
            self.plainly[batch.engine] = record.plainly
        if record is not None and record.split is not None:
            self._split[key] = record.split
            if record.split:
                self._note_too_large(_kind(batch), record.split)
        return record

    def _sound(self, store: RecordStore, key: str) -> Record | None:
        """A record; one that is damaged is noted and counts as none."""
        try:
            return store.read(key)
        except DamagedRecord as error:
            name = error.path.relative_to(store.folder.parent).as_posix()
            if name not in self.damaged:
                self.damaged.append(name)
            return None

    def _keep(self, key: str, answers: Sequence[Result]) -> Record:
        """Write what a batch was answered; where its record lies in the run."""
        batch = self._planned[key]
        engine, plainly = self._engine(batch), ""
        if isinstance(engine, Model):
            plainly = engine.sharing.refuses([self._longest(request) for request in batch.requests])
        if plainly:
            self.plainly[batch.engine] = plainly
        record = self.store.write(key, batch.keys, answers, self._split.get(key), plainly)
        shared = self.engines[batch.engine].shared
        if shared is not None:
            with suppress(OSError):  # it spares later audits work, and this one goes on without it
                RecordStore(shared).write(key, batch.keys, answers, self._split.get(key))
        return record

    def _longest(self, request: Request) -> int:
        """Tokens of a row at the end."""
        new = request.sampling.max_new_tokens if isinstance(request, Generate) else 0
        return len(self._tokens(request)) + new

    def _tokens(self, request: Request) -> Tokens:
        tokenize = self.engines[engine_name(request)].tokenize
        assert tokenize is not None  # only a judge has none
        return tokenize(request)

    def _load(self, name: str) -> None:
        """See that what stands behind an engine name is in memory."""
        identity = self.engines[name].identity
        if identity not in self._loaded:
            self._make_room()
            self._loaded[identity] = self.engines[name].load()

    def _engine(self, batch: Batch) -> Model | Judge:
        return self._loaded[self.engines[batch.engine].identity]

    def _make_room(self) -> None:
        """Drop models already loaded, unless as much again as they take is free (on a GPU: always drop).

        No caller may hold one meanwhile: two do not fit where one does.
        """
        used = psutil.Process().memory_info().rss
        if torch.cuda.is_available() or psutil.virtual_memory().available < 2 * used:
            self._loaded.clear()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _run(self, key: str) -> list[Result]:
        batch = self._planned[key]
        begun = time.monotonic()
        answers = self._in_halves(self._engine(batch), key, batch.requests, batch.tokens)
        kind = _kind(batch)
        self.seconds[kind] = self.seconds.get(kind, 0.0) + time.monotonic() - begun
        return answers

    def _in_halves(
        self, engine: Model | Judge, key: str, requests: Sequence[Request], tokens: int
    ) -> list[Result]:
        """Serve a batch whole, or in halves of halves where memory runs out or an edit breaks the model on a row.

        What is as large as something of its kind that memory did not hold is halved without being tried.
        """
        kind = _kind(self._planned[key])
        if len(requests) == 1 or tokens < self._too_large.get(kind, sys.maxsize):
            try:
                return serve(engine, requests)
            except (RuntimeError, MemoryError, NotFinite) as error:
                short = memory_ran_out(error)
                if not short and not (isinstance(error, NotFinite) and any(map(edit_of, requests))):
                    raise
                if len(requests) == 1 and short:
                    raise ModelError(
                        f"{engine.name} has no memory left for a single row ({tokens:,} tokens); {TO_FIT}. "
                        "What is done is kept."
                    ) from error
                if len(requests) == 1:
                    # What the model cannot do without the edit either is no fault of the edit: it is raised here.
                    serve(engine, [replace(request, edit=None) for request in requests])
                    return [Failed(str(error))]
                if short:
                    self._note_too_large(kind, tokens)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        self._split[key] = self._too_large.get(kind, 0)
        half = len(requests) // 2
        part = tokens * half // len(requests)
        return [
            *self._in_halves(engine, key, requests[:half], part),
            *self._in_halves(engine, key, requests[half:], tokens - part),
        ]

    def _note_too_large(self, kind: str, tokens: int) -> None:
        self._too_large[kind] = min(tokens, self._too_large.get(kind, tokens))


def _kind(batch: Batch) -> str:
    """What batches of like need of memory share: the engine and the kind of work."""
    return f"{batch.engine}: {work_kind(batch.requests[0])}"
