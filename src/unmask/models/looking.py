"""Reading and scoring a batch in one pass over what its rows do not have in common."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unmask.models import forward
from unmask.models.anatomy import Anatomy
from unmask.models.editing import check_one_each
from unmask.models.edits import Edit
from unmask.models.errors import ModelError
from unmask.models.size import LOGITS_AT_ONCE
from unmask.models.tokens import Pick, Tokens
from unmask.models.tree import Tree, padded_stages, stages

if TYPE_CHECKING:
    from unmask.models.model import Model

Floats = NDArray[np.float32]
_EVEN = 32  # as in `forward.py`, for what is unembedded
_PADDED_TOKENS = 2048
"""Of a batch whose rows cannot share, in one pass."""


@dataclass(frozen=True)
class Reading:
    """A row's states are wanted: at these layers, of these tokens."""

    layers: tuple[int, ...]
    pick: Pick


@dataclass(frozen=True)
class Scoring:
    """The log-probabilities of a row's continuation are wanted."""


SCORING = Scoring()
Want = Reading | Scoring


def look(
    model: Model, rows: Sequence[Tokens], wants: Sequence[Want], edits: Sequence[Edit | None] | None
) -> list[Floats]:
    """What is wanted of each row; see `Model.look`."""
    for want in wants:
        if isinstance(want, Reading):
            _check_layers(model, want.layers)
    answers = [_nothing(model, row, want) for row, want in zip(rows, wants, strict=True)]
    asked = [i for i, answer in enumerate(answers) if answer is None]
    check_one_each(edits, rows)
    sharing, others = model.sharing.part([len(rows[i]) for i in asked])
    parts = [(sharing, False)] if sharing else []
    parts += [(part, True) for other in others for part in _padded_parts(rows, other)]
    for places, padded in parts:
        part = [asked[place] for place in places]
        batch = _Batch(
            model, [rows[i] for i in part], [wants[i] for i in part], edits and [edits[i] for i in part]
        )
        for i, answer in zip(part, batch.answers(padded), strict=True):
            answers[i] = answer
    found = [answer for answer in answers if answer is not None]
    assert len(found) == len(rows)
    return found


def first_not_finite(model: Model, row: Tokens, edit: Edit | None) -> int | None:
    """The first layer at which some state of a row is NaN or infinite."""
    bad: list[int] = []
    here = model.row_edits([edit], [row.start], len(row))

    def inspect(layer: int, _: Tree, states: Tensor) -> None:
        if not torch.isfinite(states).all():
            bad.append(layer)

    whole = padded_stages([here.path(0, row.ids, model.n_layers)])
    forward.run(model.anatomy, whole, here, range(model.n_layers + 1), inspect)
    return min(bad, default=None)


def _check_layers(model: Model, layers: Sequence[int]) -> None:
    unknown = [layer for layer in layers if not 0 <= layer <= model.n_layers]
    if unknown:
        raise ModelError(f"{model.name} has layers 0 to {model.n_layers}; layer {unknown[0]} was asked for.")


def _nothing(model: Model, row: Tokens, want: Want) -> Floats | None:
    """The answer to a row that wants nothing."""
    if isinstance(want, Scoring):
        return None if row.start < len(row) else np.zeros(0, np.float32)
    shape = (len(row), 0, model.d_model) if want.pick == "each" else (0, model.d_model)
    return None if want.layers else np.zeros(shape, np.float32)


def _padded_parts(rows: Sequence[Tokens], asked: Sequence[int]) -> Iterator[list[int]]:
    """Rows in parts of like lengths, each within the budget when padded."""
    part: list[int] = []
    for i in sorted(asked, key=lambda i: (-len(rows[i]), i)):
        if part and len(rows[part[0]]) * (len(part) + 1) > _PADDED_TOKENS:
            yield part
            part = []
        part.append(i)
    if part:
        yield part


class _Batch:
    """One pass over rows that each want something."""

    def __init__(
        self,
        model: Model,
        rows: Sequence[Tokens],
        wants: Sequence[Want],
        edits: Sequence[Edit | None] | None,
    ) -> None:
        self.model = model
        self.rows = rows
        self.given = edits
        self.edits = model.row_edits(edits, [row.start for row in rows], max(map(len, rows)))
        self.scored = [i for i, want in enumerate(wants) if isinstance(want, Scoring)]
        kinds: defaultdict[Reading, list[int]] = defaultdict(list)
        for i, want in enumerate(wants):
            if isinstance(want, Reading):
                kinds[want].append(i)
        self.reads = [_Reads(model, want, members, rows) for want, members in kinds.items()]
        self.depths = [max(want.layers) if isinstance(want, Reading) else model.n_layers for want in wants]
        # A row's last token is scored, but nothing is asked that follows it.
        self.ids = [
            row.ids[:-1] if isinstance(want, Scoring) else row.ids
            for row, want in zip(rows, wants, strict=True)
        ]
        self.scores: list[Floats] = []

    def answers(self, padded: bool) -> list[Floats]:
        asked = [self.edits.path(i, *row) for i, row in enumerate(zip(self.ids, self.depths, strict=True))]
        layers = {layer for reads in self.reads for layer in reads.want.layers}
        if self.scored:
            layers.add(self.model.n_layers)
        made = padded_stages(asked) if padded else stages(asked)
        forward.run(self.model.anatomy, made, self.edits, sorted(layers), self._take)
        found: dict[int, Floats] = dict(zip(self.scored, self.scores, strict=True))
        for reads in self.reads:
            found |= reads.arrays()
        broken = [i for i, array in found.items() if not np.isfinite(array).all()]
        if any(np.isnan(found[i]).any() for i in broken) or set(broken) - {*self.scored}:
            raise self.model.not_finite(self.rows[broken[0]], self.given[broken[0]] if self.given else None)
        return [found[i] for i in range(len(self.rows))]

    @torch.inference_mode()
    def _take(self, layer: int, tree: Tree, states: Tensor) -> None:
        for reads in self.reads:
            if layer in reads.want.layers:
                reads.take(layer, tree, states)
        if self.scored and layer == self.model.n_layers:
            rows = [self.rows[i] for i in self.scored]
            nodes = [tree.paths[i][row.start - 1 :] for i, row in zip(self.scored, rows, strict=True)]
            targets = np.concatenate([row.ids[row.start :] for row in rows])
            found = log_probs(self.model.anatomy, states, np.concatenate(nodes), targets)
            self.scores = np.split(found, np.cumsum([len(some) for some in nodes])[:-1])


class _Reads:
    """The rows of a batch that want the same of their states."""

    def __init__(self, model: Model, want: Reading, members: Sequence[int], rows: Sequence[Tokens]) -> None:
        self.want = want
        self.members = members
        self.spans = [(0, len(rows[i])) if want.pick == "each" else rows[i].content for i in members]
        if want.pick == "mean":
            for i, (start, end) in zip(members, self.spans, strict=True):
                if not start < end <= len(rows[i]):
                    raise ModelError(
                        f"Row {i} has no content tokens to average for {model.name}: the sequence's first token and "
                        "the template's are left out, and nothing else was there; give it longer words or a frame "
                        "around them."
                    )
        self.taken: dict[int, Tensor] = {}
        self._tree: Tree | None = None
        self._nodes = self._offsets = torch.zeros(0)

    def take(self, layer: int, tree: Tree, states: Tensor) -> None:
        if tree is not self._tree:  # mostly a pass has few trees and many layers
            self._tree = tree
            self._nodes, self._offsets = (torch.from_numpy(a).to(states.device) for a in self._index(tree))
        if self.want.pick == "mean":
            # An embedding bag sums in the dtype of its table.
            self.taken[layer] = torch.nn.functional.embedding_bag(
                self._nodes, states.float(), self._offsets, mode="mean"
            )
        else:
            self.taken[layer] = states[self._nodes].float()

    def _index(self, tree: Tree) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Nodes, and where each row's begin among them."""
        if self.want.pick == "last":
            nodes = [tree.paths[i][-1:] for i in self.members]
        else:
            nodes = [tree.paths[i][slice(*span)] for i, span in zip(self.members, self.spans, strict=True)]
        return np.concatenate(nodes), np.cumsum([0, *(len(some) for some in nodes)])[:-1]

    def arrays(self) -> dict[int, Floats]:
        """Each row's array: `[layers, d]`, or `[T, layers, d]` for each token."""
        stacked = torch.stack([self.taken[layer] for layer in self.want.layers], dim=1).cpu().numpy()
        if self.want.pick != "each":
            return dict(zip(self.members, stacked, strict=True))
        ends = np.cumsum([end for _, end in self.spans])
        return dict(zip(self.members, np.split(stacked, ends[:-1]), strict=True))


def log_probs(
    anatomy: Anatomy, states: Tensor, nodes: NDArray[np.int64], targets: NDArray[np.int64]
) -> Floats:
    """Log-probability of each target `[n]` after its node `[n]`; every distinct node is unembedded once.

    Args:
        anatomy: the model's parts.
        states: `[N, d]` of the last layer, before the final norm.
        nodes: may repeat.
        targets: token ids.
    """
    order = np.argsort(nodes, kind="stable")
    distinct, counts = np.unique(nodes, return_counts=True)
    step = max(1, LOGITS_AT_ONCE // anatomy.vocabulary)
    found = np.empty(len(nodes), dtype=np.float32)
    done = 0
    for begin in range(0, len(distinct), step):
        chunk = distinct[begin : begin + step]
        chunk = np.pad(chunk, (0, -len(chunk) % _EVEN), mode="edge")
        here = torch.from_numpy(chunk).to(states.device)
        logits = anatomy.unembed(anatomy.final_norm(states[here])).float()
        repeats = counts[begin : begin + step]
        mine = order[done : done + int(repeats.sum())]
        which = torch.from_numpy(np.repeat(np.arange(len(repeats)), repeats)).to(logits.device)
        wanted = torch.from_numpy(targets[mine]).to(logits.device)
        found[mine] = (logits[which, wanted] - logits.logsumexp(dim=-1)[which]).cpu().numpy()
        done += len(mine)
    return found
