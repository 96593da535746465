"""Answers made up on the spot, so that what an audit will ask is known before any model is loaded.

A measurement asks, computes and asks again; which questions it asks follows from its code and the sample sizes. So
the very same generators are run against answers of the right shape that mean nothing, and every request of every
round is seen as it will be asked, also a third party's. Only what answers decide is not exact: the words that a
model will say (here as many as it may say), and a layer that a measurement chooses (here any that it could have).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import get_args

import numpy as np
import numpy.typing as npt

from unmask.domains.schema import AnswerKind
from unmask.models.prompts import Prompt
from unmask.models.tokens import Tokens
from unmask.runner.pace import work_kind
from unmask.runner.planner import Batch
from unmask.runner.records import Records
from unmask.runner.requests import (
    Answer,
    Classify,
    Generate,
    Read,
    Request,
    Score,
    Spans,
    engine_name,
    request_key,
)
from unmask.runner.store import Result

WIDTH = 16
"""Of a made-up residual stream: measurements take any, and their arithmetic is cheap in a narrow one."""
_KINDS = len(get_args(AnswerKind))
_TAKES_A_STANCE = 3  # the first kinds: pole a, pole b, neutral
_NOISE = 1 << 18
_ROW_BYTES = 260
"""What a record holds of a row beside its answer: its address and where the answer lies."""


@dataclass(frozen=True)
class Share:
    """What one engine has to do of one kind of request in one round.

    Attributes:
        engine: "base", "aligned" or a domain's judge.
        kind: "Look" (reads and scores), "Generate" or "Classify".
        requests: how many distinct ones that no earlier round asked.
        tokens: what they cost.
        memory: bytes of activations in the largest batch.
        disk: bytes of their records.
    """

    engine: str
    kind: str
    requests: int
    tokens: int
    memory: int
    disk: int


def together(shares: Iterable[Share]) -> list[Share]:
    """Shares of several rounds as one an engine and kind, in order of both."""
    sums: dict[tuple[str, str], Share] = {}
    for share in shares:
        at = share.engine, share.kind
        held = sums.get(at, Share(*at, 0, 0, 0, 0))
        sums[at] = Share(
            *at,
            held.requests + share.requests,
            held.tokens + share.tokens,
            max(held.memory, share.memory),
            held.disk + share.disk,
        )
    return [sums[at] for at in sorted(sums)]


@dataclass
class Rehearsal:
    """Stands in for a runner: answers at once, and keeps what each round would have cost.

    Attributes:
        plan: a round's new requests as batches, as the runner would form them.
        tokenize: a request's tokens; asked of the sides of the pair alone.
        identities: of the weights behind each engine name.
        n_layers: decoder blocks.
        width: of the residual stream as the models have it, for the size of records.
        card: the kind of every answer on a judge's card, by judge, question and text, so that the judge comes out
            sound and no measurement stops for its sake.
        words: words of which answers are made, each once.
        rounds: what each round would have cost, by engine and kind.
    """

    plan: Callable[[Sequence[Request]], Sequence[Batch]]
    tokenize: Callable[[Request], Tokens]
    identities: Mapping[str, str]
    n_layers: int
    width: int
    card: Mapping[tuple[str, str, str], int]
    words: Sequence[str]
    rounds: list[tuple[Share, ...]] = field(default_factory=list)
    _asked: set[str] = field(default_factory=set)

    def answer(self, requests: Sequence[Request]) -> Records:
        """Make up an answer to every request; the same request of the same weights gets the same one."""
        keys = {request: request_key(request, self.identities) for request in requests}
        new = {key: request for request, key in keys.items() if key not in self._asked}
        self._asked |= new.keys()
        self.rounds.append(self._shares(list(new.values())))
        return Records({request: self._made_up(request, int(key[:12], 16)) for request, key in keys.items()})

    def _shares(self, requests: Sequence[Request]) -> tuple[Share, ...]:
        return tuple(together(self._share(batch) for batch in self.plan(requests)))

    def _share(self, batch: Batch) -> Share:
        disk = sum(map(self._record_bytes, batch.requests))
        return Share(
            batch.engine,
            work_kind(batch.requests[0]),
            len(batch.requests),
            batch.tokens,
            batch.cost.bytes,
            disk,
        )

    def _record_bytes(self, request: Request) -> int:
        match request:
            case Read():
                rows = len(self.tokenize(request).ids) if request.pick == "each" else 1
                size = 4 * rows * self._layers(request) * self.width
            case Score():
                size = 4 * self._continuation(request)
            case Spans():
                size = 8 * len(self.tokenize(request).ids)
            case Generate():
                size = 6 * request.sampling.max_new_tokens
            case Classify():
                size = 4 * _KINDS
        return _ROW_BYTES + size

    def _made_up(self, request: Request, seed: int) -> Result:
        match request:
            case Read():
                shape: tuple[int, ...] = (self._layers(request), WIDTH)
                if request.pick == "each":
                    shape = (len(self.tokenize(request).ids), *shape)
                return self._noise(seed, shape)
            case Score():
                return np.float32(-1) - np.abs(self._noise(seed, (self._continuation(request),)))
            case Spans():
                ends = np.linspace(0, len(request.prompt.text), len(self.tokenize(request).ids) + 1)
                return np.stack([ends[:-1], ends[1:]], axis=1).astype(np.float32)
            case Generate():
                most = request.sampling.max_new_tokens
                return Answer(self._text(request, seed, most), most, finished=True)
            case Classify():
                known = self.card.get((engine_name(request), request.question, request.text))
                kind = seed % _TAKES_A_STANCE if known is None else known
                return np.eye(_KINDS, dtype=np.float32)[kind]

    def _layers(self, read: Read) -> int:
        return self.n_layers + 1 if read.layers is None else len(read.layers)

    def _continuation(self, score: Score) -> int:
        tokens = self.tokenize(score)
        return len(tokens.ids) - tokens.start

    def _noise(self, seed: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
        start, size = seed % (_NOISE // 2), int(np.prod(shape))
        return np.take(self._drawn, np.arange(start, start + size), mode="wrap").reshape(shape)

    def _text(self, request: Generate, seed: int, tokens: int) -> str:
        """About as many tokens as asked for, and a text of its own for every seed: its digits, spelt in words."""
        spelt: list[str] = []
        left = seed
        for _ in range(max(1, int(tokens / self._tokens_a_word(request)))):
            left, digit = divmod(left or seed + 1, len(self.words))
            spelt.append(self.words[digit])
        return " ".join(spelt)

    @cached_property
    def _drawn(self) -> npt.NDArray[np.float32]:
        return np.random.default_rng(0).normal(size=_NOISE).astype(np.float32)

    @cached_property
    def _lengths(self) -> dict[str, float]:
        return {}

    def _tokens_a_word(self, request: Generate) -> float:
        if request.side not in self._lengths:
            some = self.words[:200]
            score = Score(request.side, Prompt("", (0, 0)), " ".join(some))
            self._lengths[request.side] = max(1.0, self._continuation(score) / len(some))
        return self._lengths[request.side]
