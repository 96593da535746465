"""Where an answer ends, and what of it counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from unmask.models.tokens import Generated, Sampling

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
