"""Sampling through transformers' own generate, for models whose rows cannot share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from unmask.models.anatomy import Anatomy
from unmask.models.editing import RowEdits
from unmask.models.edits import Edit
from unmask.models.ending import Ending
from unmask.models.sampling import NoTokenError, draws, pick
from unmask.models.taps import hooked, on_layer
from unmask.models.tokens import Generated, Sampling, Tokens

if TYPE_CHECKING:
    from unmask.models.model import Model


def settle(net: Any, ends: Sequence[int]) -> None:
    """Take the model's own sampling habits away; `generate` would put a repetition penalty or top-k under ours."""
    pad = ends[0] if ends else 0
    net.generation_config = GenerationConfig(
        eos_token_id=list(ends) or None, pad_token_id=pad, do_sample=False
    )


def generate(
    model: Model,
    rows: Sequence[Tokens],
    seeds: Sequence[int],
    sampling: Sampling,
    edits: Sequence[Edit | None] | None,
) -> list[Generated]:
    """Answer each row; see `Model.generate`, which checks what is given.

    Raises:
        NoTokenError: a row's logits are NaN or infinite.
    """
    device, anatomy, ending = model.anatomy.device, model.anatomy, Ending(model, sampling)
    width = max(map(len, rows))
    pad = min(ending.tokens, default=0)
    ids = torch.tensor([[pad] * (width - len(row)) + list(row.ids) for row in rows], device=device)
    lengths = np.array([len(row) for row in rows])
    mask = (np.arange(width) >= (width - lengths)[:, None]).astype(np.int64)
    config = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,
        eos_token_id=sorted(ending.tokens) or None,
        pad_token_id=pad,
    )
    picks = [SeededPick(seeds, sampling, width)] if sampling.temperature else []
    stops = [StopAtText(ending.reached, width)] if ending.texts else []
    flat = anatomy.head.register_forward_pre_hook(_contiguous)
    row_edits = model.row_edits(edits, lengths.tolist(), int(lengths.max()) + sampling.max_new_tokens)
    with torch.inference_mode(), hooked([flat, *_editing(anatomy, row_edits, lengths - width)]):
        out = model.net.generate(
            input_ids=ids,
            attention_mask=torch.from_numpy(mask).to(device),
            generation_config=config,
            logits_processor=LogitsProcessorList([CheckFinite(width), *picks]),
            stopping_criteria=StoppingCriteriaList(stops),
        )
    return [ending.answer(new) for new in out[:, width:].tolist()]


def _editing(anatomy: Anatomy, edits: RowEdits, first: NDArray[np.int64]) -> list[RemovableHandle]:
    """Hooks that apply edits in successive passes, which are successive columns of one sequence.

    Args:
        first: `[B]`, each row's position in the first column; negative in left padding.
    """
    columns: defaultdict[int, int] = defaultdict(int)

    def change(layer: int, states: Tensor) -> Tensor:
        batch, width, _ = states.shape
        positions = (first[:, None] + columns[layer] + np.arange(width)).ravel()
        columns[layer] += width
        rows = np.repeat(np.arange(batch), width)
        return edits.apply(layer, states.flatten(0, 1), rows, positions).reshape(states.shape)

    return [
        on_layer(anatomy.blocks, layer, lambda h, layer=layer: change(layer, h))
        for layer in sorted(edits.layers)
    ]


def _contiguous(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """After the prompt, `generate` unembeds a strided slice, for which torch on CPU copies the weight once a row."""
    return (args[0].contiguous(), *args[1:])


class SeededPick(LogitsProcessor):
    """Leaves only the sampled token standing, so that greedy decoding takes it."""

    def __init__(self, seeds: Sequence[int], sampling: Sampling, prompt_width: int) -> None:
        self._draws = draws(seeds, sampling)
        self._sampling = sampling
        self._width = prompt_width

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # theirs wants LongTensor
        uniform = self._draws[:, input_ids.shape[1] - self._width].to(scores.device)
        tokens = pick(scores, uniform, self._sampling.temperature, self._sampling.top_p)
        return torch.full_like(scores, -torch.inf).scatter(1, tokens[:, None], 0.0)


class CheckFinite(LogitsProcessor):
    """Ends generation with NoTokenError where a row's largest logit is NaN or infinite."""

    def __init__(self, prompt_width: int) -> None:
        self._width = prompt_width

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # theirs wants LongTensor
        finite = scores.amax(dim=-1).isfinite()  # NaN is the largest of all
        if not finite.all():
            row = finite.tolist().index(False)
            raise NoTokenError(row, tuple(input_ids[row, self._width :].tolist()))
        return scores


class StopAtText(StoppingCriteria):
    """A row is done when its new tokens have reached an end."""

    def __init__(self, reached: Callable[[list[int]], bool], prompt_width: int) -> None:
        self._reached = reached
        self._width = prompt_width

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # theirs wants LongTensor
        done = [self._reached(new) for new in input_ids[:, self._width :].tolist()]
        return torch.tensor(done, device=input_ids.device)
