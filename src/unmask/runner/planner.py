"""Turns requests into batches: duplicates merged, rows that begin alike side by side, packed to a token budget.

The plan is a pure function of the requests as a set, their tokens and the budget, so a resumed run forms the same
batches and gets the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from unmask.models.edits import edit_record, parting, same_effect
from unmask.models.size import ModelSize
from unmask.models.tokens import Tokens
from unmask.runner.cost import NO_SIZE, Cost, Planned, row_costs
from unmask.runner.requests import (
    Classify,
    Generate,
    Read,
    Request,
    Score,
    Spans,
    batch_shape,
    digest,
    engine_name,
    request_key,
)

_STEM = 4
"""A batch whose rows share a long beginning may hold so many times its tokens: it is computed once a batch."""


@dataclass(frozen=True)
class Budget:
    """How large a batch may grow.

    Attributes:
        tokens: distinct tokens in one pass.
        rows: rows in one batch.
        answers: rows that are sampled together.
        cache: bytes that their keys and values may take.
    """

    tokens: int = 2048
    rows: int = 512
    answers: int = 128
    cache: int = 2**31

    @staticmethod
    def of(device: str) -> Budget:
        """What a device is quickest with: a processor's caches are small, a GPU wants large products.

        Args:
            device: "cpu", "cuda", …
        """
        return Budget(16384, 2048, 256, 2**33) if device == "cuda" else Budget()


@dataclass(frozen=True)
class Batch:
    """The atom of record and resume.

    Attributes:
        engine: "base", "aligned" or a domain's judge; the first in the alphabet where several are the same weights.
        requests: one request a row.
        keys: the rows' addresses, in the same order.
        cost: what it takes.
    """

    engine: str
    requests: tuple[Request, ...]
    keys: tuple[str, ...]
    cost: Cost

    @property
    def tokens(self) -> int:
        """The unit of progress: token-forwards through the whole model."""
        return max(1, round(self.cost.tokens))

    def key(self, engine_facts: Mapping[str, object]) -> str:
        """The batch's address: its rows and everything about the engine that can change their bits."""
        return digest([dict(engine_facts), list(self.keys)])


def plan(
    requests: Sequence[Request],
    identities: Mapping[str, str],
    tokenize: Callable[[Request], Tokens],
    budget: Budget,
    sizes: Mapping[str, ModelSize] | None = None,
) -> list[Batch]:
    """Pack `requests` into batches.

    Args:
        requests: in any order, duplicates allowed.
        identities: the identity of the weights behind each engine name.
        tokenize: a request's prompt, and continuation where it has one, as tokens; a judge's are not asked.
        budget: how large a batch may grow. A single row larger than the budget gets a batch of its own.
        sizes: of the models behind engine names, for the costs.

    Returns:
        Batches grouped by engine, then by shape.
    """
    # Sides with the same weights are one engine; which of them asked first must not show in the plan.
    engines = {identity: name for name, identity in sorted(identities.items(), reverse=True)}
    distinct: dict[str, Request] = {}
    for request in requests:
        key = request_key(request, identities)
        if key not in distinct or engine_name(request) < engine_name(distinct[key]):
            distinct[key] = request

    shelves: dict[tuple[object, ...], list[str]] = {}
    for key, request in distinct.items():
        shape = (engines[identities[engine_name(request)]], *batch_shape(request))
        shelves.setdefault(shape, []).append(key)

    batches: list[Batch] = []
    for shape in sorted(shelves, key=repr):
        engine, keys = str(shape[0]), shelves[shape]
        if isinstance(distinct[keys[0]], Classify):
            for part, cost in _judged(keys, distinct, budget):
                batches.append(Batch(engine, tuple(distinct[key] for key in part), part, cost))
            continue
        if isinstance(distinct[keys[0]], Spans):
            for first in range(0, len(keys), budget.rows):
                part = tuple(sorted(keys)[first : first + budget.rows])
                batches.append(Batch(engine, tuple(distinct[key] for key in part), part, Cost()))
            continue
        size = (sizes or {}).get(engine) or NO_SIZE
        rows = {key: _row(distinct[key], tokenize(distinct[key]), size.layers) for key in keys}
        for part in _packed(rows, budget, size.number * size.keys):
            cost = row_costs([rows[key] for key in part], size)
            batches.append(Batch(engine, tuple(distinct[key] for key in part), part, cost))
    return batches


def _row(request: Request, tokens: Tokens, n_layers: int) -> Planned:
    assert not isinstance(request, Classify | Spans)
    depth = (
        max(request.layers, default=0) if isinstance(request, Read) and request.layers is not None else None
    )
    scored = len(tokens) - tokens.start if isinstance(request, Score) else 0
    new = request.sampling.max_new_tokens if isinstance(request, Generate) else 0
    kept = 0
    if isinstance(request, Read):
        layers = n_layers + 1 if request.layers is None else len(request.layers)
        kept = layers * (len(tokens) if request.pick == "each" else 1)
    ids = tokens.ids[:-1] if scored else tokens.ids  # a row's last token is scored, but nothing follows it
    apart = parting(request.edit, tokens.start, len(ids))
    effect = None
    if request.edit is not None and apart is not None:
        effect = same_effect(request.edit, tokens.start)
    return Planned(tokens, ids, depth, scored, new, kept, request.edit, effect, apart)


def _packed(rows: Mapping[str, Planned], budget: Budget, cached: int) -> Iterator[tuple[str, ...]]:
    """Rows in an order in which those that share most are neighbours, cut where the budget is reached.

    Args:
        rows: by key.
        budget: how large a batch may grow.
        cached: bytes that a token of a sampled row leaves in the cache, at most.
    """
    part: list[str] = []
    tree: dict[tuple[int, object], int] = {}
    stem: tuple[int, ...] = ()
    longest = 0
    for key in sorted(rows, key=lambda key: (*_order(rows[key]), key)):
        row = rows[key]
        most = budget.answers if row.new else budget.rows
        grown, shared = _add(tree, row), _common(stem, row.ids)
        longest = max(longest, len(row.ids) + row.new)
        full = len(part) >= most or grown > max(budget.tokens, _STEM * len(shared))
        if row.new:  # every row's cache is as wide as the widest
            full = full or (len(part) + 1) * longest * cached > budget.cache
        if part and full:
            yield tuple(part)
            part, tree, longest = [], {}, len(row.ids) + row.new
            _add(tree, row)
        stem = shared if part else row.ids
        part.append(key)
    if part:
        yield tuple(part)


def _order(row: Planned) -> tuple[object, ...]:
    """Prompts that begin alike side by side; under each of them rows of one edit."""
    edit = "" if row.edit is None else json.dumps(edit_record(row.edit), sort_keys=True)
    return row.tokens.ids[: row.tokens.start], edit, row.ids


def _add(tree: dict[tuple[int, object], int], row: Planned) -> int:
    """Add a row to a prefix tree of tokens and of marks where edits begin -> how many nodes it has."""
    node = 0
    for position, token in enumerate(row.ids):
        if row.apart is not None and position == row.apart[1]:
            node = tree.setdefault((node, row.effect), len(tree) + 1)
        node = tree.setdefault((node, token), len(tree) + 1)
    return len(tree)


def _common(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
    length = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return tuple(a[:length])


def _judged(
    keys: Sequence[str], requests: Mapping[str, Request], budget: Budget
) -> Iterator[tuple[tuple[str, ...], Cost]]:
    """A judge's texts, longest first, in parts that keep to the budget when padded."""

    def length(key: str) -> int:
        request = requests[key]
        assert isinstance(request, Classify)
        # A judge has its own tokenizer; four letters a token is near enough to sort by.
        return 8 + (len(request.question) + len(request.text)) // 4

    left = sorted(keys, key=lambda key: (-length(key), key))
    while left:
        longest = length(left[0])
        take = max(1, min(budget.rows, budget.tokens // longest))
        yield tuple(left[:take]), Cost(longest * min(take, len(left)), 0)
        left = left[take:]
