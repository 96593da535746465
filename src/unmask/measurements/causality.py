"""Does the representation still drive the output? Dose–response of the completion stance.

Both models get the same absolute push along base's direction; the gain is the slope of the stance margin on the
dose. In each model's own σ a squeezed axis would look disconnected though its pathway is whole, so that is
reported second. A gain means something only beside what random directions, permuted labels and an unrelated
concept do.
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
from unmask.measurements.base import Asking, Claim, Context, Estimate, Reading, bootstrapped, exact
from unmask.measurements.sets import ProbeSet, activations, all_reads, axis_sets, pair_set, refusal_set
from unmask.measurements.stance import NO_QUESTION, margins, score_pair
from unmask.measurements.steering import UNRELATED, Arm, Push, ablation_edits, push_along, steering_arms
from unmask.measurements.surface import row_seed
from unmask.models.edits import Patch, Vector
from unmask.models.prompts import Frame
from unmask.models.tokens import Sampling
from unmask.runner.records import Records
from unmask.runner.requests import SIDES, Generate, Read, Score, Side, digest
from unmask.stats import cluster_weights, ratio_interval

Floats = npt.NDArray[np.float64]
PATCHED_QUESTIONS = 8
ABLATED_QUESTIONS = 20
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

        x = {side: {n: activations(records, s, side)[:, layer] for n, s in sides_x.items()} for side in SIDES}
        push = Push.of(x, structure["direction_base"][layer].astype(np.float64))
        doses = np.linspace(-self.largest_dose, self.largest_dose, ctx.profile.doses)
        arms = steering_arms(ctx, layer, x["base"], {s.name: s for s in sides_x.values()}, push.unit)
        questions = take_evenly(
            ctx.domain.questions,
            ctx.profile.steered_questions,
            lambda q: q.topic,
            ctx.rng("causality.questions"),
        )
        few = questions[: ctx.profile.arm_questions]
        probes = _sentiment_questions(unrelated, ctx)
        wanted: dict[tuple[str, str], _Curve] = {}
        for side in SIDES:
            for arm in arms:
                asked = {"concept": questions, "unrelated": probes}.get(arm.kind, few)
                wanted[side, arm.id] = _Curve.ask(side, asked, arm, layer, doses, push.size[side], ctx.frame)
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
            *(score for curve in wanted.values() for score in curve.requests),
            *(score for pairs in ablated.values() for pair in pairs for score in pair),
            *(row for rows in written.values() for row in rows),
            *(read for reads in sources.values() for read in reads),
        ]

        # What the unsteered base thinks of the steered text, and base's component written into the aligned model.
        judged = {
            key: [
                Score("base", ctx.frame.ask(q.question), records.answer(row).text or ".")
                for q, row in zip(questions, rows, strict=False)
            ]
            for key, rows in written.items()
        }
        directions = structure["direction_base"]
        patches = {
            at: _ask_patch(records, sources[at], patched_q, at, directions[at], ctx) for at in patch_layers
        }
        late = yield [
            *(score for scores in judged.values() for score in scores),
            *(score for pairs in patches.values() for pair in pairs for score in pair),
        ]

        estimates, gains = _gains(records, wanted, arms, ctx)
        ratio_of = {key: _perplexity_ratio(late, judged, key) for key in judged}
        at_ends = [ratio_of[side, float(dose)] for side in SIDES for dose in (doses[0], doses[-1])]
        estimates["coherence_ratio"] = exact(max(at_ends), "perplexity, × unsteered", WRITTEN_QUESTIONS)
        own = estimates["gain_ratio"].value * push.own_sd_ratio
        tables = {
            "curves": _curves_table(records, wanted, arms, doses, ratio_of, ctx),
            "gains": gains,
            "ablation": _ablation_table(records, ablated, wanted, arms[0].id),
            "patching": _patching_table(records, late, patches, wanted, arms[0].id, patched_q, ctx),
            "texts": _texts_table(records, written, questions),
        }
        notes = (
            f"Steered at layer {layer}; one dose is base's σ along the direction ({push.size['base']:.3g}), for the "
            f"aligned model times the ratio of median norms ({push.norm_ratio:.3f}).",
            f"In each model's own σ the gain ratio would be {own:.2f}.",
        )
        return Reading(self.name, estimates, tables, notes=notes)


def _sentiment_questions(unrelated: ProbeSet, ctx: Context) -> list[Question]:
    """The unrelated concept's pairs in the form of questions, so that its push has a stance of its own to move."""
    pairs = [pair for pair in ctx.domain.axes if pair.axis == UNRELATED]
    taken: Sequence[AxisPair] = take_evenly(
        pairs, ctx.profile.steered_questions // 2, lambda p: p.topic, ctx.rng("causality.unrelated")
    )
    return [Question(topic=pair.topic, question=NO_QUESTION, a=pair.a, b=pair.b) for pair in taken]


@dataclass(frozen=True)
class _Curve:
    """A dose–response curve: for each dose, in shared σ, the two poles' scores of every question."""

    questions: tuple[Question, ...]
    doses: Floats
    pairs: tuple[tuple[tuple[Score, Score], ...], ...]

    @staticmethod
    def ask(
        side: Side,
        questions: Sequence[Question],
        arm: Arm,
        layer: int,
        doses: Floats,
        size: float,
        frame: Frame,
    ) -> _Curve:
        edits = [push_along(layer, arm.vector, dose * size) for dose in doses]
        return _Curve(
            tuple(questions),
            doses,
            tuple(tuple(score_pair(side, q, q.question, frame, edit) for q in questions) for edit in edits),
        )

    @property
    def requests(self) -> list[Score]:
        return [score for pairs in self.pairs for pair in pairs for score in pair]

    def margins(self, records: Records) -> Floats:
        """`[doses, questions]`, nats per token for pole b."""
        return np.stack([margins(records, pairs) for pairs in self.pairs])


def _slopes(doses: Floats, margin: Floats) -> Floats:
    """Least-squares slope through each question's curve, `[doses, questions] -> [questions]`."""
    centred = doses - doses.mean()
    return centred @ margin / (centred @ centred)


def _gains(
    records: Records, wanted: Mapping[tuple[str, str], _Curve], arms: Sequence[Arm], ctx: Context
) -> tuple[dict[str, Estimate], pd.DataFrame]:
    """Gains with intervals over topics, in nats per token and dose."""
    unit = "nats/token per σ"
    rows: list[dict[str, object]] = []
    gain: dict[tuple[str, str], Floats] = {}
    for (side, arm_id), curve in wanted.items():
        kind = next(arm.kind for arm in arms if arm.id == arm_id)
        slopes = _slopes(curve.doses, curve.margins(records))
        topics = [q.topic for q in curve.questions]
        drawn = cluster_weights(topics, ctx.profile.resamples, ctx.rng(f"causality.{kind}"))
        gain[side, arm_id] = np.concatenate([[slopes.mean()], drawn @ slopes / drawn.sum(1)])
        estimate = bootstrapped(gain[side, arm_id][0], gain[side, arm_id][1:], unit, len(set(topics)))
        rows.append(
            {"side": side, "arm": kind, "arm_id": arm_id, "gain": estimate.value, "low": estimate.low,
             "high": estimate.high}
        )  # fmt: skip
    n = len({q.topic for q in wanted["base", "concept"].questions})
    random = {
        side: np.array([gain[side, arm.id][0] for arm in arms if arm.kind == "random"]) for side in SIDES
    }
    chance = {side: float(np.quantile(np.abs(random[side]), 0.95)) for side in SIDES}
    base, aligned = gain["base", "concept"], gain["aligned", "concept"]
    ratio = ratio_interval(aligned[0], base[0], aligned[1:], base[1:], clusters=n)
    with np.errstate(divide="ignore", invalid="ignore"):
        replicates = np.where(base[1:] * np.sign(base[0]) > 0, aligned[1:] / base[1:], np.nan)
    moved = gain["aligned", UNRELATED]
    estimates = {
        "gain_ratio": Estimate(ratio.value, ratio.low, ratio.high, "aligned / base", n, None, replicates),
        "gain_base": bootstrapped(base[0], base[1:], unit, n),
        "gain_aligned": bootstrapped(aligned[0], aligned[1:], unit, n),
        "base_beyond_random": bootstrapped(base[0] - chance["base"], base[1:] - chance["base"], unit, n),
        "unrelated_moves_aligned": bootstrapped(moved[0], moved[1:], unit, n),
        "aligned_beyond_random": bootstrapped(
            aligned[0] - chance["aligned"], aligned[1:] - chance["aligned"], unit, n
        ),
    }
    return estimates, pd.DataFrame(rows)


def _ask_patch(
    records: Records,
    sources: Sequence[Read],
    questions: Sequence[Question],
    layer: int,
    vector: Floats,
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
            (layer,), held, tuple(float(v) for v in component), f"{name}:{question.question}", where="prompt"
        )
        pairs.append(score_pair("aligned", question, question.question, ctx.frame, edit))
    return pairs


def _unsteered(curve: _Curve) -> int:
    return int(np.abs(curve.doses).argmin())


def _patching_table(
    records: Records,
    late: Records,
    patches: Mapping[int, Sequence[tuple[Score, Score]]],
    wanted: Mapping[tuple[str, str], _Curve],
    concept: str,
    questions: Sequence[Question],
    ctx: Context,
) -> pd.DataFrame:
    """How far base's component carries the aligned model's margin towards base's, by layer (1 = all the way)."""
    base, aligned = (
        wanted[side, concept].margins(records)[_unsteered(wanted[side, concept])][: len(questions)]
        for side in SIDES
    )
    gap = base - aligned
    rows: list[dict[str, object]] = []
    for layer, pairs in patches.items():
        moved = margins(late, pairs) - aligned
        rng = ctx.rng(f"causality.patch.{layer}")
        drawn = cluster_weights([q.topic for q in questions], ctx.profile.resamples, rng)
        weights = np.concatenate([np.ones((1, len(questions))), drawn])
        share = (weights @ (moved * gap)) / np.maximum(weights @ gap**2, 1e-12)
        estimate = bootstrapped(share[0], share[1:], "", len(questions))
        rows.append({"layer": layer, "effect": estimate.value, "low": estimate.low, "high": estimate.high})
    return pd.DataFrame(rows)


def _ablation_table(
    records: Records,
    ablated: Mapping[tuple[str, str], Sequence[tuple[Score, Score]]],
    wanted: Mapping[tuple[str, str], _Curve],
    concept: str,
) -> pd.DataFrame:
    """Mean size of the margin's change when a direction is projected out, beside a random one."""
    rows: list[dict[str, object]] = []
    for (side, kind), pairs in ablated.items():
        curve = wanted[side, concept]
        after = margins(records, pairs)
        before = curve.margins(records)[_unsteered(curve)][: len(after)]
        rows.append(
            {
                "side": side,
                "direction": kind,
                "mean_change": float(np.abs(after - before).mean()),
                "spread_before": float(before.std()),
                "spread_after": float(after.std()),
            }
        )
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


def _curves_table(
    records: Records,
    wanted: Mapping[tuple[str, str], _Curve],
    arms: Sequence[Arm],
    doses: Floats,
    perplexity: Mapping[tuple[str, float], float],
    ctx: Context,
) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for (side, arm_id), curve in wanted.items():
        kind = next(arm.kind for arm in arms if arm.id == arm_id)
        stance = np.tanh(curve.margins(records) / 2)
        topics = [q.topic for q in curve.questions]
        drawn = cluster_weights(topics, ctx.profile.resamples, ctx.rng(f"causality.{kind}"))
        for dose, values in zip(doses, stance, strict=True):
            estimate = bootstrapped(values.mean(), drawn @ values / drawn.sum(1), "", len(set(topics)))
            rows.append(
                {
                    "side": side,
                    "arm": kind,
                    "arm_id": arm_id,
                    "dose": float(dose),
                    "stance": estimate.value,
                    "low": estimate.low,
                    "high": estimate.high,
                    "perplexity_ratio": perplexity[side, float(dose)] if kind == "concept" else float("nan"),
                }
            )
    return pd.DataFrame(rows)


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
