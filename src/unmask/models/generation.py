"""Where an answer ends; and sampling through transformers' own generate, for models whose rows cannot share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.hooks import RemovableHandle
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from unmask.models.anatomy import Anatomy
from unmask.models.editing import RowEdits
from unmask.models.edits import Edit
from unmask.models.sampling import CheckFinite, SeededPick, StopAtText
from unmask.models.taps import hooked, on_layer
from unmask.models.tokens import Generated, Sampling, Tokens

if TYPE_CHECKING:
    from unmask.models.model import Model


def own_ends(net: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end an answer by the model's own account: its generation config's and its tokenizer's."""
    ends: set[int] = set()
    for given in (net.generation_config.eos_token_id, tokenizer.eos_token_id):
        ends |= (
            set() if given is None else {int(given)} if isinstance(given, int) else {int(i) for i in given}
        )
    return tuple(sorted(ends))


def settle(net: Any, ends: Sequence[int]) -> None:
    """Take the model's own sampling habits away; `generate` would put a repetition penalty or top-k under ours."""
    pad = ends[0] if ends else 0
    net.generation_config = GenerationConfig(
        eos_token_id=list(ends) or None, pad_token_id=pad, do_sample=False
    )


class Ending:
    """When an answer ends, and what of it counts.

    Args:
        model: whose tokens they are.
        sampling: its stop strings; one that is a token of the vocabulary ends an answer as that token.
    """

    def __init__(self, model: Model, sampling: Sampling) -> None:
        self._tokenizer = model.tokenizer
        vocabulary = model.tokenizer.get_vocab()
        self.tokens = frozenset(
            {*model.ends, *(vocabulary[stop] for stop in sampling.stop if stop in vocabulary)}
        )
        self.texts = tuple(stop for stop in sampling.stop if stop not in vocabulary)
        # A token is at least a character, bar the bytes of one not yet whole.
        self._tail = max(map(len, self.texts), default=0) + 8

    def reached(self, new: Sequence[int]) -> bool:
        """Whether the last of an answer's tokens ended it."""
        if new[-1] in self.tokens:
            return True
        return bool(self.texts) and any(stop in self._decode(new[-self._tail :]) for stop in self.texts)

    def answer(self, new: Sequence[int]) -> Generated:
        """One row's new tokens, cut at its end token or stop string."""
        end = next((i for i, token in enumerate(new) if token in self.tokens), None)
        ids = list(new if end is None else new[:end])
        text = self._decode(ids)
        cuts = [text.index(stop) for stop in self.texts if stop in text]
        if not cuts:
            return Generated(tuple(ids), text, end is not None)
        text = text[: min(cuts)]
        while ids and not text.startswith(self._decode(ids)):
            ids = ids[:-1]
        return Generated(tuple(ids), text, True)

    def _decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


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
