"""Does the representation still drive the output? Dose–response of the completion stance.

Both models get the same absolute push along base's direction; the gain is the slope of the stance margin on the
dose, at 0. In each model's own σ a squeezed axis would look disconnected though its pathway is whole, so that is
reported second. A gain means something only beside what random directions, permuted labels and an unrelated
concept do. One layer decides; at the others that a profile steers, the same push shows how the gain varies with
depth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.domains.sample import take_evenly
from unmask.domains.schema import AxisPair, Question
from unmask.measurements.answers import row_seed
from unmask.measurements.base import Asking, Claim, Context, Reading, bootstrapped, exact
from unmask.measurements.dose_response import (
    Curves,
    ablation_table,
    ask_curves,
    curves_table,
    layers_table,
    read_gains,
)
from unmask.measurements.geometry import axis_kept
from unmask.measurements.sets import ProbeSet, activations, all_reads, axis_sets, pair_set, refusal_set
from unmask.measurements.stance import NO_QUESTION, margins, score_pair
from unmask.measurements.steering import (
    ABLATED_QUESTIONS,
    UNRELATED,
    Push,
    ablation_edits,
    concept_and_chance,
    held_out_topics,
    push_along,
    pushes,
    steered_layers,
    steered_questions,
    steering_arms,
)
from unmask.models.edits import Patch, Vector
from unmask.models.tokens import Sampling
from unmask.runner.records import Records
from unmask.runner.requests import SIDES, Generate, Read, Score, digest
from unmask.stats import bootstrap_weights

Floats = npt.NDArray[np.float64]
PATCHED_QUESTIONS = 8
PATCHED_POSITIONS = ("all", "last", "earlier")
"""Which of a prompt's tokens get base's component: every one, the last (it predicts the answer's first token), or
those before it. The sequence's first token is in none of them."""
WRITTEN_QUESTIONS = 6


@dataclass(frozen=True)
class Causality:
    """The causality measurement; its settings are its fields.

    Attributes:
        largest_dose: the largest push, in base's σ along the direction.
        sampling: how steered text is sampled.
    """

    largest_dose: float = 4.0
    sampling: Sampling = Sampling(max_new_tokens=32, temperature=0.8, top_p=0.95)

    name: ClassVar[str] = "causality"
    family: ClassVar[str] = "mask"
    needs: ClassVar[tuple[str, ...]] = ("structure",)
    claims: ClassVar[Mapping[str, Claim]] = {
        "causality.disconnected": Claim(
            "The representation no longer drives the output: the same push moves the aligned model's stance less "
            "than a third as far.",
            "The concept is there, but the pathway from it to the answer is cut.",
            "It says nothing of other directions that may carry the concept.",
        ),
        "causality.connected": Claim(
            "The representation still drives the output: the same push moves the aligned model's stance at least "
            "two thirds as far.",
            "What the model represents still decides what it finds likely to say.",
            "It does not say that anything in ordinary use supplies the push.",
        ),
    }

    def measure(self, ctx: Context) -> Asking:
        structure = ctx.readings["structure"].artefacts
        layer = int(structure["layer"][0])
        statements = pair_set("statements", ctx.domain.statements)
        unrelated = axis_sets(ctx.domain)[UNRELATED]
        refusal = refusal_set(ctx.domain)
        sides_x = {"statements": statements, UNRELATED: unrelated, "refusal": refusal}
        records = yield all_reads(sides_x)

        at_all = {side: {n: activations(records, s, side) for n, s in sides_x.items()} for side in SIDES}
        x = {side: {n: states[:, layer] for n, states in at_all[side].items()} for side in SIDES}
        directions = structure["direction_base"]
        push = Push.of({side: x[side]["statements"] for side in SIDES}, directions[layer].astype(np.float64))
        doses = np.linspace(-self.largest_dose, self.largest_dose, ctx.profile.doses)
        arms = steering_arms(ctx, layer, x["base"], {s.name: s for s in sides_x.values()}, push.unit)
        questions = steered_questions(ctx)
        few = questions[: ctx.profile.arm_questions]
        probes = _sentiment_questions(unrelated, ctx)
        asked = {arm.kind: few for arm in arms} | {"concept": questions, "unrelated": probes}
        curves = ask_curves(arms, pushes(layer, push), doses, asked, ctx.frame)
        elsewhere = {
            at: _ask_at(at, at_all, directions, doses, asked, ctx)
            for at in steered_layers(layer, ctx.profile.steered_layers, ctx.n_layers)
            if at != layer
        }
        ablations = ablation_edits(ctx, layer, arms, x, statements)
        ablated = {
            (side, kind): [
                score_pair(side, q, q.question, ctx.frame, edit) for q in questions[:ABLATED_QUESTIONS]
            ]
            for side in SIDES
            for kind, edit in ablations[side].items()
        }
        written = {
            (side, float(dose)): [
                Generate(
                    side,
                    ctx.frame.ask(q.question),
                    row_seed(ctx.seed, "causality", side, q.question),
                    replace(self.sampling, stop=ctx.frame.stop),
                    push_along(layer, arms[0].vector, dose * push.size[side]),
                )
                for q in questions[:WRITTEN_QUESTIONS]
            ]
            for side in SIDES
            for dose in doses
        }
        patch_layers = sorted({max(1, round(share * ctx.n_layers)) for share in (0.25, 0.5, 0.75)} | {layer})
        patched_q = questions[:PATCHED_QUESTIONS]
        sources = {
            at: [Read("base", ctx.frame.ask(q.question), "each", (at,)) for q in patched_q]
            for at in patch_layers
        }
        records = yield [
            *(score for curve in curves.values() for score in curve.requests),
            *(score for pairs in ablated.values() for pair in pairs for score in pair),
            *(row for rows in written.values() for row in rows),
            *(read for reads in sources.values() for read in reads),
            *(score for there in elsewhere.values() for curve in there.values() for score in curve.requests),
        ]

        # What the unsteered base thinks of the steered text, and base's component written into the aligned model.
        judged = {
            key: [
                Score("base", ctx.frame.ask(q.question), records.answer(row).text or ".")
                for q, row in zip(questions, rows, strict=False)
            ]
            for key, rows in written.items()
        }
        patches = {
            (at, positions): _ask_patch(records, sources[at], patched_q, at, directions[at], positions, ctx)
            for at in patch_layers
            for positions in PATCHED_POSITIONS
        }
        late = yield [
            *(score for scores in judged.values() for score in scores),
            *(score for pairs in patches.values() for pair in pairs for score in pair),
        ]

        estimates, gains = read_gains(records, curves, ctx)
        ratio_of = {key: _perplexity_ratio(late, judged, key) for key in judged}
        at_ends = [ratio_of[side, float(dose)] for side in SIDES for dose in (doses[0], doses[-1])]
        estimates["coherence_ratio"] = exact(max(at_ends), "perplexity, × unsteered", WRITTEN_QUESTIONS)
        estimates |= axis_kept(ctx)
        own = estimates["gain_ratio"].value * push.own_sd_ratio
        tables = {
            "curves": curves_table(records, curves, ctx, ratio_of),
            "gains": gains,
            "ablation": ablation_table(
                records, ablated, {side: curves[side, "concept"].margins_at_rest(records) for side in SIDES}
            ),
            "patching": _patching_table(records, late, patches, curves, patched_q, ctx),
            "texts": _texts_table(records, written, questions),
        }
        notes = [
            f"Steered at layer {layer}; one dose is base's σ along the direction ({push.size['base']:.3g}), for the "
            f"aligned model times the ratio of median norms ({push.norm_ratio:.3f}).",
            f"In each model's own σ the gain ratio would be {own:.2f}.",
        ]
        if elsewhere:
            steered = {layer: curves, **elsewhere}
            tables["by_layer"] = layers_table(records, steered, layer, ctx)
            notes.append(
                f"Layer {layer} alone decides; the gain at {len(steered)} layers from {min(steered)} to "
                f"{max(steered)} is shown beside it."
            )
        return Reading(self.name, estimates, tables, notes=notes)


def _sentiment_questions(unrelated: ProbeSet, ctx: Context) -> list[Question]:
    """Pairs of the unrelated concept in the form of questions, so that its push has a stance of its own to move."""
    held_out = held_out_topics(unrelated)
    pairs = [pair for pair in ctx.domain.axes if pair.axis == UNRELATED and pair.topic in held_out]
    taken: Sequence[AxisPair] = take_evenly(
        pairs, ctx.profile.steered_questions // 2, lambda p: p.topic, ctx.rng("causality.unrelated")
    )
    return [Question(topic=pair.topic, question=NO_QUESTION, a=pair.a, b=pair.b) for pair in taken]


def _ask_at(
    layer: int,
    at_all: Mapping[str, Mapping[str, Floats]],
    directions: npt.NDArray[np.float32],
    doses: Floats,
    asked: Mapping[str, Sequence[Question]],
    ctx: Context,
) -> Curves:
    """At a layer that does not decide: only what says how large the gain is there, beside chance."""
    statements = {side: at_all[side]["statements"][:, layer] for side in SIDES}
    push = Push.of(statements, directions[layer].astype(np.float64))
    arms = concept_and_chance(ctx, layer, statements["base"], push.unit)
    return ask_curves(arms, pushes(layer, push), doses, asked, ctx.frame)


def _ask_patch(
    records: Records,
    sources: Sequence[Read],
    questions: Sequence[Question],
    layer: int,
    vector: Floats,
    positions: str,
    ctx: Context,
) -> list[tuple[Score, Score]]:
    unit = vector / np.linalg.norm(vector)
    fitted_on = [ctx.seed, ctx.identities["base"], ctx.domain.digest, ctx.profile.record()]
    name = f"concept@{layer}:{digest(['patch/1', layer, *fitted_on])[:16]}"
    held = Vector(name, unit.astype(np.float32))
    pairs: list[tuple[Score, Score]] = []
    for source, question in zip(sources, questions, strict=True):
        component = records.array(source)[:, 0] @ unit
        edit = Patch(
            (layer,),
            held,
            tuple(float(v) for v in component),
            f"{name}:{question.question}",
            where="prompt",
            positions=_tokens_at(positions, len(component)),
        )
        pairs.append(score_pair("aligned", question, question.question, ctx.frame, edit))
    return pairs


def _tokens_at(positions: str, n_tokens: int) -> tuple[int, ...] | None:
    """The tokens of a prompt of `n_tokens` that a group of positions means; None is all of them.

    A prompt is tokenised apart from what follows it, so its tokens are the same when it is read and when an answer
    to it is scored.
    """
    last = n_tokens - 1
    return {"all": None, "last": (last,), "earlier": tuple(range(1, last))}[positions]


def _patching_table(
    records: Records,
    late: Records,
    patches: Mapping[tuple[int, str], Sequence[tuple[Score, Score]]],
    curves: Curves,
    questions: Sequence[Question],
    ctx: Context,
) -> pd.DataFrame:
    """How far base's component carries the aligned model's margin towards base's (1 = all the way), by layer and
    positions; all rows share their resamples of topics."""
    base, aligned = (curves[side, "concept"].margins_at_rest(records)[: len(questions)] for side in SIDES)
    gap = base - aligned
    topics = [question.topic for question in questions]
    weights = bootstrap_weights(topics, ctx.profile.resamples, ctx.rng("causality.patch"))
    rows: list[dict[str, object]] = []
    for (layer, positions), pairs in patches.items():
        moved = margins(late, pairs) - aligned
        share = (weights @ (moved * gap)) / np.maximum(weights @ gap**2, 1e-12)
        estimate = bootstrapped(share[0], share[1:], "", len(set(topics)))
        rows.append({"layer": layer, "positions": positions, **estimate.columns("effect")})
    return pd.DataFrame(rows)


def _perplexity_ratio(
    late: Records, judged: Mapping[tuple[str, float], Sequence[Score]], key: tuple[str, float]
) -> float:
    """Perplexity of steered text under the unsteered base, over that of the same side's unsteered text."""
    side, _ = key
    at_rest = min((k for k in judged if k[0] == side), key=lambda k: abs(k[1]))

    def nll(scores: Sequence[Score]) -> float:
        return float(-np.concatenate([late.array(score) for score in scores]).mean())

    return float(np.exp(nll(judged[key]) - nll(judged[at_rest])))


def _texts_table(
    records: Records, written: Mapping[tuple[str, float], Sequence[Generate]], questions: Sequence[Question]
) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"side": side, "dose": dose, "question": question.question, "text": records.answer(row).text}
            for (side, dose), rows in written.items()
            for question, row in zip(questions, rows, strict=False)
        ]
    )
