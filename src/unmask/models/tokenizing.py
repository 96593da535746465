"""From a prompt and a continuation to token ids, and to the tokens that hold the words under study."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.models.prompts import Prompt
from unmask.models.tokens import Tokens

_ANCHOR = "\n"


def tokenize(tokenizer: Any, prompt: Prompt, continuation: str = "") -> Tokens:
    """Prompt and continuation tokenised apart and put together, so that a prompt's tokens never depend on what follows.

    An empty prompt becomes the tokenizer's start (or end) token, so that a continuation's first token has something
    to follow.
    """
    ids, content = _prompt_ids(tokenizer, prompt)
    more = _continuation_ids(tokenizer, prompt.glue(continuation)) if continuation else []
    return Tokens((*ids, *more), content, len(ids))


def token_spans(tokenizer: Any, prompt: Prompt) -> NDArray[np.float32]:
    """Where each token of a prompt stands in its text: `[T, 2]`, characters `[start, end)`; empty for one of no text.

    A tokenizer that knows no offsets is asked what its first tokens say, one more at a time, which is off by a space
    where it drops one.
    """
    ids = tokenize(tokenizer, prompt).ids
    if getattr(tokenizer, "is_fast", False):
        _, _, offsets = _coded(tokenizer, prompt)
        spans = offsets[: len(ids)] or [(0, 0)] * len(ids)
    else:
        said = [
            len(tokenizer.decode(ids[:n], skip_special_tokens=prompt.special)) for n in range(len(ids) + 1)
        ]
        ends = [min(length, len(prompt.text)) for length in said]
        spans = list(pairwise(ends))
    return np.array(spans, dtype=np.float32).reshape(-1, 2)


def _coded(tokenizer: Any, prompt: Prompt) -> tuple[list[int], list[int], list[tuple[int, int]]]:
    """Ids, which of them the tokenizer added, and offsets, of one that knows them."""
    coded = tokenizer(
        prompt.text,
        add_special_tokens=prompt.special,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    ids, added, offsets = (list(coded[k]) for k in ("input_ids", "special_tokens_mask", "offset_mapping"))
    return ids, added, offsets


def _prompt_ids(tokenizer: Any, prompt: Prompt) -> tuple[list[int], tuple[int, int]]:
    if getattr(tokenizer, "is_fast", False):
        ids, added, offsets = _coded(tokenizer, prompt)
        while len(ids) > 1 and added[len(ids) - 1]:
            ids.pop()  # an end token would tell the model that the prompt is over
        held = [
            i
            for i in range(1, len(ids))
            if not added[i] and offsets[i][0] < prompt.content[1] and offsets[i][1] > prompt.content[0]
        ]
        nowhere = min(1, len(ids))
        content = (held[0], held[-1] + 1) if held else (nowhere, nowhere)
    else:
        ids = list(tokenizer(prompt.text, add_special_tokens=prompt.special)["input_ids"])
        content = _content_by_prefix(tokenizer, prompt, ids)
    if not ids:
        first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        ids = [] if first is None else [first]
    return ids, content


def _content_by_prefix(tokenizer: Any, prompt: Prompt, ids: list[int]) -> tuple[int, int]:
    """The content's tokens where a tokenizer knows no offsets: those past what its prefixes share with the whole."""

    def shared(text: str) -> int:
        prefix = tokenizer(text, add_special_tokens=prompt.special)["input_ids"]
        return next(
            (i for i, (a, b) in enumerate(zip(prefix, ids, strict=False)) if a != b),
            min(len(prefix), len(ids)),
        )

    start, end = prompt.content
    first = min(max(1, shared(prompt.text[:start])), len(ids))
    return first, max(first, shared(prompt.text[:end]))


def _continuation_ids(tokenizer: Any, text: str) -> list[int]:
    """The ids of text inside a sequence.

    Sentencepiece tokenizers put a space before whatever comes first; behind a line break, which is then cut off
    again, the text stands as it will stand behind the prompt.
    """
    alone = _plain_ids(tokenizer, text)
    anchor, anchored = _plain_ids(tokenizer, _ANCHOR), _plain_ids(tokenizer, _ANCHOR + "a")
    if anchored[: len(anchor)] != anchor or anchored[len(anchor) :] == _plain_ids(tokenizer, "a"):
        return alone
    behind = _plain_ids(tokenizer, _ANCHOR + text)
    return behind[len(anchor) :] if behind[: len(anchor)] == anchor else alone


def _plain_ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
