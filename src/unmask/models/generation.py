"""Sampling answers: transformers' generate with left padding, one seed a row, and stops by token or by text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from unmask.models.anatomy import Anatomy
from unmask.models.edits import Edit
from unmask.models.hooks import Layout, editing
from unmask.models.sampling import CheckFinite, SeededPick, StopAtText
from unmask.models.taps import hooked
from unmask.models.tokens import Generated, Sampling, Tokens


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


def generate(
    net: Any,
    anatomy: Anatomy,
    tokenizer: Any,
    ends: Sequence[int],
    rows: Sequence[Tokens],
    seeds: Sequence[int],
    sampling: Sampling,
    edits: Sequence[Edit | None] | None,
) -> list[Generated]:
    """Answer each row; see `Model.generate`, which checks what is given.

    Raises:
        NoTokenError: a row's logits are NaN or infinite.
    """
    vocabulary = tokenizer.get_vocab()
    stop_ids = {vocabulary[stop] for stop in sampling.stop if stop in vocabulary}
    stop_texts = [stop for stop in sampling.stop if stop not in vocabulary]
    all_ends = sorted({*ends, *stop_ids})
    device = next(net.parameters()).device
    width = max(map(len, rows))
    pad = all_ends[0] if all_ends else 0
    ids = torch.tensor([[pad] * (width - len(row)) + list(row.ids) for row in rows], device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    offsets = width - lengths
    mask = (torch.arange(width, device=device) >= offsets[:, None]).long()

    def decode(new: list[int]) -> str:
        return tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    config = GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=False,
        eos_token_id=all_ends or None,
        pad_token_id=pad,
    )
    picks = [SeededPick(seeds, sampling, width)] if sampling.temperature else []
    stops = [StopAtText(decode, stop_texts, width)] if stop_texts else []
    flat = anatomy.head.register_forward_pre_hook(_contiguous)
    with torch.inference_mode(), hooked([flat]), editing(anatomy, edits, Layout(lengths, lengths, offsets)):
        out = net.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=config,
            logits_processor=LogitsProcessorList([CheckFinite(width), *picks]),
            stopping_criteria=StoppingCriteriaList(stops),
        )
    return [_answer(new, all_ends, stop_texts, decode) for new in out[:, width:].tolist()]


def _contiguous(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """After the prompt, `generate` unembeds a strided slice, for which torch on CPU copies the weight once a row."""
    return (args[0].contiguous(), *args[1:])


def _answer(new: list[int], ends: Sequence[int], stops: Sequence[str], decode: Any) -> Generated:
    """Cut one row's new tokens at its end token or stop string."""
    end = next((i for i, token in enumerate(new) if token in ends), None)
    ids = new if end is None else new[:end]
    text = decode(ids)
    cuts = [text.index(stop) for stop in stops if stop in text]
    if not cuts:
        return Generated(tuple(ids), text, end is not None)
    text = text[: min(cuts)]
    while ids and not text.startswith(decode(ids)):
        ids = ids[:-1]
    return Generated(tuple(ids), text, True)
