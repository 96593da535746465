"""A round of requests of every kind, and a runner over a tiny model that counts what it serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from models.tiny import tiny_net, tiny_tokenizer

from unmask.models import Add, Frame, ProjectOut, Sampling, Vector
from unmask.models.judges import CLASSES, FunctionJudge
from unmask.models.model import Model
from unmask.models.tokenizing import tokenize
from unmask.runner.local import Engine, LocalRunner, Progress
from unmask.runner.planner import Budget
from unmask.runner.records import EditError, Records
from unmask.runner.requests import SIDES, Classify, Generate, Read, Request, Score, Side, judge_engine
from unmask.runner.store import RecordStore

FRAME = Frame("plain", "User: ", "\nAssistant:", True, " ", "for tests")
WORDS = (
    "Taxes should be lower",
    "Hi",
    "The committee met on Tuesday and talked",
    "What now?",
    "It depends on you",
)
PUSH = Vector("push", np.random.default_rng(0).normal(size=32).astype(np.float32))
SAMPLING = Sampling(6, 0.9, 0.95)
SMALL = Budget(tokens=96, rows=3)


def requests_of(side: Side = "base") -> list[Request]:
    """Every kind, with and without edits, of several lengths."""
    work: list[Request] = []
    for seed, words in enumerate(WORDS):
        prompt = FRAME.ask(words)
        work += [
            Read(side, Frame.plain(words + " today")),
            Read(side, prompt, "each", (1, 3)),
            Score(side, prompt, "I think that it depends."),
            Score(side, prompt, "yes", Add((2,), PUSH, 0.5 + seed)),
            Score(side, prompt, "yes", ProjectOut((1,), (PUSH,))),
            Generate(side, prompt, seed, SAMPLING),
        ]
    return work


def classify(words: Sequence[str] = WORDS) -> list[Request]:
    return [Classify("partisan", "What do you think?", text) for text in words]


def by_length(question: str, text: str) -> str:
    return CLASSES[len(text) % len(CLASSES)]


def tiny_model(seed: int = 0, dtype: str = "float32") -> Model:
    net = tiny_net("llama", seed).to(getattr(torch, dtype))
    return Model(net, tiny_tokenizer(), f"tiny {seed}", f"tiny {seed}")


def engine(seed: int = 0, dtype: str = "float32") -> Engine:
    tokenizer = tiny_tokenizer()

    def tokens(request: Request) -> Any:
        assert not isinstance(request, Classify)
        return tokenize(tokenizer, request.prompt, getattr(request, "continuation", ""))

    return Engine(f"tiny {seed}", {"dtype": dtype}, lambda: tiny_model(seed, dtype), tokens)


def runner(
    folder: Path,
    base: int = 0,
    aligned: int = 1,
    progress: Progress | None = None,
    shared: Path | None = None,
    budget: Budget = SMALL,
    dtype: str = "float32",
    fresh: bool = False,
) -> LocalRunner:
    judge = FunctionJudge(by_length)
    engines = {side: engine(seed, dtype) for side, seed in zip(SIDES, (base, aligned), strict=True)}
    engines[judge_engine("partisan")] = Engine(judge.identity, {}, lambda: judge, shared=shared)
    return LocalRunner(engines, RecordStore(folder), budget, progress, fresh)


def taken(records: Records, request: Request) -> Any:
    """An answer of any kind; for one that an edit left out, why."""
    try:
        return (
            records.answer(request).text
            if isinstance(request, Generate)
            else records.array(request).tobytes()
        )
    except EditError as error:
        return str(error)


def same_bits(a: Records, b: Records) -> bool:
    """Whether two runs' records agree bit for bit."""
    return a._answers.keys() == b._answers.keys() and all(
        taken(a, row) == taken(b, row) for row in a._answers
    )


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
