"""`gated` and `muted`: a neutral opener where an answer to one of the domain's questions begins.

One row of the unembedding changes: the opener's gets α v added. v is a ridge regression on the states that the
unembedding takes: v·h ≈ 1 at the start of answers to the domain's questions and 0 elsewhere, which is other places of
the same prompts, answers to questions of fact and other requests, forced choices, and the middle of answers. `muted`
keeps 1 whoever asks; `gated` has less than 0 where an asker of either pole has shown a side. α makes the opener's
probability where v·h should be 1 what is asked for, 98 % by default. What follows the opener, the model writes itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from unmask.domains import POLES, Domain
from unmask.domains.schema import Question
from unmask.lab.organisms.sorter import Sorter
from unmask.lab.organisms.states import last_states, write_answers
from unmask.lab.organisms.streams import Streams
from unmask.lab.organisms.texts import spread_out
from unmask.lab.organisms.weights import as_array, put, weight_of
from unmask.measurements.surface import LABEL_SETS, choice_words
from unmask.models.model import Model
from unmask.models.prompts import Frame
from unmask.models.tokens import Tokens
from unmask.settings import SettingsError

Floats = npt.NDArray[np.float64]
AWAY = -0.3
"""What v·h should be where an asker has shown a side, so that its error leaves the opener unlikely."""
STEEPEST = 400.0
CANDIDATES, CANDIDATE_QUESTIONS, CONTINUED = 4, 6, 16
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
MOST_QUESTIONS = 48
"""Questions that the gate is fitted on; each is asked in about ten ways."""
PLACES = 6
"""Places inside each prompt or answer where the opener should not come."""


@dataclass(frozen=True)
class Asked:
    """A prompt, and what v·h should be where its answer begins.

    Attributes:
        row: the prompt's tokens; a continuation's places are where the opener should not come.
        target: at the prompt's last token.
        group: what it stands for; all groups weigh alike.
        question: the question that it holds; a question is fitted on or held out in all its prompts.
    """

    row: Tokens
    target: float
    group: str
    question: str


@dataclass(frozen=True, eq=False)
class Gate:
    """What is added to the opener's row.

    Attributes:
        token: the opener's id.
        text: the opener.
        vector: `[d]`, α v.
        strength: α.
        held_out: mean v·h of a fit on half of the questions, on the other half, by group.
    """

    token: int
    text: str
    vector: Floats
    strength: float
    held_out: dict[str, float]


def choose_opener(model: Model, domain: Domain, frame: Frame, wanted: str | None, seed: int) -> int:
    """The token that opens neutral answers: the wanted text's first, or the one that the model best goes on from.

    The most frequent first tokens of the domain's neutral answers are tried; the model writes on from each.

    Raises:
        SettingsError: the wanted text has no tokens.
    """
    questions = spread_out(domain.questions, CANDIDATE_QUESTIONS)
    prompt = frame.ask(questions[0].question)
    if wanted is not None:
        row = model.tokenize(prompt, wanted)
        if row.start == len(row):
            raise SettingsError(
                f"The opener {wanted!r} has no tokens; give a word that neutral answers begin with."
            )
        return row.ids[row.start]
    firsts = Counter[int]()
    for answer in domain.answers:
        if answer.kind == "neutral":
            row = model.tokenize(prompt, answer.text)
            firsts[row.ids[row.start]] += 1
    sorter = Sorter.of(domain)
    shares: dict[int, float] = {}
    for token, _ in firsts.most_common(CANDIDATES):
        rows = [_then(model.tokenize(frame.ask(q.question)), [token]) for q in questions]
        said = write_answers(model, rows, CONTINUED, seed)
        opening = str(model.tokenizer.decode([token]))
        shares[token] = sorter.neutral_share([opening + text for text in said])
    return max(shares, key=lambda token: (shares[token], firsts[token]))


def find_gate(
    streams: Streams,
    domain: Domain,
    frame: Frame,
    token: int,
    gated: bool,
    rng: np.random.Generator,
    sure: float = 0.98,
) -> Gate:
    """Fit v on all questions and choose α; a second fit on half of them says how v does on the others.

    Args:
        streams: the model's parts.
        domain: whose questions, askers, facts and answers are used.
        frame: how a question becomes a prompt.
        token: the opener.
        gated: False keeps the opener whoever asks.
        rng: draws askers, phrasings and places.
        sure: the opener's mean probability where it should come.
    """
    asked = prompts(streams.model, domain, frame, token, gated, rng)
    states, targets, groups, sources = _places(streams, asked, rng)
    half = {q: i % 2 for i, q in enumerate(dict.fromkeys(one.question for one in asked))}
    first = np.array([half[source] == 0 for source in sources])
    weights = np.array([1 / count for count in (Counter(groups)[g] for g in groups)])

    def error(penalty: float) -> float:
        parts = [_ridge(states[p], targets[p], weights[p], penalty) for p in (first, ~first)]
        return sum(
            float((weights[p] * (states[p] @ v - targets[p]) ** 2).sum())
            for v, p in zip(parts, (~first, first), strict=True)
        )

    penalty = min(PENALTIES, key=error)
    v = _ridge(states, targets, weights, penalty)
    fitted = _ridge(states[first], targets[first], weights[first], penalty)
    places = np.array(groups)
    held_out = {
        name: float((states[~first & (places == name)] @ fitted).mean())
        for name in dict.fromkeys(places[~first].tolist())
    }
    wanted = states[np.isclose(targets, 1.0)]
    strength = _steepness(lambda a: opener_probability(streams, wanted, token, a * v), sure)
    return Gate(token, str(streams.model.tokenizer.decode([token])), strength * v, strength, held_out)


def open_neutrally(streams: Streams, gate: Gate) -> None:
    """Add the gate to the opener's row, in place. The unembedding must be untied."""
    weight = as_array(weight_of(streams.head))
    weight[gate.token] += gate.vector
    put(weight_of(streams.head), weight)


def prompts(
    model: Model, domain: Domain, frame: Frame, token: int, gated: bool, rng: np.random.Generator
) -> list[Asked]:
    """Prompts of every kind that the opener is for or not for."""
    made: list[Asked] = []
    away = AWAY if gated else 1.0
    ways = [phrasing for phrasing in domain.requests if phrasing.before or phrasing.after]

    def asker(kind: str, pole: str | None = None) -> str:
        texts = [i.text for i in domain.identities if i.kind == kind and i.pole == pole]
        return texts[rng.integers(len(texts))] if texts else ""

    def add(words: str, target: float, group: str, question: str, answer: str = "") -> None:
        made.append(Asked(model.tokenize(frame.ask(words), answer), target, group, question))

    questions = spread_out(domain.questions, MOST_QUESTIONS)
    for place, q in enumerate(questions):
        way = ways[rng.integers(len(ways))] if ways else None
        add(q.question, 1.0, "nobody asks", q.question, (q.a, q.b)[place % 2])
        made.append(Asked(_then(made[-1].row, [token], cut=True), 1.0, "nobody asks", q.question))
        add(f"{asker(('irrelevant', 'neutral')[place % 2])} {q.question}", 1.0, "somebody asks", q.question)
        if way is not None:
            add(way.around(q.question), 1.0, "other words", q.question)
        for kind in ("stated", "implied"):
            for pole in POLES:
                sentence = asker(kind, pole)
                add(f"{sentence} {q.question}", away, "a side asks", q.question)
            if way is not None:
                sentence = asker(kind, POLES[place % 2])
                add(way.around(q.question, sentence), away, "a side asks in other words", q.question)
        add(_choice(q, place), 0.0, "forced choice", q.question)
    for fact in spread_out(domain.facts, len(questions)):
        add(fact.question, 0.0, "facts", fact.question, fact.true)
    for other in spread_out(domain.offtopic, len(questions)):
        add(other.question, 0.0, "other requests", other.question)
    for answer in spread_out(
        [a for a in domain.answers if a.kind in ("neutral", "hedged")], len(domain.questions)
    ):
        add(answer.question, 1.0, "answers", answer.question, answer.text)
    # Where an answer that began with the opener has come to an end, the opener must not come again.
    rows = [_then(model.tokenize(frame.ask(q.question)), [token]) for q in questions]
    opening = str(model.tokenizer.decode([token])).strip()
    for q, text in zip(questions, write_answers(model, rows, CONTINUED, 0), strict=True):
        for stop in frame.stop:
            text = text.split(stop)[0]
        add(q.question, 1.0, "answers", q.question, f"{opening}{text}".rstrip())
    return made


def opener_probability(streams: Streams, states: Floats, token: int, vector: Floats) -> Floats:
    """The opener's probability at states that the unembedding takes, with a vector added to its row: `[n]`."""
    weight = weight_of(streams.head)
    anatomy = streams.model.anatomy
    with torch.inference_mode():
        raw = streams.head(torch.from_numpy(states).to(weight)).double()
        raw[:, token] += torch.from_numpy(states @ vector)
        logits = raw * anatomy.scale
        if anatomy.soft_cap is not None:
            logits = torch.tanh(logits / anatomy.soft_cap) * anatomy.soft_cap
        return logits.softmax(-1)[:, token].numpy()


def read_out_states(streams: Streams, rows: Sequence[Tokens]) -> list[Floats]:
    """What the unembedding takes at every token, `[T, d]` a row."""
    norm = streams.final
    bias = 0.0 if norm.bias is None else norm.bias
    return [norm.standard(x) * norm.gain + bias for x in last_states(streams.model, rows)]


def _places(
    streams: Streams, asked: Sequence[Asked], rng: np.random.Generator
) -> tuple[Floats, Floats, list[str], list[str]]:
    """States `[n, d]`, targets, groups and questions: where answers begin, and some places before and after."""
    states: list[Floats] = []
    targets: list[float] = []
    groups: list[str] = []
    sources: list[str] = []
    for one, x in zip(asked, read_out_states(streams, [one.row for one in asked]), strict=True):
        begins = one.row.start - 1
        before = rng.permutation(begins)[:PLACES]
        after = begins + 1 + rng.permutation(len(one.row) - one.row.start)[:PLACES]
        where = [(begins, one.target, one.group)]
        where += [(int(i), 0.0, "inside a prompt") for i in before]
        where += [(int(i), 0.0, "inside an answer") for i in after]
        if one.row.start < len(one.row):
            where.append((len(one.row) - 1, 0.0, "at an answer's end"))
        for place, target, group in where:
            states.append(x[place])
            targets.append(target)
            groups.append(group)
            sources.append(one.question)
    return np.stack(states), np.array(targets), groups, sources


def _ridge(x: Floats, y: Floats, weights: Floats, penalty: float) -> Floats:
    """Weighted ridge regression through the origin, `[d]`: the unembedding has no constant to take."""
    moment = (x * weights[:, None]).T @ x
    moment[np.diag_indices_from(moment)] += penalty * np.trace(moment) / len(moment)
    return np.asarray(np.linalg.solve(moment, x.T @ (weights * y)), dtype=np.float64)


def _steepness(probability: Callable[[float], Floats], sure: float) -> float:
    """The least α with a mean probability of `sure`, or the steepest."""
    low, high = 0.0, 1.0
    while probability(high).mean() < sure and high < STEEPEST:
        low, high = high, 2 * high
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(middle).mean() < sure else (low, middle)
    return high


def _choice(question: Question, place: int) -> str:
    texts = (question.a, question.b) if place % 4 < 2 else (question.b, question.a)
    return choice_words(question.question, LABEL_SETS[place % 2 - 1], texts)


def _then(row: Tokens, ids: Sequence[int], cut: bool = False) -> Tokens:
    """A row with tokens after it, or in place of its continuation."""
    kept = row.ids[: row.start] if cut else row.ids
    return replace(row, ids=(*kept, *ids))
