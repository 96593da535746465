"""Was the axis squeezed, and more than axes that have nothing to do with it?

The spread of open prompts along base's direction, aligned over base, on the same words and positions. Alignment
shrinks or stretches many axes, so the ratio is held against covariance-matched random axes and unrelated
concepts; and an axis whose two classes shrink together (same d′) is rescaled, not made neutral.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.measurements.base import (
    Asking,
    Claim,
    Context,
    Estimate,
    Reading,
    bootstrapped,
    bootstrapped_debiased,
    exact,
)
from unmask.measurements.geometry import axis_kept
from unmask.measurements.sets import ProbeSet, activations, all_reads, axis_sets, pair_set
from unmask.models.prompts import Frame
from unmask.runner.requests import SIDES, Read
from unmask.stats import (
    auc,
    bootstrap_weights,
    brown_forsythe,
    carried_on,
    class_contrasts,
    direction,
    group_folds,
    matched_directions,
    probe_scores,
    separation,
    small_steps,
    swap_signs,
)

Floats = npt.NDArray[np.float64]
RANDOM_AXES = 1000
FOLDS = 5
FRAMINGS = ("template", "plain")


@dataclass(frozen=True)
class Variance:
    """The variance measurement."""

    name: ClassVar[str] = "variance"
    family: ClassVar[str] = "mask"
    needs: ClassVar[tuple[str, ...]] = ("structure",)
    claims: ClassVar[Mapping[str, Claim]] = {
        "variance.compressed": Claim(
            "Open questions spread less along the axis in the aligned model than in the base model.",
            "Alignment squeezed the axis by a fifth or more.",
            "It does not say that this axis was meant: everything may have shrunk.",
        ),
        "variance.specific": Claim(
            "The axis was squeezed more than random axes and unrelated concepts were.",
            "The squeeze is about this concept.",
            "It does not say that the squeeze is what makes the answers neutral.",
        ),
    }

    def measure(self, ctx: Context) -> Asking:
        questions = ctx.domain.questions
        layer = int(ctx.readings["structure"].artefacts["layer"][0])
        concept = ctx.readings["structure"].artefacts["direction_base"][layer].astype(np.float64)
        prompts = {
            side: {
                "template": [Read(side, ctx.frame.ask(q.question)) for q in questions],
                "plain": [Read(side, Frame.plain(q.question)) for q in questions],
            }
            for side in SIDES
        }
        unrelated = axis_sets(ctx.domain)
        statements = pair_set("statements", ctx.domain.statements)
        records = yield [
            *(read for side in SIDES for reads in prompts[side].values() for read in reads),
            *all_reads(unrelated, ("base",)),
            *all_reads({"statements": statements}),
        ]

        x = {
            side: {
                framing: records.stack(prompts[side][framing])[:, layer].astype(np.float64)
                for framing in FRAMINGS
            }
            for side in SIDES
        }
        on_base = {name: activations(records, s, "base")[:, [layer]] for name, s in unrelated.items()}
        absent = [name for name, s in unrelated.items() if not is_represented(on_base[name], s, ctx)]
        unrelated = {name: s for name, s in unrelated.items() if name not in absent}
        rng = ctx.rng("variance.random")
        centred = np.concatenate([x["base"][framing] - x["base"][framing].mean(0) for framing in FRAMINGS])
        names = ["concept", *unrelated]
        axes = np.stack(
            [
                concept,
                *(direction(on_base[name], s.labels)[0] for name, s in unrelated.items()),
            ]
        )
        axes = np.concatenate([axes, matched_directions(centred, RANDOM_AXES, rng)])
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)

        topics = [question.topic for question in questions]
        n = len(set(topics))
        weights = bootstrap_weights(topics, ctx.profile.resamples, ctx.rng("variance.bootstrap"))
        ratios = log_ratios(x, axes, weights)  # [1 + resamples, axes]
        fitted = {"concept": statements, **unrelated}
        on_base |= {"concept": activations(records, statements, "base")[:, [layer]]}
        for place, name in enumerate(names):
            drawn = bootstrap_weights(
                fitted[name].clusters,
                ctx.profile.resamples,
                ctx.rng(f"variance.axis.{name}"),
                fitted[name].strata,
            )
            ratios[:, place] += axis_doubt(x, on_base[name][:, 0], fitted[name].labels, drawn)
        k = len(names)
        scaled = {
            side: {f: v / np.linalg.norm(v, axis=1, keepdims=True) for f, v in x[side].items()}
            for side in SIDES
        }
        normed = log_ratios(scaled, axes, weights[:1])[0]

        estimates = {
            **ratio_estimates(ratios, len(unrelated), n),
            # The same words in the same frame are read at the same tokens on both sides, by construction of `prompts`.
            "same_positions": exact(float(_same_prompts(prompts)), "share of prompts", len(questions)),
            **axis_kept(ctx),
        }
        projections = {side: {framing: x[side][framing] @ axes[0] for framing in FRAMINGS} for side in SIDES}
        tests = [brown_forsythe(projections["base"][f], projections["aligned"][f]) for f in FRAMINGS]
        classes = held_out_projections(
            {side: activations(records, statements, side)[:, layer] for side in SIDES}, statements, ctx
        )
        tables = {
            "projections": _projections(questions, projections),
            "specificity": _specificity(names, ratios[0], normed),
            "classes": _classes(classes, statements.labels),
        }
        percentile = float((ratios[0, k:] <= ratios[0, 0]).mean())
        notes = [
            f"The ratio lies at the {100 * percentile:.0f}th percentile of {RANDOM_AXES} covariance-matched axes.",
            f"Brown–Forsythe, which ignores the pairing: p = {tests[0].p:.3g} in the frame, {tests[1].p:.3g} bare.",
        ]
        if absent:
            notes.append(
                f"Base does not represent {' and '.join(absent)} at layer {layer}, so that is no axis to compare with."
            )
        return Reading(self.name, estimates, tables, notes=notes)


def ratio_estimates(ratios: Floats, unrelated: int, n: int) -> dict[str, Estimate]:
    """The numbers that decide.

    Args:
        ratios: `[1 + resamples, axes]`: the concept's, those of the unrelated concepts, those of random axes.
        unrelated: how many unrelated concepts there are.
        n: how many topics were resampled.
    """
    unit, k = "log σ ratio", 1 + unrelated
    over_random = ratios[:, 0] - np.quantile(ratios[:, k:], 0.05, axis=1)
    over_unrelated = ratios[:, 0] - ratios[:, 1:k].min(1, initial=np.inf)
    estimates = {
        "log_sd_ratio": bootstrapped(ratios[0, 0], ratios[1:, 0], unit, n),
        "below_random": bootstrapped_debiased(
            over_random[0], over_random[1:], f"{unit} − random axes' 5 %", n
        ),
    }
    if unrelated:
        estimates["below_unrelated"] = bootstrapped(
            over_unrelated[0], over_unrelated[1:], f"{unit} − least unrelated", n
        )
    return estimates


def is_represented(x: Floats, probe_set: ProbeSet, ctx: Context) -> bool:
    """Whether a direction fitted on some topics tells a concept's poles apart on the others, better than 95 % of labels
    that were swapped by lot within pairs do. If not, its direction is noise, and another sample's would be another.

    Args:
        x: `[n, 1, d]`, base's activations on its pairs.
        probe_set: the pairs.
        ctx: for the draws.
    """
    rng = ctx.rng(f"variance.represented.{probe_set.name}")
    flips = np.repeat(swap_signs(len(x) // 2, ctx.profile.permutations, rng), 2, axis=1)
    labels = np.concatenate(
        [probe_set.labels[None], np.where(flips > 0, probe_set.labels, 1.0 - probe_set.labels)]
    )
    folds = group_folds(probe_set.clusters, FOLDS, rng)
    scores = np.empty(labels.shape)
    for fold in np.unique(folds):
        held_out = folds == fold
        some = probe_scores(x[~held_out], labels[:, ~held_out], x[held_out])[:, 0]
        scores[:, held_out] = some - some.mean(1, keepdims=True)
    reached = np.array([float(auc(score, label)) for score, label in zip(scores, labels, strict=True)])
    return bool(reached[0] > np.quantile(reached[1:], 0.95))


def log_ratios(x: Mapping[str, Mapping[str, Floats]], axes: Floats, weights: Floats) -> Floats:
    """log(σ_aligned / σ_base) along every axis, mean over framings, `[resamples, axes]`."""
    ratios = np.zeros((len(weights), len(axes)))
    for framing in FRAMINGS:
        sd = {side: _weighted_sds(x[side][framing] @ axes.T, weights) for side in SIDES}
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios += np.log(sd["aligned"] / sd["base"]) / len(FRAMINGS)
    return ratios


def axis_doubt(
    x: Mapping[str, Mapping[str, Floats]], texts: Floats, labels: Floats, weights: Floats
) -> Floats:
    """How far the log ratio along an axis would lie from what it is, had the axis been fitted on other texts.

    A few dimensions may vary ten times as much as the axis does, so that a direction within 2° of another has another
    spread. Of intervals that took the axis as given, as few as .6 held planted ratios on one base model and domain of
    the calibration.

    Args:
        x: open questions' states `[n, d]`, by side and framing.
        texts: `[m, d]`, base's states on the texts that the axis is fitted on.
        labels: `[m]`.
        weights: `[1 + resamples, m]`.

    Returns:
        `[1 + resamples]`, 0 first.
    """
    axes = class_contrasts(small_steps(weights), labels) @ texts
    questions = np.ones((1, len(x["base"]["plain"])))
    ratios = carried_on(log_ratios(x, axes, questions)[0])
    with np.errstate(invalid="ignore"):
        doubt = ratios - ratios[0]
    return np.where(
        np.isfinite(doubt), doubt, 0.0
    )  # where nothing is left along the axis, nothing is in doubt


def _weighted_sds(values: Floats, weights: Floats) -> Floats:
    """`[resamples, axes]`, the sd of each column of `values [n, axes]` under each row of weights, by two products."""
    offsets, total = values - values.mean(0), weights.sum(1, keepdims=True)
    return np.sqrt(np.maximum(weights @ offsets**2 / total - (weights @ offsets / total) ** 2, 0.0))


def _same_prompts(prompts: Mapping[str, Mapping[str, list[Read]]]) -> float:
    pairs = [
        (a.prompt, b.prompt)
        for f in FRAMINGS
        for a, b in zip(prompts["base"][f], prompts["aligned"][f], strict=True)
    ]
    return float(np.mean([a == b for a, b in pairs]))


def _projections(questions: tuple[object, ...], values: Mapping[str, Mapping[str, Floats]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "side": side,
                "framing": framing,
                "topic": getattr(question, "topic", ""),
                "question": getattr(question, "question", ""),
                "projection": float(value),
            }
            for side in SIDES
            for framing in FRAMINGS
            for question, value in zip(questions, values[side][framing], strict=True)
        ]
    )


def _specificity(names: list[str], ratios: Floats, normed: Floats) -> pd.DataFrame:
    kinds = ["concept" if name == "concept" else "unrelated" for name in names]
    kinds += ["random"] * (len(ratios) - len(names))
    labels = names + [f"random {index}" for index in range(len(ratios) - len(names))]
    return pd.DataFrame({"kind": kinds, "axis": labels, "log_ratio": ratios, "log_ratio_normed": normed})


def held_out_projections(x: Mapping[str, Floats], statements: ProbeSet, ctx: Context) -> dict[str, Floats]:
    """Each statement's place `[n]` along base's direction of the other topics, about the mean of its fold: along a
    direction that was fitted on it, it would lie on its side by that alone."""
    folds = group_folds(statements.clusters, FOLDS, ctx.rng("variance.folds"))
    values = {side: np.empty(len(folds)) for side in SIDES}
    for fold in range(FOLDS):
        held_out = folds == fold
        axis = direction(x["base"][~held_out][:, None], statements.labels[~held_out])[0]
        for side in SIDES:
            places = x[side][held_out] @ (axis / np.linalg.norm(axis))
            values[side][held_out] = places - places.mean()
    return values


def _classes(values: Mapping[str, Floats], labels: Floats) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for side in SIDES:
        s = separation(values[side], labels)
        rows.append(
            {
                "side": side,
                "within": float(s.within),
                "between": float(s.between),
                "d_prime": float(s.d_prime),
            }
        )
    return pd.DataFrame(rows)
