"""Whether a model's tokens can be shared in a prefix tree: found by trying, never by a table of names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from unmask.models import forward
from unmask.models.anatomy import Anatomy, row_error, tolerance
from unmask.models.attention import How, TreeAttention
from unmask.models.editing import RowEdits
from unmask.models.memory import memory_ran_out
from unmask.models.tree import Path, Tree, grow, padded_stages, stages


@dataclass(frozen=True)
class Sharing:
    """What of its work a model can share between rows.

    Attributes:
        refusal: why its rows are computed one by one, padded; empty where tokens are shared.
        reach: most tokens of a row for which sharing is right.
    """

    refusal: str
    reach: int

    def part(self, lengths: Sequence[int]) -> tuple[list[int], list[list[int]]]:
        """Places of the rows that can share; and those of the others, in the groups that may be padded together.

        Beyond the reach a row may depend on the longest that it stands beside, so that only rows of one length do.
        """
        own: defaultdict[int, list[int]] = defaultdict(list)
        sharing: list[int] = []
        for i, length in enumerate(lengths):
            if self.refuses([length]):
                own[0 if self.refusal else length].append(i)
            else:
                sharing.append(i)
        return sharing, [own[length] for length in sorted(own)]

    def refuses(self, lengths: Sequence[int]) -> str:
        """Why rows of these lengths cannot share; empty where they can."""
        if self.refusal or max(lengths, default=0) <= self.reach:
            return self.refusal
        return (
            f"a row has {max(lengths)} tokens, and beyond {self.reach} the model attends in a way of its own"
        )


def find_sharing(anatomy: Anatomy, config: Any, probe: Sequence[int]) -> Sharing:
    """Try a tree of rows that part at a token and at two layers, and compare it with each row by itself.

    Args:
        anatomy: the model's parts.
        config: its text config.
        probe: token ids of a short text.
    """
    # Llama 4, from a column far beyond any probe's.
    if getattr(config, "attn_temperature_tuning", False):
        return Sharing("it scales queries by their column, which in shared tokens is not their position", 0)
    ids = tuple(probe)
    half, middle = len(ids) // 2, anatomy.n_layers // 2
    turned = (*ids[:half], *ids[half:][::-1])
    deepest = anatomy.n_layers
    # A last block that is run by itself shows whether it needs what blocks below it leave elsewhere than in the states.
    edited = [Path(ids, deepest, 0, middle, half), Path(ids, deepest, 1, deepest - 1, half)]
    rows = [Path(ids, deepest), Path(turned, deepest), *edited]
    try:
        windows = _windows(anatomy, ids)
        together = _last_layer(anatomy, rows)
        alone = [_last_layer(anatomy, [row], padded=True)[0] for row in rows]
    except Exception as error:  # whatever an architecture does when it is fed in a way that it does not know
        if isinstance(error, NameError) or memory_ran_out(error):
            raise  # a fault here, or of this machine: it says nothing about the architecture
        first = (str(error).strip().splitlines() or ["no reason given"])[0]
        return Sharing(f"its decoder cannot be run over shared tokens ({type(error).__name__}: {first})", 0)
    for found, expected in zip(together, alone, strict=True):
        # The median, since a mixture of experts may route a token otherwise.
        if row_error(found[half:], expected[half:], worst=False) > 10 * tolerance(expected):
            return Sharing("over shared tokens its states come out otherwise", 0)
    return Sharing("", min(_reaches(anatomy, config, windows), default=2**31))


def _windows(anatomy: Anatomy, ids: tuple[int, ...]) -> dict[int, int | None]:
    """The window that each attention module names, by the module's id."""
    tree = grow([ids], [None])
    attention = TreeAttention(tree, anatomy.device)
    windows: dict[int, int | None] = {}

    class Recorder:
        def attend(self, module: nn.Module, q: Tensor, k: Tensor, v: Tensor, how: How) -> Tensor:
            windows[id(module)] = how.window
            return attention.attend(module, q, k, v, how)

    nodes, positions = (torch.from_numpy(a).to(anatomy.device) for a in (tree.ids, tree.positions))
    with torch.inference_mode():
        forward.along(anatomy, nodes, positions, Recorder())
    return windows


def _reaches(anatomy: Anatomy, config: Any, windows: dict[int, int | None]) -> Iterator[int]:
    """Lengths up to which what the config says of positions and windows does not matter or is known to be obeyed."""
    types = getattr(config, "layer_types", None) or ()
    own = getattr(config, "sliding_window", None)
    if not types and own and not all(windows.values()):
        yield int(own)
    for block, kind in zip(anatomy.blocks, types, strict=False):
        mine = [windows[id(module)] for module in block.modules() if id(module) in windows]
        if kind == "sliding_attention" and not (mine and all(mine)):
            yield int(config.sliding_window)
        elif kind == "chunked_attention":
            yield int(config.attention_chunk_size)
    rope: Any = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    for one in (rope, *(value for value in rope.values() if isinstance(value, dict))):
        # These turn every row of a batch by the length of its longest.
        if one.get("rope_type") in ("dynamic", "longrope"):
            own = one.get("original_max_position_embeddings")
            yield int(
                own
                or getattr(config, "original_max_position_embeddings", None)
                or config.max_position_embeddings
            )


def _last_layer(anatomy: Anatomy, rows: Sequence[Path], padded: bool = False) -> list[Tensor]:
    """Each row's states `[T, d]` of the last layer."""
    kept: list[Tensor] = []

    def take(_: int, tree: Tree, states: Tensor) -> None:
        kept.extend(states[torch.from_numpy(path).to(states.device)] for path in tree.paths)

    made = padded_stages(rows) if padded else stages(rows)
    nothing = RowEdits(None, [0] * len(rows), 0, anatomy.d_model, anatomy.n_layers, anatomy.device)
    forward.run(anatomy, made, nothing, [anatomy.n_layers], take)
    return kept
