"""Turns requests into batches: duplicates merged, rows of one shape sorted by length, packed to a token budget.

The plan is a pure function of the requests as a set, the lengths and the budget, so a resumed run forms the
same batches and gets the same bits. (Rows that share a prefix will meet here as well.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from unmask.runner.requests import Request, batch_shape, digest, engine_name, request_key


@dataclass(frozen=True)
class Budget:
    """How large a batch may grow.

    Attributes:
        tokens: padded tokens in one batch, generated ones included.
        rows: rows in one batch.
    """

    tokens: int = 4096
    rows: int = 64


@dataclass(frozen=True)
class Batch:
    """The atom of record and resume.

    Attributes:
        engine: "base", "aligned" or a domain's judge; the first in the alphabet where several are the same weights.
        requests: one request a row.
        keys: the rows' addresses, in the same order.
        tokens: padded tokens, the unit of cost.
    """

    engine: str
    requests: tuple[Request, ...]
    keys: tuple[str, ...]
    tokens: int

    def key(self, engine_facts: Mapping[str, object]) -> str:
        """The batch's address: its rows and everything about the engine that can change their bits."""
        return digest([dict(engine_facts), list(self.keys)])


def plan(
    requests: Sequence[Request],
    identities: Mapping[str, str],
    length: Callable[[Request], int],
    budget: Budget,
) -> list[Batch]:
    """Pack `requests` into batches.

    Args:
        requests: in any order, duplicates allowed.
        identities: the identity of the weights behind each engine name.
        length: tokens of a request, generated ones included.
        budget: how large a batch may grow. A single row larger than the budget gets a batch of its own.

    Returns:
        Batches grouped by engine, then by shape, longest rows first, so that the first batch shows at once
        whether memory suffices.
    """
    # Sides with the same weights are one engine; which of them asked first must not show in the plan.
    engines = {identity: name for name, identity in sorted(identities.items(), reverse=True)}
    distinct: dict[str, Request] = {}
    for request in requests:
        key = request_key(request, identities)
        if key not in distinct or engine_name(request) < engine_name(distinct[key]):
            distinct[key] = request

    shelves: dict[tuple[object, ...], list[tuple[int, str]]] = {}
    for key, request in distinct.items():
        shape = (engines[identities[engine_name(request)]], *batch_shape(request))
        shelves.setdefault(shape, []).append((length(request), key))

    batches: list[Batch] = []
    for shape in sorted(shelves, key=repr):
        rows = sorted(shelves[shape], key=lambda row: (-row[0], row[1]))
        while rows:
            longest = max(1, rows[0][0])
            take = max(1, min(budget.rows, budget.tokens // longest, len(rows)))
            keys = tuple(key for _, key in rows[:take])
            batches.append(Batch(str(shape[0]), tuple(distinct[key] for key in keys), keys, longest * take))
            rows = rows[take:]
    return batches
