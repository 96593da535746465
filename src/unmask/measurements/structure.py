"""Is the concept still represented, as knowledge and not as words?

Everything is judged on the excess: the AUC of cross-format transfer above what a bag of words reaches on the
same split, averaged over stated → implied, implied → stated and statements → implied.

An excess is that of probes fitted on this many texts. Fitted on ever more, they would do better: in a planted world of
24 features and 44 persons a pole, an excess of .27 in the limit comes out as .19, for a fit on few texts is noisy and
an AUC of words that is never below chance is .02 above it. Two models share that, so changes suffer little from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.linear_model import LogisticRegression

from unmask.measurements.base import Asking, Claim, Context, Estimate, Reading, bootstrapped_refit, exact
from unmask.measurements.geometry import geometry
from unmask.measurements.ideal_points import ideal_points, projections
from unmask.measurements.sets import ProbeSet, activations, all_reads, probe_sets, standard_activations
from unmask.measurements.transfer import Resampling, Transfers, draw, transfer
from unmask.models.prompts import Frame
from unmask.runner.requests import SIDES, Score, Side
from unmask.stats import Null, auc, direction, probe_scores, standardise, word_counts

Floats = npt.NDArray[np.float64]
DECIDING = (("stated", "implied"), ("implied", "stated"), ("statements", "implied"))
EQUAL = 1e-3
"""AUCs that lie closer are no reason to prefer a layer."""
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
        drawn = draw(sets, profile.resamples, profile.permutations, lambda name: ctx.rng(f"structure.{name}"))

        def between(
            fit_side: Side,
            test_side: Side,
            formats: Sequence[tuple[str, str]],
            known: Transfers | None = None,
        ) -> Transfers:
            return {
                (fit, test): transfer(
                    sets[fit],
                    sets[test],
                    x[fit_side][fit],
                    x[test_side][test],
                    drawn,
                    known[fit, test].words if known else None,
                )
                for fit, test in formats
            }

        formats = [pair for pair in (*DECIDING, *REPORTED) if pair[1] in sets]
        base = between("base", "base", formats)
        own = {"base": base, "aligned": between("aligned", "aligned", formats, base)}
        # Base's direction on aligned's activations decides; the other way round is for the table.
        across = {
            ("base", "aligned"): between("base", "aligned", DECIDING, base),
            ("aligned", "base"): between("aligned", "base", DECIDING, base),
        }
        nll = {side: np.array([-records.array(score).mean() for score in neutral[side]]) for side in SIDES}

        estimates = excess_estimates(own, across["base", "aligned"], sets)
        estimates["perplexity_ratio"] = exact(
            float(np.exp(nll["aligned"].mean() - nll["base"].mean())), "× base's", len(nll["base"])
        )
        layer = steering_layer(base)
        vectors = {side: direction(raw[side], sets["statements"].labels).astype(np.float32) for side in SIDES}
        tables = {
            "transfer": _transfer_table(own, layer),
            "excess": _excess_table(own, sets),
            "cross": _cross_table(own, across, sets),
            "geometry": geometry(raw, sets["statements"], drawn.labels["statements"], ctx),
            "within": _within(x, sets["statements"], drawn),
            "probes": _probe_kinds(x, sets, base),
        }
        if "figures" in sets:
            tables |= {
                "figures": projections(own, ctx),
                "ideal_points": ideal_points(own, x, sets["figures"], ctx),
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


def steering_layer(transfers: Transfers) -> int:
    """The layer with base's best mean transfer, within the middle third of the depth.

    Earlier a direction is still being built, later an edit has few blocks left to act through. Of layers that are
    equally good, as where all of them tell the poles apart without fail, it is the one nearest the middle.
    """
    curve = np.mean([transfers[pair].curve for pair in DECIDING], axis=0)
    n_layers = len(curve) - 1
    third = range(round(n_layers / 3), round(2 * n_layers / 3) + 1)
    best = max(curve[layer] for layer in third)
    equal = [layer for layer in third if curve[layer] > best - EQUAL]
    return min(equal, key=lambda layer: abs(layer - n_layers / 2))


def _mean_excess(transfers: Transfers) -> Floats:
    return np.mean([transfers[pair].excess for pair in DECIDING], axis=0)


def _null_excess(transfers: Transfers) -> Null:
    observed = float(np.mean([transfers[pair].auc[0] for pair in DECIDING]))
    words = float(np.mean([transfers[pair].words[0] for pair in DECIDING]))
    samples = np.mean([transfers[pair].null for pair in DECIDING], axis=0)
    kind = "layer chosen alike, permuted labels, mean of three transfers"
    return Null.from_samples(kind, samples - words, observed - words)


def excess_estimates(
    own: Mapping[str, Transfers], across: Transfers, sets: Mapping[str, ProbeSet]
) -> dict[str, Estimate]:
    """The numbers that decide, from each side's transfers and those of base's directions in the aligned model."""
    n = min(_resampled(sets, *pair) for pair in DECIDING)
    excess = {side: _mean_excess(own[side]) for side in SIDES}
    crossed = _mean_excess(across)
    nulls = {side: _null_excess(own[side]) for side in SIDES}
    cross_null = _null_excess(across)
    unit = "AUC above words"
    beyond = crossed - cross_null.q95
    return {
        "excess_base": bootstrapped_refit(excess["base"][0], excess["base"][1:], unit, n, nulls["base"]),
        "excess_aligned": bootstrapped_refit(
            excess["aligned"][0], excess["aligned"][1:], unit, n, nulls["aligned"]
        ),
        "excess_change": _change(own["aligned"], own["base"], unit, n),
        "transfer_change": _change(across, own["base"], unit, n),
        "transfer_beyond_null": bootstrapped_refit(
            beyond[0], beyond[1:], "AUC above the null's 95 %", n, replace(cross_null, q95=0.0)
        ),
        **{f"permutation_p_{side}": exact(nulls[side].p, "p", n) for side in SIDES},
    }


def _change(to: Transfers, since: Transfers, unit: str, n: int) -> Estimate:
    """How much more some transfers reach than others on the same texts, whose words cancel: by whole resamples or,
    where those scatter more, by small steps. Where the poles hardly overlap, a small step changes no order."""
    whole, steps = (
        np.mean([getattr(to[pair], name) - getattr(since[pair], name) for pair in DECIDING], axis=0)
        for name in ("auc", "steps")
    )
    draws = max(whole[1:], steps[1:], key=lambda some: float(np.std(some)))
    return bootstrapped_refit(whole[0], draws, unit, n)


def _resampled(sets: Mapping[str, ProbeSet], fit: str, test: str) -> int:
    """How many clusters the poorer of a transfer's two sets has to resample."""
    return min(sets[fit].n_clusters, sets[test].n_clusters)


def _transfer_table(own: Mapping[str, Transfers], steered: int) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "side": side,
                "fit": t.fit,
                "test": t.test,
                "layer": layer,
                "steered": layer == steered,
                "auc": float(value),
                "words_auc": float(t.words[0]),
                "null_q95": t.curve_null_q95,
            }
            for side in SIDES
            for t in own[side].values()
            for layer, value in enumerate(t.curve)
        ]
    )


def _excess_table(own: Mapping[str, Transfers], sets: Mapping[str, ProbeSet]) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    for side in SIDES:
        for pair, t in own[side].items():
            estimate = bootstrapped_refit(t.excess[0], t.excess[1:], "", _resampled(sets, t.fit, t.test))
            rows.append(
                {
                    "side": side,
                    "fit": t.fit,
                    "test": t.test,
                    "decides": pair in DECIDING,
                    "auc": float(t.auc[0]),
                    "words": float(t.words[0]),
                    **estimate.columns("excess"),
                    "p": float((1 + (t.null >= t.auc[0]).sum()) / (1 + len(t.null))),
                    "layers": " ".join(str(layer) for layer in t.layers),
                }
            )
    return pd.DataFrame(rows)


def _cross_table(
    own: Mapping[str, Transfers],
    across: Mapping[tuple[str, str], Transfers],
    sets: Mapping[str, ProbeSet],
) -> pd.DataFrame:
    cells = {("base", "base"): own["base"], ("aligned", "aligned"): own["aligned"], **across}
    rows: list[dict[str, object]] = []
    for (fit_side, test_side), transfers in cells.items():
        for pair in DECIDING:
            t = transfers[pair]
            estimate = bootstrapped_refit(t.auc[0], t.auc[1:], "", _resampled(sets, t.fit, t.test))
            rows.append(
                {
                    "fit_side": fit_side,
                    "test_side": test_side,
                    "fit": t.fit,
                    "test": t.test,
                    **estimate.columns("auc"),
                }
            )
    return pd.DataFrame(rows)


def _within(x: Mapping[str, Mapping[str, Floats]], statements: ProbeSet, drawn: Resampling) -> pd.DataFrame:
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
    x: Mapping[str, Mapping[str, Floats]], sets: Mapping[str, ProbeSet], base: Transfers
) -> pd.DataFrame:
    """The deciding transfers with three kinds of probe, at the layer that base's transfer chose most."""
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
