"""Features against planted ones: which carry the concept, which went silent, what pushing them does; and that nothing
is said with a dictionary that does not fit, or where nothing is to be found."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from measurements.planted import FRAME, LAYERS, SMALL, context, findings, measure, rng_of
from unmask.domains import load_domain
from unmask.features.autoencoder import JumpReLU, SparseAutoencoder
from unmask.features.crosscoder import Crosscoder
from unmask.features.dictionary import Dictionary
from unmask.measurements.base import Context, Reading, exact
from unmask.measurements.features import Features
from unmask.models.edits import Add, ClampLatents, Substitute
from unmask.models.prompts import Prompt
from unmask.runner.records import Records
from unmask.runner.requests import Answer, Generate, Read, Request, Score, Spans, request_key
from unmask.verdict.findings import Finding

Floats = npt.NDArray[np.float64]
D, F, LAYER = 64, 48, 2
OF_A, OF_B = (0, 1, 2, 3), (4, 5, 6, 7)
CONCEPT = OF_A + OF_B
IDENTITIES = {"base": "base weights", "aligned": "aligned weights"}
STYLE = tuple(range(8, F))
STRENGTH = 4.0
BASIS = np.linalg.qr(np.random.default_rng(5).normal(size=(D, D)))[0]
ROWS = BASIS[:F]  # what is not spanned is noise, which the dictionary leaves out
ELSEWHERE = np.random.default_rng(6).normal(size=len(STYLE)) @ ROWS[list(STYLE)] / np.sqrt(len(STYLE))
"""Other features move the stance a little as well, each in its own way."""


def dictionary(rows: Floats = ROWS) -> Dictionary:
    weights = torch.from_numpy(rows).float()
    threshold = JumpReLU(torch.full((len(rows),), 1.0))
    sae = SparseAutoencoder(weights, torch.zeros(len(rows)), weights, torch.full((D,), 0.25), threshold)
    return Dictionary("planted", sae, LAYER)


@dataclass
class World:
    """Two models whose states are sums of known features.

    Attributes:
        fires: side to how often a concept's feature is on at a token of an answer; on statements it is .3 in both.
        style: side to how often any other feature is, in answers.
        carries: whether the concept's features differ between the poles of statements.
        only_read: features that are never on in an answer.
        strength: side to how strong a concept's feature is, of what it is in base.
        words: side to the length of an answer.
        tremble: by how much another machine's states differ, of their size.
        lacks: features that the aligned model does not have.
        drives: side to what one unit along the concept adds to the stance margin, nats a token.
    """

    fires: Mapping[str, float] = field(default_factory=lambda: {"base": 0.3, "aligned": 0.3})
    style: Mapping[str, float] = field(default_factory=lambda: {"base": 0.2, "aligned": 0.2})
    carries: bool = True
    drives: Mapping[str, float] = field(default_factory=lambda: {"base": 0.05, "aligned": 0.05})
    only_read: list[int] = field(default_factory=list)
    strength: Mapping[str, float] = field(default_factory=lambda: {"base": 1.0, "aligned": 1.0})
    words: Mapping[str, int] = field(default_factory=lambda: {"base": 12, "aligned": 12})
    tremble: float = 0.0
    lacks: list[int] = field(default_factory=list)
    asked: list[Request] = field(default_factory=list)

    def __post_init__(self) -> None:
        domain = load_domain("partisan")
        self.pole = {text: pole for pair in domain.statements for text, pole in ((pair.a, 0), (pair.b, 1))}
        self.side_of = {q.a: -1.0 for q in domain.questions} | {q.b: 1.0 for q in domain.questions}

    def answer(self, requests: list[Request]) -> Records:
        self.asked += requests
        return Records({request: self._answer(request) for request in requests})

    def _answer(self, request: Request) -> Any:
        match request:
            case Spans():
                return np.array(spans(request.prompt.text), np.float32)
            case Read(pick="each"):
                return self.states(request.side, request.prompt)[:, None].astype(np.float32)
            case Read():
                mean = usual(self.states(request.side, request.prompt)).mean(0)
                return np.tile(mean, (LAYERS + 1, 1)).astype(np.float32)
            case Generate():
                length = self.words[request.side]
                words = rng_of("words", request.seed).integers(0, 400, length)
                return Answer(" ".join(f"w{word}" for word in words), length, True)
            case Score():
                return self._score(request)
            case _:
                raise TypeError(request)

    def on(self, side: str, prompt: Prompt) -> npt.NDArray[np.bool_]:
        """`[T, F]`, which features are on at each token."""
        text, found = prompt.text, spans(prompt.text)
        answer_begins = text.find(FRAME.after) + len(FRAME.after) if FRAME.after in text else len(text)
        on = np.zeros((len(found), F), bool)
        for t, (start, _) in enumerate(found):
            draws = rng_of("token", text, t).random(F)  # the same words are the same to both models
            rate = np.full(F, 0.2)
            rate[list(CONCEPT)] = 0.02
            if text in self.pole:
                own = (OF_A, OF_B)[self.pole[text]] if self.carries else CONCEPT
                rate[list(own)] = 0.3
            elif start >= answer_begins:
                rate[list(STYLE)] = self.style[side]
                rate[list(CONCEPT)] = self.fires[side]
                rate[self.only_read] = 0
            on[t] = draws < rate
        return on

    def states(self, side: str, prompt: Prompt) -> Floats:
        on = self.on(side, prompt)
        strong = STRENGTH * (1 + rng_of("strength", prompt.text).random(on.shape))
        strong[:, list(CONCEPT)] *= self.strength[side]
        left_out = rng_of("noise", prompt.text).normal(size=(len(on), D - F)) @ BASIS[F:]
        states = (on * strong) @ ROWS + 0.25 + 0.5 * left_out
        if side == "aligned":
            states -= (on * strong)[:, self.lacks] @ ROWS[self.lacks]
        states *= 1 + self.tremble * rng_of("tremble", prompt.text).normal(size=states.shape)
        states[0] = 1e4  # as massive as a real model's first token
        if prompt.text in self.pole and len(states) > 8 and rng_of("massive", prompt.text).random() < 0.05:
            states[7] = -1e4  # and as some other
        return states

    @cached_property
    def some(self) -> Mapping[str, Floats]:
        """Tokens on which an edit is tried out."""
        texts = list(self.pole)[:40]
        return {
            side: np.concatenate([usual(self.states(side, Prompt(text, (0, len(text))))) for text in texts])
            for side in ("base", "aligned")
        }

    def _score(self, request: Score) -> npt.NDArray[np.float32]:
        edit, level, margin = request.edit, -2.0, 0.0
        x = torch.from_numpy(self.some[request.side]).float()
        if isinstance(edit, Substitute):
            left = (x - edit.coder.reconstruct(x)).pow(2).sum()
            level -= 5 * float(left / x.pow(2).sum())
        elif edit is not None:
            moved = self.change(edit, x).mean(0)
            own = rng_of(request.prompt.text, request.continuation, repr(edit)[:200]).normal()
            margin = self.drives[request.side] * float(moved @ concept()) + 0.002 * own
            margin += 0.01 * float(moved @ ELSEWHERE)
        return np.full(3, level + self.side_of.get(request.continuation, 0.0) * margin / 2, np.float32)

    @staticmethod
    def change(edit: object, x: torch.Tensor) -> Floats:
        """`[n, D]`, what an edit adds to tokens."""
        if isinstance(edit, ClampLatents):
            change = edit.coder.change(x, torch.tensor(edit.latents), torch.tensor(edit.values))
            return edit.share * change.double().numpy()
        vector = edit.dose * edit.vector.values if isinstance(edit, Add) else np.zeros(D)
        return np.tile(vector, (len(x), 1))


def spans(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(r"\S+", text)]


def usual(states: Floats) -> Floats:
    """Without the tokens that say nothing of the text."""
    return states[np.abs(states).max(1) < 1e3]


def concept() -> Floats:
    """`[D]`, of length 1: from pole a's features to pole b's."""
    return (ROWS[list(OF_B)].sum(0) - ROWS[list(OF_A)].sum(0)) / np.sqrt(len(CONCEPT))


def planted_context(one: Dictionary | None = None) -> Context:
    directions = np.tile(concept(), (LAYERS + 1, 1)).astype(np.float32)
    structure = Reading(
        "structure",
        {"transfer_change": exact(0.0, "AUC above words", 40)},
        artefacts={"direction_base": directions, "layer": np.array([LAYER], dtype=np.float32)},
    )
    sizes = replace(SMALL, pairs=240, samples=3)
    ctx = context(profile=sizes, readings={"structure": structure})
    return replace(ctx, dictionary=one or dictionary())


def judged(world: World, ctx: Context | None = None) -> tuple[Reading, dict[str, Finding]]:
    reading = measure(Features(), ctx or planted_context(), world)  # type: ignore[arg-type]  # it answers alike
    return reading, findings(Features(), reading)


@pytest.fixture(scope="module")
def silenced() -> tuple[World, Reading, dict[str, Finding]]:
    world = World(fires={"base": 0.3, "aligned": 0.0}, drives={"base": 0.05, "aligned": 0.0})
    return world, *judged(world)


@pytest.fixture(scope="module")
def untouched() -> tuple[World, Reading, dict[str, Finding]]:
    world = World()
    return world, *judged(world)


def test_silence_and_a_cut_pathway_are_found(silenced: tuple[World, Reading, dict[str, Finding]]) -> None:
    _, reading, found = silenced
    latents = reading.tables["latents"]
    assert {*latents["latent"]} == {*CONCEPT}
    assert {*latents.loc[latents["pole"] == "a", "latent"]} == {*OF_A}
    assert (latents["state"] == "silenced").all()
    assert latents["auroc"].min() > 0.8
    assert latents["said_base"].min() > 0.9  # 12 tokens at .3
    assert latents["said_aligned"].max() == 0
    assert (latents["read_aligned"] > 0.3).all()  # the positive control: it still fires them on what it reads
    assert (latents["strength_aligned"] < 0.2).all()
    assert latents["cosine"].abs().to_numpy() == pytest.approx(1 / np.sqrt(8), abs=1e-6)
    assert found["features.deactivated"].status == "supported"
    assert found["features.steerable"].status == "refuted"


def test_what_fires_and_drives_as_before_is_neither(
    untouched: tuple[World, Reading, dict[str, Finding]],
) -> None:
    _, reading, found = untouched
    assert (reading.tables["latents"]["state"] == "alive").all()
    assert found["features.deactivated"].status == "refuted"
    assert found["features.steerable"].status == "supported"
    latents = reading.tables["latents"]
    for side in ("base", "aligned"):  # each alone pushes towards its own pole
        assert (latents[f"effect_{side}"] > latents[f"chance_{side}"]).all()
    gains = reading.tables["gains"].set_index(["side", "arm_id"])["gain"]
    ours = {side: gains[side, "selected"] / gains[side, "direction"] for side in ("base", "aligned")}
    assert ours["base"] == pytest.approx(1.0, abs=0.1)  # the set is the whole direction, at the same norm
    assert ours["aligned"] == pytest.approx(1.0, abs=0.1)


def test_what_silences_everything_is_not_said_of_the_concept() -> None:
    """Another style of answer: every feature falls silent, whatever it carries."""
    quiet = World(fires={"base": 0.3, "aligned": 0.0}, style={"base": 0.3, "aligned": 0.0})
    reading, found = judged(quiet)
    assert found["features.deactivated"].status == "inconclusive"
    rows = reading.tables["silence"].set_index("kind")
    assert rows.loc["selected", "silent"] == 1.0
    assert rows.loc["matched latents", "silent"] > 0.7


def test_rivals_that_base_s_answers_never_have_do_not_hide_that_everything_fell_silent() -> None:
    quiet = World(
        fires={"base": 0.3, "aligned": 0.0}, style={"base": 0.3, "aligned": 0.0}, only_read=[*range(8, 28)]
    )
    reading, found = judged(quiet)
    rows = reading.tables["silence"].set_index("kind")
    assert rows.loc["matched latents", "silent"] == 1.0
    assert found["features.deactivated"].status == "inconclusive"


def test_what_the_dictionary_no_longer_sees_is_not_called_silent() -> None:
    """In the aligned model the same features are weaker than what counts as firing, wherever it reads or writes."""
    reading, found = judged(World(strength={"base": 1.0, "aligned": 0.4}))
    assert reading.tables["latents"]["said_aligned"].max() == 0
    assert not (reading.tables["latents"]["state"] == "silenced").any()
    assert found["features.deactivated"].status == "inconclusive"
    assert "nor do they fire where the aligned model reads" in found["features.deactivated"].note


def test_a_short_answer_is_no_silence() -> None:
    """At every token the features are as likely in both models, but one of them says eight times as much."""
    rare = {"base": 0.05, "aligned": 0.05}
    reading, found = judged(World(fires=rare, words={"base": 48, "aligned": 6}))
    latents = reading.tables["latents"]
    assert latents["said_aligned"].mean() == pytest.approx(latents["said_base"].mean(), abs=0.08)
    assert found["features.deactivated"].status != "supported"
    reading, found = judged(World(fires=rare, words={"base": 48, "aligned": 2}))
    assert reading.estimates["answered"].value == 0
    assert found["features.deactivated"].status == "inconclusive"
    assert found["features.steerable"].status == "supported"  # it does not hang on answers


def test_what_moves_the_stance_the_other_way_is_not_without_effect() -> None:
    _, found = judged(World(drives={"base": 0.05, "aligned": -0.05}))
    assert found["features.steerable"].status == "inconclusive"
    assert "On the other side of its bar" in found["features.steerable"].note


def test_a_small_dictionary_has_no_rivals_to_compare_with() -> None:
    """Eight latents of the concept and one other; and one that writes nothing, which is neither."""
    rows = np.concatenate([ROWS[:9], np.zeros((1, D))])
    reading, found = judged(World(), planted_context(dictionary(rows)))
    assert {*reading.tables["latents"]["latent"]} == {*CONCEPT}
    assert any("too few other latents" in note for note in reading.notes)
    assert {finding.status for finding in found.values()} == {"inconclusive"}


def test_a_domain_of_few_topics_is_not_read_at_all() -> None:
    ctx = planted_context()
    few = sorted({pair.topic for pair in ctx.domain.statements})[:4]
    pairs = tuple(pair for pair in ctx.domain.statements if pair.topic in few)
    domain = ctx.domain.model_copy(update={"statements": pairs})
    world = World()
    reading, found = judged(world, replace(ctx, domain=domain))
    assert not world.asked
    assert "give at least 6" in reading.notes[0]
    assert {finding.status for finding in found.values()} == {"inconclusive"}


def test_a_dictionary_of_another_model_supports_nothing() -> None:
    """The same truth as above, where both claims are settled, read through a dictionary that is not of these models."""
    turned = np.linalg.qr(np.random.default_rng(8).normal(size=(D, D)))[0][:F]
    world = World(fires={"base": 0.3, "aligned": 0.0}, drives={"base": 0.05, "aligned": 0.0})
    reading, found = judged(world, planted_context(dictionary(turned)))
    assert reading.estimates["fvu_base"].value > 0.5
    for finding in found.values():
        assert finding.status == "inconclusive"
        assert "the dictionary leaves most of what varies" in finding.note


def test_where_no_feature_carries_it_nothing_is_claimed() -> None:
    reading, found = judged(World(carries=False))
    assert reading.estimates["selected"].value <= 1
    assert {finding.status for finding in found.values()} == {"inconclusive"}
    assert not {control.name for control in found["features.deactivated"].controls if control.passed} & {
        "selected"
    }


def test_the_parts_add_up_to_what_the_direction_reads(
    untouched: tuple[World, Reading, dict[str, Finding]],
) -> None:
    world, reading, _ = untouched
    parts = reading.tables["decomposition"]
    sums = parts.groupby(["side", "of"]).agg(value=("value", "sum"), total=("total", "first"))
    assert sums["value"].to_numpy() == pytest.approx(sums["total"].to_numpy(), abs=1e-4)
    of_statements = parts[parts["of"] == "statements"].set_index(["side", "part"])["value"]
    assert of_statements["base", "selected"] / sums.loc[("base", "statements"), "total"] > 0.95
    # The whole, by hand: pole b's mean state less pole a's, along the direction, in σ of the texts' means.
    means = {
        text: usual(world.states("base", Prompt(text, (0, len(text))))).mean(0) @ concept()
        for text in world.pole
    }
    values = np.array(list(means.values()))
    poles = np.array([world.pole[text] for text in means])
    apart = (values[poles == 1].mean() - values[poles == 0].mean()) / values.std()
    assert sums.loc[("base", "statements"), "total"] == pytest.approx(apart, rel=1e-4)


def test_every_arm_is_pushed_alike(untouched: tuple[World, Reading, dict[str, Finding]]) -> None:
    """Root mean square change over the tokens of on-topic text, from the edits that were asked."""
    world, _, _ = untouched
    x = {
        side: torch.from_numpy(
            np.concatenate([usual(world.states(side, Prompt(text, (0, len(text))))) for text in world.pole])
        ).float()
        for side in ("base", "aligned")
    }
    edits = {(r.side, r.edit) for r in world.asked if isinstance(r, Score) and r.edit is not None}
    sizes: dict[tuple[str, str], list[float]] = {}
    for side, edit in edits:
        if isinstance(edit, ClampLatents) and any(edit.values):
            kind = "set" if len(edit.latents) > 1 else "alone"
        elif isinstance(edit, Add):
            kind = "direction"
        else:
            continue
        size = float(np.sqrt((World.change(edit, x[side]) ** 2).sum(1).mean()))
        sizes.setdefault((side, kind), []).append(size)
    for side in ("base", "aligned"):
        half, whole = sorted({round(size, 4) for size in sizes[side, "direction"]})  # 2 σ and 4 σ, either way
        assert whole == pytest.approx(2 * half, rel=1e-3)
        assert len(sizes[side, "set"]) == 4 * (1 + SMALL.random_arms)
        assert np.abs(np.array(sizes[side, "set"])[:, None] / [half, whole] - 1).min(1).max() < 1e-3
        assert sizes[side, "alone"] == pytest.approx([half] * len(sizes[side, "alone"]), rel=1e-3)


def test_edits_are_known_whatever_the_last_bits(untouched: tuple[World, Reading, dict[str, Finding]]) -> None:
    """Another processor's arithmetic differs in its last bits; the records of a run are found all the same."""
    world, reading, _ = untouched
    other = World(tremble=1e-6)
    again, _ = judged(other)
    keys = [{request_key(r, IDENTITIES) for r in one.asked} for one in (world, other)]
    assert keys[0] == keys[1]
    assert again.estimates["clamp_gain_base"].value != reading.estimates["clamp_gain_base"].value


def test_contexts_are_where_a_feature_is_on(untouched: tuple[World, Reading, dict[str, Finding]]) -> None:
    world, reading, _ = untouched
    contexts = reading.tables["contexts"]
    assert {*contexts["source"]} == {"statement", "answer"}
    assert {*contexts["side"]} == {"base", "aligned"}
    checked = 0
    for row in contexts[contexts["source"] == "statement"].to_dict("records"):
        assert row["codes"][row["peak"]] == max(row["codes"]) > 0
        text = next((text for text in world.pole if text.endswith("".join(row["tokens"]))), None)
        if text is None:
            continue  # cut off after its peak
        prompt = Prompt(text, (0, len(text)))
        if np.abs(world.states(row["side"], prompt)[1:]).max() > 1e3:
            continue  # a token is left out
        on = world.on(row["side"], prompt)[-len(row["tokens"]) :, row["latent"]]
        assert [code > 0 for code in row["codes"]] == on.tolist()
        checked += 1
    assert checked > 10


def test_a_crosscoder_tells_what_one_model_alone_has() -> None:
    lacks = [*OF_B, 20, 21]
    weights = torch.from_numpy(ROWS).float()
    shares = torch.full((F, 2, 1), 0.5)
    shares[lacks] = torch.tensor([[1.0], [0.0]])
    rows = weights[:, None] * shares
    bias = torch.full((2, D), 0.25)
    # Read from both, or from base alone where aligned lacks it; either way a latent writes what it reads.
    reader, offset = 2 * rows, -2 * torch.einsum("fmd,md->f", rows, bias)
    coder = Crosscoder(
        torch.ones(2), reader, offset, rows, bias, JumpReLU(torch.full((F,), 2.0)), {"layer": LAYER}
    )
    reading, found = judged(World(lacks=lacks), planted_context(Dictionary("planted", coder, LAYER)))
    table = reading.tables["crosscoder"].set_index("latent")
    assert {*table.index[table["selected"]]} == {*CONCEPT}
    assert {*table.index[table["kind"] == "base-only"]} == {*lacks}
    assert (table.loc[~table.index.isin(lacks), "kind"] == "shared").all()
    assert reading.estimates["fvu_base"].value < 0.2
    for finding in found.values():
        assert finding.status == "inconclusive"
        assert finding.note.startswith("Not measured")


def test_it_asks_for_a_dictionary() -> None:
    with pytest.raises(LookupError, match="none was named"):
        judged(World(), replace(planted_context(), dictionary=None))
