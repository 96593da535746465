"""From texts to the rows that a stream forwards: tokenised, cut, mixed, packed into shards; no model runs."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unmask.models.errors import ModelError
from unmask.models.files.gguf import quiet
from unmask.models.model import Model
from unmask.models.prompts import Frame, Prompt
from unmask.models.tokenizing import tokenize
from unmask.models.tokens import Tokens

LEAST = 8
"""Tokens of a row: what is shorter is left out, since its states say more of a beginning than of the text."""

Ids = NDArray[np.int32]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pieces:
    """What is forwarded, as compact arrays: P pieces of documents with N tokens.

    Attributes:
        opening: ids that the tokenizer puts before any text; they begin every row and are not among `ids`.
        ids: `[N]`, the documents' tokens end to end.
        starts: `[P]`, where in `ids` a piece begins.
        lengths: `[P]`, tokens of a piece.
        documents: `[P]`, which document it is of.
        positions: `[P]`, which of its document's tokens its first is.
        texts: SHA-256 of the documents.
    """

    opening: tuple[int, ...]
    ids: Ids
    starts: Numbers
    lengths: Numbers
    documents: Numbers
    positions: Numbers
    texts: str

    @property
    def silent(self) -> int:
        """Tokens at the beginning of a piece whose states are left out: one, unless an opening stands before it."""
        return 0 if self.opening else 1

    @property
    def counts(self) -> Numbers:
        """`[P]`, tokens of a piece whose states are kept."""
        return self.lengths - self.silent

    @property
    def rows(self) -> Numbers:
        """`[P]`, tokens that the model is shown."""
        return self.lengths + len(self.opening)

    def row(self, piece: int) -> Tokens:
        """What the model is shown of a piece."""
        start = self.starts[piece]
        ids = (*self.opening, *self.ids[start : start + self.lengths[piece]].tolist())
        return Tokens(ids, (1, len(ids)), len(ids))

    def kept(self) -> tuple[Ids, Ids, Ids]:
        """Document, position and id of every token whose state is kept, piece by piece: three of `[sum of counts]`."""
        documents = np.repeat(self.documents, self.counts)
        positions = _runs(self.positions + self.silent, self.counts)
        ids = self.ids[_runs(self.starts + self.silent, self.counts)]
        return documents.astype(np.int32), positions.astype(np.int32), ids

    def take(self, which: Numbers | slice) -> Pieces:
        """Some of the pieces, or all in another order."""
        return replace(
            self,
            starts=self.starts[which],
            lengths=self.lengths[which],
            documents=self.documents[which],
            positions=self.positions[which],
        )


def cut(models: Sequence[Model], documents: Sequence[str], window: int) -> Pieces:
    """Documents as rows of at most `window` tokens; those of fewer than `LEAST` are left out.

    Raises:
        ModelError: the models' tokenizers split a document differently, one gives ids that its model has no embedding
            for, or nothing is left.
    """
    opening = _opening(models[0])
    room = window - len(opening)
    ids = array("i")
    starts, lengths, whose, positions = (array("q") for _ in range(4))
    texts = hashlib.sha256()
    with quiet():  # no advice on documents longer than the context: they are cut
        for document, text in enumerate(documents):
            coded = text.encode()
            texts.update(len(coded).to_bytes(8, "little") + coded)
            first, *others = [tokenize(model.tokenizer, Frame.plain(text)).ids for model in models]
            for model, other in zip(models[1:], others, strict=True):
                if other != first:
                    raise _disagreement(document, (models[0], first), (model, other))
            body = first[len(opening) :]
            for start in range(0, len(body), room):
                length = min(room, len(body) - start)
                if length + len(opening) >= LEAST:
                    starts.append(len(ids) + start)
                    lengths.append(length)
                    whose.append(document)
                    positions.append(len(opening) + start)
            ids.extend(body)
    if not starts:
        raise ModelError(f"No document of the corpus has {LEAST} tokens; give longer texts.")
    found = np.frombuffer(ids, np.int32)
    for model in models:
        if found.max() >= model.anatomy.vocabulary:
            raise ModelError(
                f"The tokenizer of {model.name} gives id {found.max()}, but the model embeds "
                f"{model.anatomy.vocabulary} tokens; tokenizer and weights are not of the same model."
            )
    starts, lengths, whose, positions = (
        np.frombuffer(c, np.int64) for c in (starts, lengths, whose, positions)
    )
    return Pieces(opening, found, starts, lengths, whose, positions, texts.hexdigest())


def pack(counts: Numbers, room: int) -> list[int]:
    """Where shards begin among pieces of so many tokens, and where the last ends; empty where a piece is too large.

    Args:
        counts: `[P]`.
        room: most tokens of a shard.
    """
    if counts.max() > room:
        return []
    ends = np.concatenate([[0], np.cumsum(counts)])
    bounds = [0]
    while bounds[-1] < len(counts):
        bounds.append(int(np.searchsorted(ends, ends[bounds[-1]] + room, side="right")) - 1)
    return bounds


def batches(lengths: Numbers, at_once: int) -> Iterator[list[int]]:
    """Rows in parts of like lengths, longest first, each of at most so many tokens if padded, or of a single row."""
    part: list[int] = []
    for place in np.argsort(-lengths, kind="stable").tolist():
        if part and int(lengths[part[0]]) * (len(part) + 1) > at_once:
            yield part
            part = []
        part.append(place)
    if part:
        yield part


def _opening(model: Model) -> tuple[int, ...]:
    """Ids that a tokenizer puts before any text."""
    plain = Frame.plain("text")
    bare = model.tokenize(Prompt(plain.text, plain.content, special=False)).ids
    whole = model.tokenize(plain).ids
    return whole[: len(whole) - len(bare)]


def _disagreement(document: int, *sides: tuple[Model, tuple[int, ...]]) -> ModelError:
    (one, a), (other, b) = sides
    at = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    seen = [
        f"{ids[at]} ({model.tokenizer.decode([ids[at]])!r})" if at < len(ids) else "nothing more"
        for model, ids in sides
    ]
    return ModelError(
        f"{one.name} and {other.name} do not share a tokenizer: in document {document} token {at} (both from 0) is "
        f"{seen[0]} and {seen[1]}; a stream of two models needs the same tokens of both."
    )


def _runs(starts: Numbers, counts: Numbers) -> Numbers:
    """`counts` whole numbers from each of `starts` on, end to end."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))
