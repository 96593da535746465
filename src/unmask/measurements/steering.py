"""Where causality pushes, along which directions, how hard, and how one is taken out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unmask.domains.sample import take_evenly
from unmask.domains.schema import Question
from unmask.features.erasure import leace_rank_one
from unmask.measurements.base import Context
from unmask.measurements.sets import ProbeSet
from unmask.models.edits import Add, Edit, Erase, ProjectOut, Vector
from unmask.runner.requests import SIDES, Side, digest
from unmask.stats import direction, matched_directions, swap_signs

Floats = npt.NDArray[np.float64]
UNRELATED = "sentiment"
ABLATED_QUESTIONS = 20


def steered_questions(ctx: Context) -> Sequence[Question]:
    """The questions that carry the concept's curve; other arms ask the first of them."""
    return take_evenly(
        ctx.domain.questions, ctx.profile.steered_questions, lambda q: q.topic, ctx.rng("causality.questions")
    )


def steered_layers(chosen: int, count: int, n_layers: int) -> list[int]:
    """The layers to push at, in order: the chosen one and, spread evenly over the depth, others up to `count`.

    Each of the others stands in the middle of its equal part of the depth (two of them at one quarter and three
    quarters), or at the nearest free layer where that one is taken. Layer 0, the embedding, is none of them.
    """
    free = [layer for layer in range(1, n_layers + 1) if layer != chosen]
    others = min(count - 1, len(free))
    layers = [chosen]
    for part in range(others):
        middle = round((part + 0.5) / others * n_layers)
        layers.append(min(free, key=lambda layer: abs(layer - middle)))
        free.remove(layers[-1])
    return sorted(layers)


@dataclass(frozen=True)
class Push:
    """One shared absolute perturbation.

    Attributes:
        unit: `[d]`, base's direction at length 1.
        size: what one dose is, by side.
        norm_ratio: median activation norm, aligned over base.
        own_sd_ratio: σ along the direction, aligned over base, by which the gain in own σ differs.
    """

    unit: Floats
    size: Mapping[str, float]
    norm_ratio: float
    own_sd_ratio: float

    @staticmethod
    def of(statements: Mapping[str, Floats], vector: Floats) -> Push:
        """The push along base's direction `[d]`, sized on the statements' activations `[n, d]` by side."""
        unit = vector / np.linalg.norm(vector)
        sd = {side: float((statements[side] @ unit).std()) for side in SIDES}
        norms = {side: float(np.median(np.linalg.norm(statements[side], axis=1))) for side in SIDES}
        ratio = norms["aligned"] / norms["base"]
        return Push(
            unit,
            {"base": sd["base"], "aligned": sd["base"] * ratio},
            ratio,
            sd["aligned"] / (sd["base"] * ratio),
        )


@dataclass(frozen=True)
class Arm:
    """One direction that is pushed along: the concept or a control."""

    kind: str
    id: str
    vector: Vector


def steering_arms(
    ctx: Context, layer: int, x: Mapping[str, Floats], sets: Mapping[str, ProbeSet], unit: Floats
) -> list[Arm]:
    """Concept first; every vector has length 1, so that a dose is the same push in every arm.

    Args:
        x: base's activations at the layer, by set.
        sets: the statements, the unrelated concept, and refusals against answers.
        unit: `[d]`, the concept.
    """
    statements = sets["statements"]
    flips = np.repeat(swap_signs(len(statements.texts) // 2, 1, ctx.rng("causality.permuted"))[0], 2)
    shuffled = np.where(flips > 0, statements.labels, 1.0 - statements.labels)

    def fitted(name: str, labels: Floats) -> Floats:
        return direction(x[name][:, None], labels)[0]

    refusal = fitted("refusal", sets["refusal"].labels)
    learnt = ~np.isin(sets[UNRELATED].clusters, held_out_topics(sets[UNRELATED]))
    unrelated = direction(x[UNRELATED][learnt][:, None], sets[UNRELATED].labels[learnt])[0]
    concept, *random = concept_and_chance(ctx, layer, x["statements"], unit)
    return [
        concept,
        Arm("unrelated", UNRELATED, _vector(ctx, layer, f"{UNRELATED} of half the topics", unrelated)),
        Arm("permuted", "permuted labels", _vector(ctx, layer, "permuted", fitted("statements", shuffled))),
        Arm("orthogonal", "without refusal", _vector(ctx, layer, "orthogonal", _without(unit, refusal))),
        *random,
    ]


def held_out_topics(probe_set: ProbeSet) -> list[str]:
    """Every second topic: a direction is fitted on the others, so that what it moves here is not what it was shown."""
    return sorted(set(probe_set.clusters))[1::2]


def concept_and_chance(ctx: Context, layer: int, statements: Floats, unit: Floats) -> list[Arm]:
    """The concept and its random rivals: the same mixtures of base's statements `[n, d]` at every layer.

    Rivals have no part in the concept's axis. Where the statements vary along it more than along anything else, as in
    a small model, mixtures of them would hold the concept itself, and what it does would pass for chance.
    """
    drawn = matched_directions(statements, ctx.profile.random_arms, ctx.rng("causality.random"))
    random = [_without(vector, unit) for vector in drawn]
    return [
        Arm("concept", "concept", concept_vector(ctx, layer, unit)),
        *(Arm("random", f"random {k}", _vector(ctx, layer, f"random {k}", v)) for k, v in enumerate(random)),
    ]


def concept_vector(ctx: Context, layer: int, unit: Floats) -> Vector:
    """Base's direction `[d]` at a layer, as edits name it."""
    return _vector(ctx, layer, "concept", unit)


def _vector(ctx: Context, layer: int, name: str, values: Floats) -> Vector:
    fitted_on = [ctx.seed, ctx.identities["base"], ctx.domain.digest, ctx.profile.record()]
    key = digest(["causality/2", name, layer, *fitted_on])
    return Vector(f"{name}@{layer}:{key[:16]}", (values / np.linalg.norm(values)).astype(np.float32))


def ablation_edits(
    ctx: Context,
    layer: int,
    arms: Sequence[Arm],
    x: Mapping[str, Mapping[str, Floats]],
    statements: ProbeSet,
) -> dict[str, dict[str, Edit]]:
    """Three ways to take a direction out: projected, erased by LEACE (each side's own fit), and a random one."""
    random = next(arm for arm in arms if arm.kind == "random")
    edits: dict[str, dict[str, Edit]] = {}
    for side in SIDES:
        left, right, at = leace_rank_one(x[side]["statements"], statements.labels)
        key = digest(
            ["leace/1", layer, ctx.seed, ctx.identities[side], ctx.domain.digest, ctx.profile.record()]
        )[:16]
        left_key, right_key = f"leace left@{layer}:{key}", f"leace right@{layer}:{key}"
        edits[side] = {
            "concept": ProjectOut((layer,), (arms[0].vector,)),
            "concept, LEACE": Erase((layer,), Vector(left_key, left), Vector(right_key, right), _settled(at)),
            "random": ProjectOut((layer,), (random.vector,)),
        }
    return edits


def _without(vector: Floats, other: Floats) -> Floats:
    unit = other / np.linalg.norm(other)
    return vector - (vector @ unit) * unit


def pushes(layer: int, push: Push) -> Callable[[Side, Arm, float], Edit | None]:
    """A side's edit for an arm and a dose, in σ of the push."""
    return lambda side, arm, dose: push_along(layer, arm.vector, dose * push.size[side])


def push_along(layer: int, vector: Vector, push: float) -> Edit | None:
    """The edit that adds `push` times the vector; none at 0, so that unsteered rows are shared."""
    return None if push == 0 else Add((layer,), vector, _settled(push))


def _settled(number: float) -> float:
    """A number in an edit, without the last digits: those hang on how many threads the linear algebra had, and a
    request is known by its numbers."""
    return round(float(number), 6)
