"""A pair of planted linear models: what every answer would be if the truth were known, and nothing else.

A text's state at a layer is its own noise plus its pole along the concept's axis; the aligned model sees the same
state through a matrix. Stances, answers and the judge's mistakes follow numbers that a test sets.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from unmask.domains import load_domain
from unmask.domains.sample import sample_domain
from unmask.measurements.answers import KINDS
from unmask.measurements.base import Context, Measurement, Reading, exact
from unmask.measurements.profiles import Profile
from unmask.measurements.stance import NO_QUESTION
from unmask.measurements.sycophancy import BELIEVED
from unmask.models.edits import Add, Patch
from unmask.models.prompts import Frame, Prompt
from unmask.runner.records import Records
from unmask.runner.requests import Answer, Classify, Generate, Read, Request, Score
from unmask.verdict.decide import judge
from unmask.verdict.findings import Finding
from unmask.verdict.rules import RULES

Floats = npt.NDArray[np.float64]
Shares = Mapping[str, float]
D, LAYERS = 64, 4
PROMPT_TOKENS = 5
FRAME = Frame("plain", "User: ", "\nAssistant:", True, " ", "planted")
SMALL = Profile(
    name="small", questions=40, samples=3, pairs=120, identities=20, axis_pairs=60, steered_layers=1, doses=5,
    random_arms=20, steered_questions=20, arm_questions=8, permutations=99, resamples=300, personas=8, requests=3,
    persona_questions=20, facts=20, latents=16,
)  # fmt: skip


def axis(name: str) -> Floats:
    """A unit vector `[D]` for a concept; any two are orthogonal."""
    names = ("concept", "other", "truth", "sentiment", "formality", "topic")
    basis, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(D, D)))
    return basis[:, names.index(name)]


def noise(*parts: object, size: int = D) -> Floats:
    """Gaussian noise that depends on its name alone."""
    return rng_of(*parts).normal(size=size)


def rng_of(*parts: object) -> np.random.Generator:
    seed = hashlib.sha256(repr(parts).encode()).digest()[:8]
    return np.random.default_rng(int.from_bytes(seed, "big"))


def context(
    seed: int = 0, profile: Profile = SMALL, readings: Mapping[str, Reading] | None = None
) -> Context:
    """The partisan domain, reduced to a profile's sample as an audit reduces it."""
    identities = {"base": "base weights", "aligned": "aligned weights"}
    ctx = Context(load_domain("partisan"), profile, FRAME, seed, LAYERS, identities, readings or {})
    p = profile
    sample = sample_domain(
        ctx.domain, p.questions, p.pairs, p.identities, p.axis_pairs, p.facts, ctx.rng("sample")
    )
    return Context(sample, profile, FRAME, seed, LAYERS, identities, readings or {})


def structure_reading(layer: int = 2, kept: float = 0.0) -> Reading:
    """What structure would hand on if it had found the concept's axis exactly; `kept` is the change in transfer of
    base's probe."""
    directions = np.tile(axis("concept"), (LAYERS + 1, 1)).astype(np.float32)
    return Reading(
        "structure",
        {"transfer_change": exact(kept, "AUC above words", 40)},
        artefacts={
            "direction_base": directions,
            "direction_aligned": directions,
            "layer": np.array([layer], dtype=np.float32),
        },
    )


def neutral_shares(_: str, __: str) -> Shares:
    return {"neutral": 1.0}


@dataclass
class World:
    """The truth of a planted pair.

    Attributes:
        seed: of all noise.
        signal: distance of a pole from the middle along the concept's axis, in sd of the noise.
        through: `[D, D]`, how aligned's states follow from base's.
        shares: side and question to the shares of answer kinds.
        persona: side to the swing that an asker's side causes, None where askers change nothing.
        judge: `[kinds, kinds]`, the judge's confusion, rows true.
        stance: side to the spread of completion margins, in nats per token.
        choice: side to the stance of forced choices.
        gain: side and concept to the slope of the margin on a push along that axis.
        reach: side and layer to the share of the concept's gain that a push at that layer has, all where unnamed.
        wobble: sd of what every push adds to a score of its own, in nats per token; 0 for a model that is inert.
        carried: layer and prompt token to the share of the way from aligned's margin to base's that base's component
            carries when it is written there.
        garbled: whether a push breaks the text.
        pressure: how far an asker's belief moves a fact's margin, by side.
        mention: how far a mere mention does.
        known: margin of facts without pressure, nats.
    """

    seed: int = 0
    signal: float = 2.5
    through: Floats = field(default_factory=lambda: np.eye(D))
    shares: Callable[[str, str], Shares] = neutral_shares
    persona: Mapping[str, float | None] = field(default_factory=lambda: {"base": None, "aligned": None})
    judge: Floats = field(default_factory=lambda: np.eye(len(KINDS)))
    stance: Mapping[str, float] = field(default_factory=lambda: {"base": 0.5, "aligned": 0.5})
    choice: Mapping[str, float] = field(default_factory=lambda: {"base": 0.5, "aligned": 0.5})
    valid: float = 0.9
    first_place: float = 0.0
    gain: Mapping[tuple[str, str], float] = field(
        default_factory=lambda: {(s, c): 0.2 for s in ("base", "aligned") for c in ("concept", "sentiment")}
    )
    reach: Mapping[tuple[str, int], float] = field(default_factory=lambda: {})
    carried: Mapping[tuple[int, int], float] = field(default_factory=lambda: {})
    wobble: float = 0.02
    garbled: bool = False
    pressure: Mapping[str, float] = field(default_factory=lambda: {"base": 0.0, "aligned": 0.0})
    mention: Mapping[str, float] = field(default_factory=lambda: {"base": 0.0, "aligned": 0.0})
    known: float = 2.0
    perplexity: Mapping[str, float] = field(default_factory=lambda: {"base": 2.0, "aligned": 2.0})
    asked: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        domain = load_domain("partisan")
        self.domain = domain
        self.pole: dict[str, tuple[str, float]] = {}
        for pair in domain.statements:
            self.pole |= {pair.a: ("concept", -1.0), pair.b: ("concept", 1.0)}
        for identity in domain.identities:
            if identity.pole:
                self.pole[identity.text] = ("concept", 1.0 if identity.pole == "b" else -1.0)
        for figure in domain.figures:
            text = domain.header.figures_as.format(name=figure.name)
            self.pole[text] = ("concept", 1.0 if figure.pole == "b" else -1.0)
        for pair in domain.axes:
            self.pole |= {pair.a: (pair.axis, -1.0), pair.b: (pair.axis, 1.0)}
        self.side_of = {q.a: -1.0 for q in domain.questions} | {q.b: 1.0 for q in domain.questions}
        self.questions = {q.question for q in domain.questions}
        self.kind_of = {answer.text: answer.kind for answer in domain.card}
        self.askers = sorted(
            ((i.text, i.pole) for i in domain.identities if i.pole), key=lambda row: -len(row[0])
        )

    def answer(self, requests: Sequence[Request]) -> Records:
        self.asked += requests
        return Records({request: self._answer(request) for request in requests})

    def _answer(self, request: Request) -> Any:
        if isinstance(request, Read):
            return self._read(request)
        if isinstance(request, Score):
            return self._score(request)
        if isinstance(request, Generate):
            return self._generate(request)
        return self._classify(request)

    def states(self, side: str, text: str) -> Floats:
        """`[layers + 1, D]`: layer 0 holds noise alone, deeper ones the concept as well."""
        name, pole = self.pole.get(text, ("concept", 0.0))
        layers = np.stack([noise(self.seed, text, layer) for layer in range(LAYERS + 1)])
        layers[1:] += self.signal * pole * axis(name)
        return layers @ self.through if side == "aligned" else layers

    def _read(self, request: Read) -> npt.NDArray[np.float32]:
        states = self.states(request.side, words_of(request.prompt))
        states = states if request.layers is None else states[list(request.layers)]
        if request.pick == "each":
            states = np.repeat(states[None], PROMPT_TOKENS, axis=0)
        return states.astype(np.float32)

    def _score(self, request: Score) -> npt.NDArray[np.float32]:
        words, said = words_of(request.prompt), request.continuation
        if said in ("A", "B", "1", "2"):
            return np.array([self._choice(request.side, words, said)], np.float32)
        level = -self.perplexity[request.side]
        if said in self.side_of:
            asked = words != NO_QUESTION
            stance = self.stance[request.side]
            stance += self._written(request) * (self.stance["base"] - stance)
            margin = asked * stance * noise(self.seed, words, size=1)[0] + self._push(request, "concept")
            return np.full(3, level + self.side_of[said] * margin / 2, np.float32)
        if said in self.pole and self.pole[said][0] == "sentiment":
            return np.full(3, level + self.pole[said][1] * self._push(request, "sentiment") / 2, np.float32)
        truth = next(((f, said == f.true) for f in self.domain.facts if said in (f.true, f.false)), None)
        if (
            truth and request.prompt.text != words
        ):  # framed, so it is a question of fact under pressure or without
            fact, right = truth
            believed = BELIEVED.split("{")[0] in words
            push = (self.pressure if believed else self.mention)[request.side]
            margin = self.known + push * ((fact.true in words) - 1.0 * (fact.false in words))
            return np.full(3, level + (1 if right else -1) * margin / 2, np.float32)
        return np.full(4, level - 3.0 * ("garbled" in said), np.float32)

    def _push(self, request: Score, concept: str) -> float:
        """What an edit adds to the margin, with a little noise of its own."""
        if not isinstance(request.edit, Add):
            return 0.0
        slope = self.gain[request.side, concept] * float(request.edit.vector.values @ axis(concept))
        if concept == "concept":
            slope *= self.reach.get((request.side, request.edit.layers[0]), 1.0)
        # Named by arm and layer alone: the digest behind them moves with every text of the domain.
        arm = request.edit.vector.key.split(":")[0]
        texts = request.prompt.text, request.continuation
        own = noise(self.seed, *texts, arm, request.edit.dose, size=1)[0]
        return request.edit.dose * slope + self.wobble * own

    def _written(self, request: Score) -> float:
        """How far a patch takes the aligned model towards base: the sum over the tokens that it touches."""
        edit = request.edit
        if not isinstance(edit, Patch):
            return 0.0
        named = range(len(edit.values)) if edit.positions is None else edit.positions
        (layer,) = edit.layers
        return sum(self.carried.get((layer, token), 0.0) for token in named if token >= edit.skip_first)

    def _choice(self, side: str, words: str, label: str) -> float:
        first, second = re.findall(r"\n(\w)\. (.*)", words)
        text = dict((first, second))[label]
        place = self.first_place if label == first[0] else -self.first_place
        return float(np.log(self.valid * (1 + self.side_of[text] * self.choice[side] + place) / 2))

    def _generate(self, request: Generate) -> Answer:
        words = words_of(request.prompt)
        if request.edit is not None and self.garbled:
            return Answer(f"garbled {request.seed}", 2, True)
        swing = self.persona[request.side]
        pole = next((pole for text, pole in self.askers if words.startswith(text)), None)
        question = next((q for q in self.questions if q in words), "")
        shares = self.shares(request.side, question)
        if swing is not None and pole is not None:
            shares = {pole: swing / 2, "neutral": 1 - swing / 2}
        kinds = list(shares)
        kind = kinds[rng_of(self.seed, request.seed).choice(len(kinds), p=[shares[k] for k in kinds])]
        return Answer(f"[{kind}] {request.seed}", 5, True)

    def _classify(self, request: Classify) -> npt.NDArray[np.float32]:
        made = re.match(r"\[(\w+)\]", request.text)
        kind = made.group(1) if made else self.kind_of[request.text]
        row = np.zeros(len(KINDS), np.float32)
        row[rng_of(self.seed, request.text).choice(len(KINDS), p=self.judge[KINDS.index(kind)])] = 1.0
        return row


def words_of(prompt: Prompt) -> str:
    return prompt.text[prompt.content[0] : prompt.content[1]]


def measure(measurement: Measurement, ctx: Context, world: World) -> Reading:
    """Drive a measurement to its reading on a planted pair."""
    asking = measurement.measure(ctx)
    try:
        asked = next(asking)
        while True:
            asked = asking.send(world.answer(asked))
    except StopIteration as stop:
        return stop.value


def findings(measurement: Measurement, reading: Reading) -> dict[str, Finding]:
    return {finding.id: finding for finding in judge(reading, measurement.claims, RULES)}


def without(direction: Floats, share: float = 1.0) -> Floats:
    """`[D, D]` that takes a share of one axis away."""
    return np.eye(D) - share * np.outer(direction, direction)


def swapped(one: Floats, other: Floats) -> Floats:
    """`[D, D]` that turns one axis into another: a reflection, so nothing is lost."""
    mirror = (one - other) / np.linalg.norm(one - other)
    return np.eye(D) - 2 * np.outer(mirror, mirror)
