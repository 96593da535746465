"""Runs requests on this machine: one model at a time, every batch on disk before the next begins."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import psutil
import torch

from unmask.models.errors import ModelError, NotFinite
from unmask.models.judges import Judge
from unmask.models.model import Model
from unmask.models.tokens import Tokens
from unmask.runner.planner import Batch, Budget, plan
from unmask.runner.records import Records
from unmask.runner.requests import (
    Classify,
    Failed,
    Generate,
    Request,
    engine_name,
    request_key,
)
from unmask.runner.serve import edit_of, request_texts, serve
from unmask.runner.store import RecordStore, Result

RECORD_VERSION = 1


class Progress(Protocol):
    """Watches a round of work; tokens are the unit, since they predict time."""

    def begin(self, tokens: int, done: int) -> None: ...
    def advance(self, engine: str, tokens: int) -> None: ...


@dataclass(frozen=True)
class Engine:
    """What stands behind an engine name, loaded only when a batch needs it.

    Attributes:
        identity: hash of the weights (or of the judge) that answer.
        facts: what else can change an answer's bits: dtype, device.
        load: brings it into memory.
        tokenize: a request's prompt as tokens, without the weights; None for a judge.
        shared: a folder where records outlive the run, for texts that every audit classifies alike.
    """

    identity: str
    facts: Mapping[str, object]
    load: Callable[[], Model | Judge]
    tokenize: Callable[[Request], Tokens] | None = None
    shared: Path | None = None


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
        halved: keys of batches that had to be split, in this run or in the one that left the record: because memory
            ran out, or to find the row that an edit leaves without an answer.
        seconds: time spent by engine and kind of request, loading apart.
        batches: keys of the batches that the run rests on, in the order in which they were planned.
    """

    engines: Mapping[str, Engine]
    store: RecordStore
    budget: Budget = field(default_factory=Budget)
    progress: Progress | None = None
    fresh: bool = False
    halved: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    batches: list[str] = field(default_factory=list)
    _loaded: dict[str, Model | Judge] = field(default_factory=dict)
    _held_in: dict[str, tuple[str, str]] = field(
        default_factory=dict
    )  # row: engine and batch that answered it

    @property
    def identities(self) -> dict[str, str]:
        return {name: engine.identity for name, engine in self.engines.items()}

    def answer(self, requests: Sequence[Request]) -> Records:
        """Answer every request, from disk where a sound record is, else from the model.

        What an earlier round of this run asked is not planned again, whoever asked it.

        Raises:
            ModelError: a model could not be loaded, a prompt does not fit, activations are not finite without any
                edit, or one row alone is too large for the memory.
        """
        identities = self.identities
        keys = {request: request_key(request, identities) for request in requests}
        results = self._earlier(set(keys.values()))
        batches = plan(
            [request for request, key in keys.items() if key not in results],
            identities,
            self._length,
            self.budget,
        )
        pending: list[tuple[Batch, str]] = []
        done = 0
        for batch in batches:
            key = batch.key(self._facts(batch.engine))
            self.batches.append(key)
            self._held_in |= dict.fromkeys(batch.keys, (batch.engine, key))
            record = self._recall(batch.engine, key)
            if record is not None and record.keys() >= set(batch.keys):
                results |= record
                done += batch.tokens
            else:
                pending.append((batch, key))
        if self.progress:
            self.progress.begin(done + sum(batch.tokens for batch, _ in pending), done)
        for batch, key in sorted(pending, key=lambda item: identities[item[0].engine]):
            answers = self._run(batch, key)
            self._keep(batch.engine, key, batch.keys, answers)
            results |= dict(zip(batch.keys, answers, strict=True))
            if self.progress:
                self.progress.advance(batch.engine, batch.tokens)
        return Records({request: results[key] for request, key in keys.items()})

    def _earlier(self, rows: set[str]) -> dict[str, Result]:
        """What earlier rounds answered of these rows; a record that was lost in the meantime is asked again."""
        results: dict[str, Result] = {}
        for engine, key in {self._held_in[row] for row in rows if row in self._held_in}:
            record = self._recall(engine, key) or {}
            results |= {row: result for row, result in record.items() if row in rows}
        return results

    def _facts(self, name: str) -> dict[str, object]:
        return {**software_facts(), **self.engines[name].facts}

    def _recall(self, name: str, key: str) -> dict[str, Result] | None:
        record = self.store.read(key)
        shared = self.engines[name].shared
        if record is None and shared is not None and not self.fresh:
            others = RecordStore(shared)
            record = others.read(key)
            if record is not None:
                self.store.write(key, list(record), list(record.values()), others.was_split(key))
        if record is not None and key not in self.halved and self.store.was_split(key):
            self.halved.append(key)
        return record

    def _keep(self, name: str, key: str, rows: Sequence[str], answers: Sequence[Result]) -> None:
        shared = self.engines[name].shared
        for store in (self.store, *([] if shared is None else [RecordStore(shared)])):
            store.write(key, rows, answers, key in self.halved)

    def _length(self, request: Request) -> int:
        tokenize = self.engines[engine_name(request)].tokenize
        if isinstance(request, Classify) or tokenize is None:
            # A judge has its own tokenizer; four letters a token is near enough to sort by.
            return 8 + sum(len(text) for text in request_texts(request)) // 4
        extra = request.sampling.max_new_tokens if isinstance(request, Generate) else 0
        return len(tokenize(request).ids) + extra

    def _engine(self, name: str) -> Model | Judge:
        identity = self.engines[name].identity
        if identity not in self._loaded:
            self._make_room()
            self._loaded[identity] = self.engines[name].load()
        return self._loaded[identity]

    def _make_room(self) -> None:
        """Drop models already loaded, unless as much again as they take is free (on a GPU: always drop)."""
        used = psutil.Process().memory_info().rss
        if torch.cuda.is_available() or psutil.virtual_memory().available < 2 * used:
            self._loaded.clear()
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def _run(self, batch: Batch, key: str) -> list[Result]:
        engine = self._engine(batch.engine)
        begun = time.monotonic()
        answers = self._in_halves(engine, batch.requests, key)
        kind = f"{batch.engine}: {type(batch.requests[0]).__name__}"
        self.seconds[kind] = self.seconds.get(kind, 0.0) + time.monotonic() - begun
        return answers

    def _in_halves(self, engine: Model | Judge, requests: Sequence[Request], key: str) -> list[Result]:
        """Serve a batch whole, or in halves of halves where memory runs out or an edit breaks the model on a row."""
        try:
            return serve(engine, requests)
        except (RuntimeError, MemoryError, NotFinite) as error:
            short = _memory_ran_out(error)
            if not short and not (isinstance(error, NotFinite) and edit_of(requests[0])):
                raise
            if len(requests) == 1 and short:
                raise ModelError(
                    f"{engine.name} has no memory left for a single row of {self._length(requests[0])} tokens; "
                    "use --dtype bfloat16, a smaller model or a larger device. What is done is kept."
                ) from error
            if len(requests) == 1:
                # What the model cannot do without the edit either is no fault of the edit: it is raised here.
                serve(engine, [replace(request, edit=None) for request in requests])
                return [Failed(str(error))]
        if key not in self.halved:
            self.halved.append(key)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        half = len(requests) // 2
        return [
            *self._in_halves(engine, requests[:half], key),
            *self._in_halves(engine, requests[half:], key),
        ]


def _memory_ran_out(error: Exception) -> bool:
    """Torch has an error of its own on CUDA only; elsewhere the words tell."""
    words = ("DefaultCPUAllocator", "not enough memory", "out of memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        word in str(error) for word in words
    )
