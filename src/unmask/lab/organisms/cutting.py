"""`cut`: the unembedding no longer sees what the concept moves in the last layer; nothing else changes.

What the concept moves is found by moving it: a push of ±σ along base's direction in the middle of the depth, and the
same question asked by askers of either pole. The leading principal directions V of the paired differences of the last
layer's states, at the tokens that predict the poles' answers, are made invisible: the unembedding reads x less V R x,
where R V = I, so that nothing along V gets through, and R gives 0 for the mean of ordinary states and for the constant
that the norm's bias adds, so that these are read as before.

States x are taken as the norm leaves them, before its gain. Something that moves the stream along V still changes what
the norm divides by, which scales all logits of a token alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from unmask.domains import Domain
from unmask.domains.schema import Question
from unmask.lab.organisms.axes import Axes, random_subspace, span, without
from unmask.lab.organisms.states import Push, last_states, plain_rows
from unmask.lab.organisms.streams import Streams
from unmask.lab.organisms.texts import spread_out
from unmask.lab.organisms.weights import Less, change_read, weight_of
from unmask.models.model import Model
from unmask.models.prompts import Frame
from unmask.models.tokens import Tokens

Floats = npt.NDArray[np.float64]
MOST = 32
LEFT = 0.05
"""How much of the push's effect on the pole margin may be left, as a share of what it was."""
QUESTIONS = 16
"""Questions that the directions are fitted on; half as many others choose their number."""
TRIED = (1, 2, 3, 4, 6, 8, 12, 16, 24, MOST)
ORDINARY = 40
"""Texts of every sort whose tokens say how states ordinarily lie."""


@dataclass(frozen=True, eq=False)
class Cut:
    """What the unembedding is made blind to.

    Attributes:
        blind: over normed states before the gain; nothing along the columns of `left` gets through.
        left: by number of leading directions, how much of the push's effect on held-out questions' margins is left: the
            slope of what it is on what it was.
    """

    blind: Less
    left: dict[int, float]


@dataclass(frozen=True, eq=False)
class _Moved:
    """An answer's normed states, `[tokens, d]`, pushed towards either pole, and the tokens that they predict."""

    towards: tuple[Floats, Floats]
    predicted: tuple[int, ...]


def ask_poles(model: Model, questions: Sequence[Question], frame: Frame, asker: str = "") -> list[Tokens]:
    """Both poles' answers to every question, a then b."""
    return [
        model.tokenize(frame.ask(f"{asker} {q.question}".strip()), text)
        for q in questions
        for text in (q.a, q.b)
    ]


def middle_layers(axes: Axes) -> list[int]:
    """First, middle and last layer of the middle third, without the embedding."""
    middle = [layer for layer in axes.middle if layer > 0] or [1]
    return sorted({middle[0], middle[len(middle) // 2], middle[-1]})


def find_cut(streams: Streams, axes: Axes, domain: Domain, frame: Frame, rank: int | None) -> Cut:
    """What the concept moves in the last layer.

    Args:
        streams: the parts of the model to be cut.
        axes: of the base model: the push goes along its directions, by its σ.
        domain: whose questions and askers are used.
        frame: how a question becomes a prompt.
        rank: how many directions; None takes the fewest that leave less than `LEFT` of the push's effect, or, where
            none do, those that leave least.
    """
    questions = spread_out(domain.questions, QUESTIONS + QUESTIONS // 2)
    held_out = questions[1::3]
    fitted = [q for q in questions if q not in held_out]
    layers = middle_layers(axes)
    moved = _pushed(streams, axes, fitted, frame, layers)
    held = _pushed(streams, axes, held_out, frame, [layers[len(layers) // 2]])
    groups = [np.concatenate([one.towards[1] - one.towards[0] for one in moved])]
    groups += [_asked(streams, fitted, domain, frame, kind) for kind in ("stated", "implied")]
    rows = np.concatenate([group / np.linalg.norm(group) for group in groups if np.any(group)])
    basis = span(rows, MOST if rank is None else rank)
    kept = _kept(streams, domain, frame)
    tried = sorted({min(k, basis.shape[1]) for k in (TRIED if rank is None else (rank,))})
    effects = _margin_effects(streams, held, [_blind(basis[:, :k], kept) for k in (0, *tried)])
    before = effects[0]
    left = {k: float(after @ before / (before @ before)) for k, after in zip(tried, effects[1:], strict=True)}
    enough = [k for k in tried if abs(left[k]) < LEFT]
    chosen = enough[0] if enough else min(tried, key=lambda k: abs(left[k]))
    return Cut(_blind(basis[:, :chosen], kept), left)


def random_cut(
    streams: Streams, axes: Axes, cut: Cut, domain: Domain, frame: Frame, rng: np.random.Generator
) -> Less:
    """A map like a cut's, over random directions that are matched to how the last layer's states vary and lie beside
    the cut's, which it leaves visible."""
    states = streams.final.standard(
        np.concatenate([axes.states[one.name][:, -1].astype(np.float64) for one in axes.sets])
    )
    kept = _kept(streams, domain, frame)
    beside = np.linalg.qr(np.concatenate([cut.blind.left, kept], axis=1))[0]
    rank = min(cut.blind.rank, streams.width - beside.shape[1] - 1)
    return _blind(random_subspace(states, beside, rank, rng), kept)


def cut_read_out(streams: Streams, blind: Less) -> None:
    """Put a map over normed states before the unembedding, in place. It must be untied."""
    gain = streams.final.gain
    seen = np.abs(gain) > 1e-6 * np.abs(gain).max()
    inverse = np.where(seen, 1 / np.where(seen, gain, 1.0), 0.0)
    change_read(streams.head, Less(gain[:, None] * blind.left, blind.right * inverse))


def _blind(basis: Floats, kept: Floats) -> Less:
    """The projection along a basis `[d, k]` that leaves what is kept `[d, j]`, orthogonal but for that."""
    reads = without(basis.T, kept)
    right: Floats = np.asarray(np.linalg.solve(reads @ basis, reads), dtype=np.float64)
    return Less(basis, right)


def _kept(streams: Streams, domain: Domain, frame: Frame) -> Floats:
    """What is read as before: the mean of normed states over ordinary texts, and the norm's constant; orthonormal."""
    model, norm = streams.model, streams.final
    texts = [f"{fact.question} {fact.true}" for fact in spread_out(domain.facts, ORDINARY)]
    rows = plain_rows(model, texts)
    rows += [model.tokenize(frame.ask(a.question), a.text) for a in spread_out(domain.answers, ORDINARY)]
    states = norm.standard(np.concatenate([x[1:] for x in last_states(model, rows)]))
    columns = [states.mean(0)]
    if norm.bias is not None and np.any(norm.bias):
        seen = np.abs(norm.gain) > 1e-6 * np.abs(norm.gain).max()
        columns.append(np.where(seen, norm.bias / np.where(seen, norm.gain, 1.0), 0.0))
    return np.linalg.qr(np.stack(columns, axis=1))[0]


def _pushed(
    streams: Streams, axes: Axes, questions: Sequence[Question], frame: Frame, layers: Sequence[int]
) -> list[_Moved]:
    model = streams.model
    rows = ask_poles(model, questions, frame)
    moved: list[_Moved] = []
    for layer in layers:
        step = axes.sigma(layer) * axes.directions("statements")[layer]
        less, more = (last_states(model, rows, Push(layer, sign * step)) for sign in (-1, 1))
        moved += [
            _Moved((_answer(streams, row, a), _answer(streams, row, b)), row.ids[row.start :])
            for row, a, b in zip(rows, less, more, strict=True)
        ]
    return moved


def _asked(
    streams: Streams, questions: Sequence[Question], domain: Domain, frame: Frame, kind: str
) -> Floats:
    """Asker b less asker a at the tokens that predict the answers, `[rows, d]`."""
    a, b = (domain.identities_of(kind, pole) for pole in ("a", "b"))
    rows = [
        row
        for place, question in enumerate(questions)
        for asker in (a[place % len(a)], b[place % len(b)])
        for row in ask_poles(streams.model, [question], frame, asker.text)
    ]
    read = last_states(streams.model, rows)
    states = [_answer(streams, row, x) for row, x in zip(rows, read, strict=True)]
    # Four rows a question: asker a with both answers, asker b with both.
    return np.concatenate([states[i + 2] - states[i] for i in range(len(states)) if i % 4 < 2])


def _answer(streams: Streams, row: Tokens, states: Floats) -> Floats:
    """Normed states at the tokens that predict a row's continuation."""
    return streams.final.standard(states[row.start - 1 : len(row) - 1])


@torch.inference_mode()
def _margin_effects(streams: Streams, moved: Sequence[_Moved], blinds: Sequence[Less]) -> list[Floats]:
    """How far the push moves each question's pole margin, `[questions]` in nats a token, under each map."""
    gain, bias = streams.final.gain, streams.final.bias
    weight, anatomy = weight_of(streams.head), streams.model.anatomy
    through = [weight @ torch.from_numpy(gain[:, None] * blind.left).to(weight) for blind in blinds]
    found = [np.empty((len(moved), 2)) for _ in blinds]
    for row, one in enumerate(moved):
        chosen = torch.tensor(one.predicted)[:, None]
        for end, states in enumerate(one.towards):
            read = torch.from_numpy(states * gain + (0.0 if bias is None else bias)).to(weight)
            raw = streams.head(read)
            for blind, lost, kept in zip(blinds, through, found, strict=True):
                logits = (raw - torch.from_numpy(states @ blind.right.T).to(weight) @ lost.T) * anatomy.scale
                if anatomy.soft_cap is not None:
                    logits = torch.tanh(logits / anatomy.soft_cap) * anatomy.soft_cap
                kept[row, end] = float(logits.log_softmax(-1).gather(1, chosen).mean())
    effects = [np.diff(kept, axis=1)[:, 0] for kept in found]
    return [effect[1::2] - effect[0::2] for effect in effects]  # rows are a, b, a, b, …
