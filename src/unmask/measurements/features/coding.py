"""Texts read token by token at the dictionary's layer, and what its latents do on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unmask.features.autoencoder import SparseAutoencoder
from unmask.features.codes import Codes
from unmask.features.deactivation import HALF, floors
from unmask.models.prompts import Prompt
from unmask.runner.records import Records
from unmask.runner.requests import Read, Side, Spans

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MASSIVE = 10.0
"""Times the median norm of a text's tokens: beyond it a token's activations are massive."""
_AT_ONCE = 2048
"""Tokens that are coded together."""


@dataclass(frozen=True)
class Text:
    """Words under study in a prompt that one model reads.

    Attributes:
        side: which model.
        prompt: what it is shown.
        words: characters `[start, end)` of the words under study; the template's and the sequence's first token are
            never among them.
        most: how many of their tokens to read, at most.
    """

    side: Side
    prompt: Prompt
    words: tuple[int, int]
    most: int | None = None

    @staticmethod
    def of(side: Side, prompt: Prompt) -> Text:
        """A prompt whose content is under study."""
        return Text(side, prompt, prompt.content)

    @staticmethod
    def answer(side: Side, prompt: Prompt, said: str) -> Text:
        """An answer behind its question."""
        whole = prompt.then(said)
        return Text(side, whole, (len(prompt.text), len(whole.text)))

    def requests(self, layer: int) -> tuple[Read, Spans]:
        """What has to be known of it."""
        return Read(self.side, self.prompt, "each", (layer,)), Spans("base", self.prompt)

    def spans(self, records: Records, layer: int) -> Ints:
        """`[T, 2]`, the characters of every token of the prompt."""
        return records.array(self.requests(layer)[1]).astype(np.int64)

    def read(self, records: Records, layer: int) -> tuple[Ints, Tensor]:
        """`[t]`, which tokens hold the words, and their states `[t, d]` in float32."""
        start, end = self.spans(records, layer).T
        mine = (start < self.words[1]) & (end > self.words[0]) & (end > start)
        mine[:1] = False
        at = np.flatnonzero(mine)
        states = torch.from_numpy(records.array(self.requests(layer)[0])[at, 0])
        usual = ~massive(states)
        return at[usual.numpy()][: self.most], states[usual][: self.most]


def massive(states: Tensor) -> Tensor:
    """`[t]`, bool, which of a text's tokens `[t, d]` have massive activations: they say nothing of the text, no
    dictionary reads them, and one in ten thousand can be half of what seems to vary."""
    norms = states.norm(dim=1)
    return norms > MASSIVE * norms.quantile(0.5) if len(states) else norms > 0


def batches(texts: Sequence[Text], records: Records, layer: int) -> Iterator[tuple[Tensor, list[int]]]:
    """States of texts end to end, `[n, d]`, with the tokens of each; some thousands of tokens at a time."""
    held: list[Tensor] = []
    for text in texts:
        held.append(text.read(records, layer)[1])
        if sum(map(len, held)) >= _AT_ONCE:
            yield torch.cat(held), [len(one) for one in held]
            held = []
    if held:
        yield torch.cat(held), [len(one) for one in held]


def mean_codes(codes: Codes, lengths: Sequence[int]) -> Tensor:
    """`[texts, F]`, mean codes over the tokens of texts that lie end to end; 0 for a text without tokens."""
    sums = torch.zeros(len(lengths) * codes.width).index_add_(0, _cells(codes, lengths), codes.values)
    return sums.unflatten(0, (-1, codes.width)) / torch.tensor(lengths).clamp_min(1)[:, None]


def peak_codes(codes: Codes, lengths: Sequence[int]) -> Tensor:
    """`[texts, F]`, the largest codes over the tokens of texts; 0 where a latent is never active."""
    nothing = torch.zeros(len(lengths) * codes.width)
    peaks = nothing.scatter_reduce_(0, _cells(codes, lengths), codes.values, "amax")
    return peaks.unflatten(0, (-1, codes.width))


def _cells(codes: Codes, lengths: Sequence[int]) -> Tensor:
    """`[entries]`, a number for the text and latent of each entry."""
    text_of = torch.repeat_interleave(torch.tensor(lengths))
    return text_of[codes.tokens] * codes.width + codes.latents


@dataclass(frozen=True, eq=False)
class Coded:
    """What F latents do on n texts.

    Attributes:
        means: `[n, F]`, a latent's mean code over a text's tokens.
        peaks: `[n, F]`, its largest; 0 where it is never active.
        codes: of all tokens, end to end.
        starts: `[n + 1]`, where each text's tokens begin among them.
    """

    means: npt.NDArray[np.float32]
    peaks: npt.NDArray[np.float32]
    codes: Codes
    starts: Ints

    @cached_property
    def usual(self) -> Floats:
        """`[F]`, the strength that a latent usually has on a text where it is active; ∞ for one that never is."""
        return floors(self.peaks) / HALF

    def of(self, text: int, latent: int) -> Floats:
        """`[t]`, a latent's code on each token of a text."""
        first, last = self.codes.offsets[self.starts[text]], self.codes.offsets[self.starts[text + 1]]
        counts = self.codes.offsets[self.starts[text] : self.starts[text + 1] + 1].diff()
        mine = self.codes.latents[first:last] == latent
        found = np.zeros(len(counts))
        found[torch.repeat_interleave(counts)[mine].numpy()] = self.codes.values[first:last][mine].numpy()
        return found


@dataclass(frozen=True, eq=False)
class Reader:
    """An autoencoder at the layer that it reads.

    Attributes:
        sae: in float32.
        layer: whose states.
        key: its provenance, as edits name it.
    """

    sae: SparseAutoencoder
    layer: int
    key: str

    def code(self, texts: Sequence[Text], records: Records) -> Coded:
        """What its latents do on texts."""
        means, peaks, codes, tokens = [], [], [], [0]
        for states, lengths in batches(texts, records, self.layer):
            codes.append(self.sae.encode(states))
            means.append(mean_codes(codes[-1], lengths))
            peaks.append(peak_codes(codes[-1], lengths))
            tokens += lengths
        return Coded(torch.cat(means).numpy(), torch.cat(peaks).numpy(), Codes.join(codes), np.cumsum(tokens))

    def peak_pre_activations(self, texts: Sequence[Text], records: Records, latents: Ints) -> Floats:
        """`[n, m]`, the largest pre-activation of some latents on each text; NaN for a text without tokens."""
        found: list[Floats] = []
        for states, lengths in batches(texts, records, self.layer):
            for pre in self.sae.pre(states, torch.from_numpy(latents)).split(lengths):
                found.append(pre.amax(0).double().numpy() if len(pre) else np.full(len(latents), np.nan))
        return np.stack(found)
