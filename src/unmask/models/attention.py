"""Attention over a prefix tree, put in the place of a model's own while a pass runs.

All of a batch's distinct tokens stand in one row `[1, N]`, so that linear layers see no padding and no token twice.
Attention then has to look along each token's own path: for every row, its own segment of the tree attends to all of
its path. Segments of like size are padded together. transformers hands queries, keys and values of any architecture
that uses its attention interface to the function registered here.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AttentionInterface

from unmask.models.tree import Tree

NAME = "unmask"
_ROWS = 64
_SMALL = 4096  # query-key pairs a group may waste before its padding costs more than another group would
_LARGE = 2**21  # query-key pairs of a group, whose mask has to be held
_NEVER = 2**40  # the position of a key that is none


class Attending(Protocol):
    """Answers attention calls while a pass runs."""

    def attend(self, module: nn.Module, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
        """`[N, heads, d_v]` from queries `[N, heads, d_k]`, keys and values `[N, key heads, …]`."""
        ...


@dataclass(frozen=True)
class How:
    """What an architecture says of its attention.

    Attributes:
        scale: factor on query times key; None is 1/√d.
        window: a token sees that many tokens, itself among them; None is all before it.
        soft_cap: bound of the tanh on the scores.
        sinks: `[heads]`, a logit in the softmax that stands for no token.
    """

    scale: float | None
    window: int | None
    soft_cap: float | None
    sinks: Tensor | None


_attending: Attending | None = None


def _interface(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **words: Any
) -> tuple[Tensor, None]:
    """transformers' attention interface: `[1, heads, N, d]` in, `[1, N, heads, d]` out."""
    assert _attending is not None
    how = How(words.get("scaling"), words.get("sliding_window"), words.get("softcap"), words.get("s_aux"))
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    return _attending.attend(module, q, k, v, how)[None], None


AttentionInterface.register(NAME, _interface)


@contextmanager
def attending(decoder: nn.Module, by: Attending) -> Generator[None]:
    """Let `by` answer the decoder's attention calls inside the block."""
    global _attending
    found: dict[int, Any] = {}
    for module in decoder.modules():
        config = getattr(module, "config", None)
        if hasattr(config, "_attn_implementation_internal"):
            found[id(config)] = config
    own = {key: config._attn_implementation_internal for key, config in found.items()}
    outer, _attending = _attending, by
    try:
        for config in found.values():
            config._attn_implementation_internal = NAME
        yield
    finally:
        _attending = outer
        for key, config in found.items():
            config._attn_implementation_internal = own[key]


@dataclass(eq=False)
class _Group:
    """Segments of like size, padded: `[b, n]` queries that attend to `[b, m]` keys of their paths.

    Attributes:
        queries, keys: `[b, n]` and `[b, m]`, nodes.
        query_at: `[b, n]`, positions; a key's position is its column.
        real: which of the `b · n` queries are no padding; None if all are.
        into: the nodes of these.
    """

    queries: Tensor
    keys: Tensor
    query_at: Tensor
    real: Tensor | None
    into: Tensor
    causal: bool
    _masks: dict[Any, Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, like: Tensor, times: int) -> Tensor:
        """`[b, 1, times · n, m]`, 0 where a query sees a key and −∞ where not."""
        key = (window, like.dtype, times)
        if key not in self._masks:
            at = torch.arange(self.keys.shape[1], device=self.keys.device)
            ahead = self.query_at[..., None] - at
            seen = ahead >= 0 if window is None else (ahead >= 0) & (ahead < window)
            self._masks[key] = _additive(seen, like.dtype)[:, None].repeat(1, 1, times, 1)
        return self._masks[key]


class TreeAttention:
    """Attention of a tree's nodes to their ancestors and themselves.

    Args:
        tree: the nodes.
        device: where the states are.
        store: a cache that is to keep what later tokens of the rows will attend to.
    """

    def __init__(self, tree: Tree, device: torch.device, store: Cache | None = None) -> None:
        self._groups = [_group(tree, rows, device) for rows in _buckets(tree)]
        self._store = store
        self._paths = None if store is None else store.nodes(tree)

    def attend(self, module: nn.Module, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
        if self._store is not None and self._paths is not None:
            self._store.fill(module, k[self._paths], v[self._paths])
        out = q.new_zeros(*q.shape[:2], v.shape[-1])  # spare tokens attend to nothing
        for group in self._groups:
            found = _attend(q[group.queries], k[group.keys], v[group.keys], how, group)
            flat = found.flatten(0, 1)
            out[group.into] = flat if group.real is None else flat[group.real]
        return out


def _attend(q: Tensor, k: Tensor, v: Tensor, how: How, group: _Group) -> Tensor:
    """`[b, n, heads, d]` of queries `[b, n, heads, d]` over keys and values `[b, m, key heads, d]`."""
    n, heads, key_heads = q.shape[1], q.shape[2], k.shape[2]
    times = heads // key_heads
    window = None if how.window is not None and k.shape[1] <= how.window else how.window
    q, k, v = (states.transpose(1, 2) for states in (q, k, v))
    if group.causal and window is None and how.soft_cap is None and how.sinks is None:
        out = F.scaled_dot_product_attention(q, k, v, is_causal=n > 1, scale=how.scale, enable_gqa=times > 1)
        return out.transpose(1, 2)
    return attention(q, k, v, group.mask(window, q, times), how).transpose(1, 2)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, how: How) -> Tensor:
    """Plain attention `[b, heads, n, d]` under an additive mask `[b, 1, times · n, m]`.

    Query heads that share a key head stand below one another (`times` of them), so that no key is copied.
    """
    b, heads, n, _ = q.shape
    key_heads = k.shape[1]
    times = heads // key_heads
    q = q.reshape(b, key_heads, times * n, -1)
    if how.soft_cap is None and how.sinks is None:
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=how.scale)
    else:
        scores = (q @ k.mT).float() * (how.scale if how.scale is not None else q.shape[-1] ** -0.5)
        if how.soft_cap is not None:
            scores = torch.tanh(scores / how.soft_cap) * how.soft_cap
        scores = scores + mask
        if how.sinks is None:
            weights = scores.softmax(-1)
        else:
            sinks = how.sinks.float().reshape(1, key_heads, times, 1, 1).expand(b, -1, -1, n, 1)
            sinks = sinks.reshape(b, key_heads, times * n, 1)
            weights = torch.cat([scores, sinks], dim=-1).softmax(-1)[..., :-1]
        out = weights.to(v.dtype) @ v
    return out.reshape(b, heads, n, -1)


def _additive(seen: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, -torch.inf)


def _buckets(tree: Tree) -> list[list[int]]:
    """Rows that have a segment of their own, in groups of like sizes."""
    sizes = {
        row: (len(path), len(path) - inherited)
        for row, (path, inherited) in enumerate(zip(tree.paths, tree.inherited, strict=True))
        if len(path) > inherited
    }
    buckets: list[list[int]] = []
    most = needed = 0
    longest = (0, 0)
    for row in sorted(sizes, key=lambda row: (sizes[row][1], sizes[row][0], row), reverse=True):
        m, n = sizes[row]
        bucket = buckets[-1] if buckets else []
        longer = (max(longest[0], m), max(longest[1], n))
        most, needed = longer[0] * longer[1] * (len(bucket) + 1), needed + m * n
        if not bucket or len(bucket) == _ROWS or most > _LARGE or most - needed > max(needed / 2, _SMALL):
            buckets.append([row])
            longest, needed = (m, n), m * n
        else:
            bucket.append(row)
            longest = longer
    return buckets


def _group(tree: Tree, rows: Sequence[int], device: torch.device) -> _Group:
    own = [tree.paths[row][tree.inherited[row] :] for row in rows]
    whole = [tree.paths[row] for row in rows]
    queries = _padded(own)
    n = queries.shape[1]
    flat = np.arange(n)[None] < np.array([[len(nodes)] for nodes in own])

    def on(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device)

    return _Group(
        on(queries),
        on(_padded(whole)),
        on(tree.positions[queries]),
        None if flat.all() else on(np.flatnonzero(flat)),
        on(np.concatenate(own)),
        causal=all(tree.inherited[row] == 0 for row in rows),
    )


def _padded(rows: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """`[b, longest]`, each row padded with its own last entry."""
    width = max(map(len, rows))
    return np.stack([np.pad(row, (0, width - len(row)), mode="edge") for row in rows])


class Cache:
    """Keys and values of rows that are being continued, a column a token, in every attention module.

    Columns hold the prompts, padded on the right to the longest, and then the new tokens, one column a step.

    Args:
        prompts: tokens of each row so far.
        room: new tokens that will follow at most.
        device: where the states are.
    """

    def __init__(self, prompts: Sequence[int], room: int, device: torch.device) -> None:
        self.width = max(prompts)
        self.room = room
        self._device = device
        self._next = torch.tensor(prompts, device=device)
        columns = torch.arange(self.width, device=device)
        self._at = columns.expand(len(prompts), -1).masked_fill(columns >= self._next[:, None], _NEVER)
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        self._masks: dict[Any, Tensor] = {}

    def nodes(self, tree: Tree) -> Tensor:
        """`[rows, width]`: the node that each column's token is in a tree; some other where it is padding."""
        return torch.from_numpy(_padded(tree.paths)).to(self._device)

    def fill(self, module: nn.Module, k: Tensor, v: Tensor) -> None:
        """Keep a module's keys and values `[rows, width, key heads, d]` of the prompts."""
        kept = []
        for states in (k, v):
            rows, _, heads, d = states.shape
            room = states.new_zeros(rows, heads, self.width + self.room, d)
            room[:, :, : self.width] = states.transpose(1, 2)
            kept.append(room)
        self._kept[id(module)] = (kept[0], kept[1])

    def step(self) -> Tensor:
        """Make a column for one more token of every row -> its positions `[rows]`."""
        positions = self._next
        self._at = torch.cat([self._at, positions[:, None]], dim=1)
        self._next = positions + 1
        self._masks.clear()
        return positions

    def keep(self, rows: Tensor) -> None:
        """Let go of all rows but these."""
        self._next, self._at = self._next[rows], self._at[rows]
        # One module after the other: there may be no room for two whole caches.
        for module, (k, v) in self._kept.items():
            self._kept[module] = k[rows], v[rows]

    def attend(self, module: nn.Module, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
        """One new token a row: `[rows, heads, d]`."""
        keys, values = self._kept[id(module)]
        columns = self._at.shape[1]
        keys[:, :, columns - 1], values[:, :, columns - 1] = k, v
        times = q.shape[1] // k.shape[1]
        mask = self._mask(how.window, q, times)
        out = attention(q[:, :, None], keys[:, :, :columns], values[:, :, :columns], mask, how)
        return out[:, :, 0]

    def _mask(self, window: int | None, like: Tensor, times: int) -> Tensor:
        key = (window, like.dtype, times)
        if key not in self._masks:
            ahead = (self._next - 1)[:, None] - self._at
            seen = ahead >= 0 if window is None else (ahead >= 0) & (ahead < window)
            self._masks[key] = _additive(seen, like.dtype)[:, None, None].repeat(1, 1, times, 1)
        return self._masks[key]
