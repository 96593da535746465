"""What a batch has to compute: each distinct token once, at each depth.

Rows that begin alike share the tokens of that beginning. Rows whose edits differ share all that lies below the first
edited layer, and above it every token before the first edited one. So a forward pass goes in stages: at a stage's
first layer rows part (an edit begins) or leave (nothing deeper is asked for), and between two such layers the tokens
form a prefix tree. Arrays only; `forward.py` runs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Tree:
    """The distinct tokens of some rows, as nodes of a prefix tree; a parent comes before its children.

    Attributes:
        ids: `[N]`, token ids.
        positions: `[N]`, a node's depth, which is its token's position in every row through it.
        owners: `[N]`, one of the rows through a node.
        paths: a row's nodes from its first token to its last; empty for a row that is not in the tree.
        inherited: how many of a row's nodes, from its first, belong to rows before it; the others form its segment.
        padded: `(rows, width)` where the nodes are a rectangle of padded rows that share nothing; None in a tree.
    """

    ids: Ints
    positions: Ints
    owners: Ints
    paths: tuple[Ints, ...]
    inherited: tuple[int, ...]
    padded: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Stage:
    """Blocks `first + 1` to `last` over one tree; none where `first` is `last`.

    Edits and reads at layers `first` to `last - 1` are its own; those at `last` belong to the stage after it, since
    rows may part there.

    Attributes:
        source: `[N]`, the node of the stage before that each node's states come from; None if they are the same.
        entered: the stage before has seen to the edits and reads at `first`.
    """

    first: int
    last: int
    tree: Tree
    source: Ints | None = None
    entered: bool = False


@dataclass(frozen=True)
class Path:
    """What a row asks of a pass.

    Attributes:
        ids: its tokens.
        depth: the deepest layer that it needs.
        edit: a number for its edit (rows of one number have the same); None for no edit.
        layer: the first layer that the edit touches.
        position: the first token that it touches.
    """

    ids: tuple[int, ...]
    depth: int
    edit: int | None = None
    layer: int = 0
    position: int = 0

    def begins(self, layer: int) -> bool:
        """Whether its edit sets it apart at a layer."""
        return self.edit is not None and self.layer <= layer and self.position < len(self.ids)


def stages(rows: Sequence[Path]) -> list[Stage]:
    """The stages of a pass over rows that share whatever they can."""
    parting = {row.layer for row in rows if row.begins(row.depth)}
    layers = sorted({0} | parting | {row.depth for row in rows})
    made: list[Stage] = []
    grown: dict[tuple[object, ...], Tree] = {}

    def add(first: int, last: int, there: list[bool], entered: bool = False) -> None:
        marks = [(row.position, row.edit) if row.begins(first) else None for row in rows]
        known = (tuple(marks), tuple(there))
        if known not in grown:
            ids = [row.ids if is_in else () for row, is_in in zip(rows, there, strict=True)]
            grown[known] = grow(ids, marks)
        tree = grown[known]
        same = not made or made[-1].tree is tree
        made.append(Stage(first, last, tree, None if same else _source(tree, made[-1].tree), entered))

    for first, last in pairwise(layers):
        # Rows that end at this layer are seen here and go no further.
        ends = any(row.depth == first for row in rows)
        if ends:
            add(first, first, [row.depth >= first for row in rows])
        add(first, last, [row.depth > first for row in rows], entered=ends)
    add(layers[-1], layers[-1], [row.depth == layers[-1] for row in rows])
    return made


def padded_stages(rows: Sequence[Path]) -> list[Stage]:
    """The stages of a pass over rows that share nothing, for models that cannot take any other way."""
    deepest = max(row.depth for row in rows)
    width = max(len(row.ids) for row in rows)
    paths = tuple(np.arange(i * width, i * width + len(row.ids)) for i, row in enumerate(rows))
    ids = np.array([[*row.ids, *[row.ids[-1]] * (width - len(row.ids))] for row in rows], dtype=np.int64)
    tree = Tree(
        ids.ravel(),
        np.tile(np.arange(width), len(rows)),
        np.repeat(np.arange(len(rows)), width),
        paths,
        (0,) * len(rows),
        (len(rows), width),
    )
    return [Stage(0, deepest, tree), *([Stage(deepest, deepest, tree)] if deepest else [])]


def grow(rows: Sequence[Sequence[int]], marks: Sequence[tuple[int, int | None] | None]) -> Tree:
    """The prefix tree of rows.

    Args:
        rows: token ids; an empty row is not in the tree.
        marks: from which position a row is apart from rows with another mark; None for never.
    """
    sequences: list[tuple[int, ...]] = []
    for row, mark in zip(rows, marks, strict=True):
        if mark is None:
            sequences.append(tuple(row))
        else:  # a token that no vocabulary has
            position, name = mark
            sequences.append((*row[:position], -1 - (name or 0), *row[position:]))
    order = sorted((i for i, row in enumerate(rows) if len(row)), key=lambda i: sequences[i])
    nothing = np.zeros(0, dtype=np.int64)
    paths = [nothing] * len(rows)
    inherited = [0] * len(rows)
    positions: list[Ints] = []
    owners: list[Ints] = []
    ids: list[Sequence[int]] = []
    count = 0
    before: Ints = nothing
    path = nothing
    for i in order:
        sequence = np.array(sequences[i], dtype=np.int64)
        shared = _shared(before, sequence)
        mark = marks[i]
        if mark is not None and mark[0] < shared:
            shared -= 1  # the mark is no token
        length = len(rows[i])
        path = np.concatenate([path[:shared], np.arange(count, count + length - shared)])
        paths[i], inherited[i] = path, shared
        count += length - shared
        positions.append(np.arange(shared, length))
        owners.append(np.full(length - shared, i))
        ids.append(rows[i][shared:])
        before = sequence
    return Tree(
        np.array([token for row in ids for token in row], dtype=np.int64),
        np.concatenate([nothing, *positions]),
        np.concatenate([nothing, *owners]),
        tuple(paths),
        tuple(inherited),
    )


def _shared(a: Ints, b: Ints) -> int:
    """How many tokens two sequences begin alike."""
    length = min(len(a), len(b))
    differ = np.flatnonzero(a[:length] != b[:length])
    return int(differ[0]) if len(differ) else length


def _source(tree: Tree, before: Tree) -> Ints:
    starts = np.cumsum([0, *(len(path) for path in before.paths)])[:-1]
    return np.concatenate(before.paths)[starts[tree.owners] + tree.positions]
