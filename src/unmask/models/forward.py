"""Runs the stages of a pass through a model's decoder, with edits on the way and reads where they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.models.anatomy import Anatomy
from unmask.models.attention import Attending, Cache, TreeAttention, attending
from unmask.models.editing import RowEdits
from unmask.models.taps import hooked, on_layer
from unmask.models.tree import Stage, Tree

Take = Callable[[int, Tree, Tensor], None]
"""Sees a layer's states `[N or more, d]`, a row a node of the tree and then spare ones."""
_EVEN, _SMALL = 64, 512
"""Tokens of a pass are made a multiple, of an eighth if they are few: on processors every new shape of a product is
compiled and kept."""


class _Enough(Exception):
    """The deepest layer that anyone asked for has been seen."""


def run(
    anatomy: Anatomy,
    stages: Sequence[Stage],
    edits: RowEdits,
    layers: Sequence[int],
    take: Take,
    store: Cache | None = None,
) -> None:
    """Run a pass.

    Args:
        anatomy: the model's parts.
        stages: what to compute, from `tree.stages` or, where the model cannot share, `tree.padded_stages`.
        edits: of the rows behind the stages.
        layers: whose states `take` is given, after any edit.
        store: a cache that keeps the keys and values of all rows.
    """
    wanted = set(layers)
    states: Tensor | None = None

    def visit(layer: int, tree: Tree, states: Tensor) -> Tensor:
        if layer in edits.layers:
            states = edits.apply(layer, states, tree.owners, tree.positions)
        if layer in wanted:
            take(layer, tree, states)
        return states

    for stage in stages:
        if states is not None and stage.source is not None:
            states = states[torch.from_numpy(stage.source).to(states.device)]
        own = range(stage.first + stage.entered, stage.last)
        inner = [layer for layer in own if layer in wanted | edits.layers]
        if states is None or stage.first < stage.last:
            states = _through(anatomy, stage, states, inner, visit, store)
        if stage.first == stage.last:
            states = visit(stage.first, stage.tree, states)


def _through(
    anatomy: Anatomy,
    stage: Stage,
    incoming: Tensor | None,
    layers: Sequence[int],
    visit: Callable[[int, Tree, Tensor], Tensor],
    store: Cache | None,
) -> Tensor:
    """The states `[N or more, d]` of a stage's last layer; at `layers` they are visited on the way."""
    tree = stage.tree
    kept: list[Tensor] = []

    def enter(states: Tensor) -> Tensor:
        assert incoming is not None
        if len(incoming) == states.shape[:2].numel():
            return incoming.reshape(states.shape)
        return F.pad(incoming[: len(tree)], (0, 0, 0, states.shape[1] - len(tree)))[None]

    def pass_by(layer: int, states: Tensor) -> Tensor | None:
        flat = states.flatten(0, 1)
        changed = visit(layer, tree, flat)
        return None if changed is flat else changed.reshape(states.shape)

    def leave(states: Tensor) -> None:
        kept.append(states.flatten(0, 1))
        raise _Enough

    handles = [] if incoming is None else [on_layer(anatomy.blocks, stage.first, enter)]
    handles += [on_layer(anatomy.blocks, layer, lambda h, layer=layer: pass_by(layer, h)) for layer in layers]
    with torch.inference_mode(), _skipping(anatomy, stage.first):
        try:
            with hooked([*handles, on_layer(anatomy.blocks, stage.last, leave)]):
                feed(anatomy, tree, store)
        except _Enough:
            pass
    return kept[0]


def feed(anatomy: Anatomy, tree: Tree, store: Cache | None = None) -> Any:
    """One call of the decoder over a tree's nodes, or over its rectangle of padded rows."""
    device = anatomy.device
    ids = torch.from_numpy(tree.ids).to(device)
    if tree.padded is None:
        positions = torch.from_numpy(tree.positions).to(device)
        spare = (0, -len(tree) % (_EVEN if len(tree) > _SMALL else _EVEN // 8))
        ids, positions = F.pad(ids, spare), F.pad(positions, spare)
        return along(anatomy, ids, positions, TreeAttention(tree, device, store))
    mask: dict[str, Tensor] = {}
    if anatomy.needs_mask:
        lengths = torch.tensor([len(path) for path in tree.paths], device=device)
        mask = {"attention_mask": (torch.arange(tree.padded[1], device=device) < lengths[:, None]).long()}
    return anatomy.decoder(input_ids=ids.reshape(tree.padded), use_cache=False, **mask)


def along(anatomy: Anatomy, ids: Tensor, positions: Tensor, by: Attending) -> Any:
    """One call of the decoder over tokens `[N]` in one row, each of which attends to what `by` says."""
    with attending(anatomy.decoder, by):
        return anatomy.decoder(input_ids=ids[None], position_ids=positions[None], use_cache=False)


@contextmanager
def _skipping(anatomy: Anatomy, count: int) -> Generator[None]:
    """Let the first blocks pass on what they are given."""

    def passing(*args: Any, **kwargs: Any) -> Any:
        states = args[0] if args else kwargs["hidden_states"]
        return (states,) if anatomy.tuples else states

    with ExitStack() as stack:
        for block in anatomy.blocks[:count]:
            if "forward" in vars(
                block
            ):  # something of the kind is there already, such as a hook that loads weights
                stack.callback(setattr, block, "forward", block.forward)
            else:
                stack.callback(delattr, block, "forward")
            block.forward = passing
        yield
