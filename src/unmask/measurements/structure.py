"""Is the concept still represented, as knowledge and not as words?

Everything is judged on the excess: the AUC of cross-format transfer above what a bag of words reaches on the
same split, averaged over stated → implied, implied → stated and statements → implied.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression

from unmask.measurements.base import Asking, Claim, Context, Estimate, Reading, bootstrapped_refit, exact
from unmask.measurements.sets import ProbeSet, activations, all_reads, probe_sets, standard_activations
from unmask.measurements.transfer import Resampling, Transfer, draw, transfer
from unmask.models.prompts import Frame
from unmask.runner.requests import SIDES, Score
from unmask.stats import (
    Null,
    auc,
    cluster_weights,
    cosine,
    direction,
    group_folds,
    ledoit_wolf,
    linear_cka_debiased,
    mahalanobis_cosine,
    matched_directions,
    nested_layer_auc,
    probe_scores,
    spearman,
    standardise,
    word_counts,
)

Floats = npt.NDArray[np.float64]
DECIDING = (("stated", "implied"), ("implied", "stated"), ("statements", "implied"))
REPORTED = (
    ("statements", "stated"),
    ("statements", "figures"),
    ("stated", "figures"),
    ("implied", "figures"),
)


@dataclass(frozen=True)
class Structure:
    """The structure measurement."""

    name: ClassVar[str] = "structure"
    family: ClassVar[str] = "mask"
    needs: ClassVar[tuple[str, ...]] = ()
    claims: ClassVar[Mapping[str, Claim]] = {
        "structure.preserved": Claim(
            "The aligned model still represents the two sides, as well as the base model did.",
            "A direction fitted on one kind of text tells the poles apart in another kind, beyond words.",
            "It does not say that the model uses the representation for its answers.",
        ),
        "structure.same_axis": Claim(
            "It is the same axis: a probe fitted on the base model works in the aligned one.",
            "Training left the direction where it was.",
            "A refuted claim can mean rotation as well as noise; the transfer table shows which.",
        ),
        "structure.erased": Claim(
            "The representation of the two sides is gone from the aligned model.",
            "No direction tells the poles apart beyond words any more, though the model is otherwise whole.",
            "A linear probe finds linear structure only.",
        ),
    }

    def measure(self, ctx: Context) -> Asking:
        sets = probe_sets(ctx.domain)
        neutral = {
            side: [Score(side, Frame.plain(fact.question), fact.true) for fact in ctx.domain.facts]
            for side in SIDES
        }
        records = yield [*all_reads(sets), *(score for side in SIDES for score in neutral[side])]

        x = {
            side: {name: standard_activations(records, s, side) for name, s in sets.items()} for side in SIDES
        }
        raw = {side: activations(records, sets["statements"], side) for side in SIDES}
        profile = ctx.profile
        drawn = draw(
            sets,
            profile.resamples,
            profile.permutations,
            lambda name: ctx.rng(f"structure.{name}"),
            lambda s, n, rng: cluster_weights(
                s.clusters, n, rng, None if len(set(s.clusters)) < len(s.texts) else s.labels
            ),
        )
        pairs = [pair for pair in (*DECIDING, *REPORTED) if pair[1] in sets]
        own: dict[str, dict[tuple[str, str], Transfer]] = {}
        for side in SIDES:
            own[side] = {
                (fit, test): transfer(
                    sets[fit],
                    sets[test],
                    x[side][fit],
                    x[side][test],
                    drawn,
                    own["base"][fit, test].words if side == "aligned" else None,
                )
                for fit, test in pairs
            }
        # Base's direction on aligned's activations; both directions across for the table.
        across = {
            (a, b): {
                pair: transfer(
                    sets[pair[0]], sets[pair[1]], x[a][pair[0]], x[b][pair[1]], drawn, own["base"][pair].words
                )
                for pair in DECIDING
            }
            for a, b in (("base", "aligned"), ("aligned", "base"))
        }
        nll = {side: np.array([-records.array(score).mean() for score in neutral[side]]) for side in SIDES}

        estimates = _estimates(own, across["base", "aligned"], sets)
        estimates["perplexity_ratio"] = exact(
            float(np.exp(nll["aligned"].mean() - nll["base"].mean())), "× base's", len(nll["base"])
        )
        layer = steering_layer(own["base"])
        vectors = {side: direction(raw[side], sets["statements"].labels).astype(np.float32) for side in SIDES}
        tables = {
            "transfer": _transfer_table(own),
            "excess": _excess_table(own, sets),
            "cross": _cross_table(own, across, sets),
            "geometry": _geometry(raw, sets["statements"], drawn, ctx),
            "within": _within(x, sets["statements"], drawn, ctx),
            "probes": _probe_kinds(x, sets, own["base"]),
        }
        if "figures" in sets:
            tables |= {
                "figures": _figures(own, ctx),
                "ideal_points": _ideal_points(own, x, sets["figures"], ctx),
            }
        notes = (
            "The interval keeps the layers chosen on the data as they are and resamples both sets.",
            f"Layer {layer} is read for variance and steered for causality: base's transfer is best there within "
            "the middle third of the depth.",
        )
        artefacts = {f"direction_{side}": vectors[side] for side in SIDES}
        return Reading(
            self.name, estimates, tables, {**artefacts, "layer": np.array([layer], dtype=np.float32)}, notes
        )


def steering_layer(transfers: Mapping[tuple[str, str], Transfer]) -> int:
    """The layer with base's best mean transfer, within the middle third of the depth.

    Earlier a direction is still being built, later an edit has few blocks left to act through.
    """
    curve = np.mean([transfers[pair].curve for pair in DECIDING], axis=0)
    n_layers = len(curve) - 1
    low, high = round(n_layers / 3), round(2 * n_layers / 3)
    return low + int(curve[low : high + 1].argmax())


def _mean_excess(transfers: Mapping[tuple[str, str], Transfer]) -> Floats:
    return np.mean([transfers[pair].excess for pair in DECIDING], axis=0)


def _estimates(
    own: Mapping[str, Mapping[tuple[str, str], Transfer]],
    across: Mapping[tuple[str, str], Transfer],
    sets: Mapping[str, ProbeSet],
) -> dict[str, Estimate]:
    n = len(sets["implied"].texts)  # the smallest of the deciding sets
    excess = {side: _mean_excess(own[side]) for side in SIDES}
    crossed = _mean_excess(across)
    kind = "layer chosen alike, permuted labels, mean of three transfers"

    def null_of(transfers: Mapping[tuple[str, str], Transfer]) -> tuple[Floats, float, Null]:
        observed = float(np.mean([transfers[pair].auc[0] for pair in DECIDING]))
        words = float(np.mean([transfers[pair].words[0] for pair in DECIDING]))
        samples = np.mean([transfers[pair].null for pair in DECIDING], axis=0)
        return samples, words, Null.from_samples(kind, samples - words, observed - words)

    nulls = {side: null_of(own[side])[2] for side in SIDES}
    cross_null = null_of(across)[2]
    unit = "AUC above words"
    change, kept = excess["aligned"] - excess["base"], crossed - excess["base"]
    beyond = crossed - cross_null.q95
    return {
        "excess_base": bootstrapped_refit(excess["base"][0], excess["base"][1:], unit, n, nulls["base"]),
        "excess_aligned": bootstrapped_refit(
            excess["aligned"][0], excess["aligned"][1:], unit, n, nulls["aligned"]
        ),
        "excess_change": bootstrapped_refit(change[0], change[1:], unit, n),
        "transfer_change": bootstrapped_refit(kept[0], kept[1:], unit, n),
        "transfer_beyond_null": bootstrapped_refit(
            beyond[0], beyond[1:], "AUC above the null's 95 %", n, cross_null
        ),
        "permutation_p": exact(nulls["base"].p, "p", n),
    }


def _transfer_table(own: Mapping[str, Mapping[tuple[str, str], Transfer]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "side": side,
                "fit": t.fit,
                "test": t.test,
                "layer": layer,
                "auc": float(value),
                "words_auc": float(t.words[0]),
                "null_q95": t.curve_null_q95,
            }
            for side in SIDES
            for t in own[side].values()
            for layer, value in enumerate(t.curve)
        ]
    )


def _excess_table(
    own: Mapping[str, Mapping[tuple[str, str], Transfer]], sets: Mapping[str, ProbeSet]
) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for side in SIDES:
        for pair, t in own[side].items():
            estimate = bootstrapped_refit(t.excess[0], t.excess[1:], "", len(sets[t.test].texts))
            rows.append(
                {
                    "side": side,
                    "fit": t.fit,
                    "test": t.test,
                    "decides": pair in DECIDING,
                    "auc": float(t.auc[0]),
                    "words": float(t.words[0]),
                    "excess": estimate.value,
                    "low": estimate.low,
                    "high": estimate.high,
                    "p": float((1 + (t.null >= t.auc[0]).sum()) / (1 + len(t.null))),
                    "layers": " ".join(str(layer) for layer in t.layers),
                }
            )
    return pd.DataFrame(rows)


def _cross_table(
    own: Mapping[str, Mapping[tuple[str, str], Transfer]],
    across: Mapping[tuple[str, str], Mapping[tuple[str, str], Transfer]],
    sets: Mapping[str, ProbeSet],
) -> pd.DataFrame:
    cells = {("base", "base"): own["base"], ("aligned", "aligned"): own["aligned"], **across}
    rows: list[dict[str, object]] = []
    for (fit_side, test_side), transfers in cells.items():
        for pair in DECIDING:
            t = transfers[pair]
            estimate = bootstrapped_refit(t.auc[0], t.auc[1:], "", len(sets[t.test].texts))
            rows.append(
                {
                    "fit_side": fit_side,
                    "test_side": test_side,
                    "fit": t.fit,
                    "test": t.test,
                    "auc": estimate.value,
                    "low": estimate.low,
                    "high": estimate.high,
                }
            )
    return pd.DataFrame(rows)


def _geometry(
    raw: Mapping[str, Floats], statements: ProbeSet, drawn: Resampling, ctx: Context
) -> pd.DataFrame:
    """Do the two models' directions agree more than directions of no concept would, at every layer?"""
    labels = drawn.labels["statements"][: 1 + min(200, ctx.profile.permutations)]
    fitted = {side: direction(raw[side], labels) for side in SIDES}  # [1 + permutations, layers, d]
    cosines = cosine(fitted["base"], fitted["aligned"])  # [1 + permutations, layers]
    halves = _split_half_cosine(raw["base"], statements, ctx)
    rows: list[dict[str, object]] = []
    for layer in range(raw["base"].shape[1]):
        pooled = np.concatenate([raw[side][:, layer] - raw[side][:, layer].mean(0) for side in SIDES])
        covariance = ledoit_wolf(pooled)
        shaped = mahalanobis_cosine(fitted["base"][:, layer], fitted["aligned"][:, layer], covariance)
        # Two independent directions that know the activations' covariance and nothing else.
        matched = matched_directions(pooled, 2 * 200, ctx.rng(f"structure.matched.{layer}"))
        chance = np.abs(cosine(matched[:200], matched[200:]))
        rows.append(
            {
                "layer": layer,
                "cosine": float(cosines[0, layer]),
                "cosine_null_q95": float(np.quantile(cosines[1:, layer], 0.95)),
                "cosine_matched_q95": float(np.quantile(chance, 0.95)),
                "cosine_ceiling": float(halves[layer]),
                "mahalanobis": float(shaped[0]),
                "mahalanobis_null_q95": float(np.quantile(shaped[1:], 0.95)),
                "cka": float(linear_cka_debiased(raw["base"][:, layer], raw["aligned"][:, layer])),
            }
        )
    return pd.DataFrame(rows)


def _split_half_cosine(x: Floats, statements: ProbeSet, ctx: Context) -> Floats:
    """How well a direction agrees with itself when fitted on two halves of the topics: the ceiling, `[layers]`."""
    folds = group_folds(statements.clusters, 2, ctx.rng("structure.halves"))
    first, second = (direction(x[folds == fold], statements.labels[folds == fold]) for fold in (0, 1))
    return np.asarray(cosine(first, second))


def _within(
    x: Mapping[str, Mapping[str, Floats]], statements: ProbeSet, drawn: Resampling, ctx: Context
) -> pd.DataFrame:
    """Held-out-topic AUC inside the statements, beside words and a random-label task on the same features."""
    labels, folds = drawn.labels["statements"], drawn.folds["statements"]
    rows: list[dict[str, object]] = []
    words, _ = word_counts(statements.texts, (), binary=True)
    features = {side: x[side]["statements"] for side in SIDES} | {"words": standardise(words)[:, None]}
    for name, values in features.items():
        scores = np.empty((2, values.shape[1], len(folds)))
        for fold in np.unique(folds):
            held_out = folds == fold
            # Row 1 of the labels is one random labelling: its AUC against itself is what memory alone gives.
            scores[..., held_out] = probe_scores(values[~held_out], labels[:2, ~held_out], values[held_out])
        reached = [np.asarray(auc(scores[task], labels[task])) for task in (0, 1)]
        for layer in range(values.shape[1]):
            rows.append(
                {
                    "features": name,
                    "layer": layer,
                    "auc": float(reached[0][layer]),
                    "random_label_auc": float(reached[1][layer]),
                    "selectivity": float(reached[0][layer] - reached[1][layer]),
                }
            )
    return pd.DataFrame(rows)


def _probe_kinds(
    x: Mapping[str, Mapping[str, Floats]],
    sets: Mapping[str, ProbeSet],
    base: Mapping[tuple[str, str], Transfer],
) -> pd.DataFrame:
    """The deciding transfers with three kinds of probe, at the layer that base's mean difference chose most."""
    rows: list[dict[str, object]] = []
    for pair in DECIDING:
        layer = int(np.bincount(base[pair].layers).argmax())
        fit, test = sets[pair[0]], sets[pair[1]]
        for side in SIDES:
            fit_x, test_x = x[side][pair[0]][:, [layer]], x[side][pair[1]][:, [layer]]
            logistic = LogisticRegression(C=0.01, max_iter=2000).fit(fit_x[:, 0], fit.labels)
            scores = {
                "mean difference": probe_scores(fit_x, fit.labels, test_x)[0],
                "covariance-corrected": probe_scores(fit_x, fit.labels, test_x, "ridge")[0],
                "logistic": logistic.decision_function(test_x[:, 0]),
            }
            for name, values in scores.items():
                rows.append(
                    {
                        "side": side,
                        "fit": pair[0],
                        "test": pair[1],
                        "layer": layer,
                        "probe": name,
                        "auc": float(auc(values, test.labels)),
                    }
                )
    return pd.DataFrame(rows)


def _figures(own: Mapping[str, Mapping[tuple[str, str], Transfer]], ctx: Context) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "side": side,
                "fit": fit,
                "name": figure.name,
                "pole": figure.pole,
                "score": figure.score,
                "projection": float(projection),
            }
            for side in SIDES
            for fit in ("statements", "stated", "implied")
            for figure, projection in zip(ctx.domain.figures, own[side][fit, "figures"].scores, strict=True)
        ]
    )


def _ideal_points(
    own: Mapping[str, Mapping[tuple[str, str], Transfer]],
    x: Mapping[str, Mapping[str, Floats]],
    figures: ProbeSet,
    ctx: Context,
) -> pd.DataFrame:
    """Rank correlation with roll-call ideal points, overall and within each pole: poles alone give much of it."""
    ideal = np.array([figure.score for figure in ctx.domain.figures])
    folds = group_folds(figures.clusters, 5, ctx.rng("structure.persons"), figures.labels)
    rows: list[dict[str, object]] = []
    for side in SIDES:
        scores = {fit: own[side][fit, "figures"].scores for fit in ("statements", "stated", "implied")}
        scores["ridge on other persons"] = _ridge_on_persons(x[side]["figures"], ideal, folds, figures.labels)
        for fit, values in scores.items():
            rows.append(
                {
                    "side": side,
                    "probe": fit,
                    "spearman": float(spearman(values, ideal)),
                    **{
                        f"spearman_within_{pole}": float(spearman(values[mask], ideal[mask]))
                        for pole, mask in (("a", figures.labels == 0), ("b", figures.labels == 1))
                    },
                    "auc": float(auc(values, figures.labels)),
                }
            )
    return pd.DataFrame(rows)


def _ridge_on_persons(x: Floats, ideal: Floats, folds: npt.NDArray[np.int64], labels: Floats) -> Floats:
    """Out-of-fold ridge predictions of the ideal point, the layer chosen on the other folds, `[m]`."""
    scores = np.empty((x.shape[1], len(ideal)))
    for fold in np.unique(folds):
        held_out = folds == fold
        scores[:, held_out] = probe_scores(x[~held_out], ideal[~held_out], x[held_out], "ridge")
    return nested_layer_auc(scores, labels, folds).scores
