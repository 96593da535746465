"""Dose–response curves: how far a push along a direction moves the stance margin, and how steeply.

The gain of a curve is its slope at 0, in nats per token of the margin for one dose, mean over questions: the linear
term of a cubic through all doses, so that a curve that flattens towards the ends does not pass for a weak one. Curves
of one kind share their resamples of topics, so that gains are compared in pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.domains.schema import Question
from unmask.measurements.base import Context, Estimate, bootstrapped
from unmask.measurements.stance import margins, score_pair
from unmask.measurements.steering import UNRELATED
from unmask.models.edits import Edit
from unmask.models.prompts import Frame
from unmask.runner.records import Records
from unmask.runner.requests import SIDES, Score, Side
from unmask.stats import Interval, cluster_weights, ratio_interval, ratio_replicates

Floats = npt.NDArray[np.float64]
GAIN_UNIT = "nats/token per σ"


class Pushed(Protocol):
    """What is pushed: of a kind, whose members share their questions, and known by an id."""

    @property
    def kind(self) -> str: ...
    @property
    def id(self) -> str: ...


Arm = TypeVar("Arm", bound=Pushed)


@dataclass(frozen=True)
class Curve:
    """One arm's curve in one model.

    Attributes:
        arm: what is pushed, such as along a direction.
        questions: whose margin is measured.
        doses: `[doses]`, in shared σ.
        pairs: for each dose and question, the scores of pole a's statement and of pole b's.
    """

    arm: Pushed
    questions: tuple[Question, ...]
    doses: Floats
    pairs: tuple[tuple[tuple[Score, Score], ...], ...]

    @property
    def requests(self) -> list[Score]:
        return [score for pairs in self.pairs for pair in pairs for score in pair]

    @property
    def n_topics(self) -> int:
        return len({question.topic for question in self.questions})

    def margins(self, records: Records) -> Floats:
        """`[doses, questions]`, nats per token for pole b."""
        return np.stack([margins(records, pairs) for pairs in self.pairs])

    def margins_at_rest(self, records: Records) -> Floats:
        """`[questions]`, the margins without a push."""
        return margins(records, self.pairs[int(np.abs(self.doses).argmin())])

    def slopes(self, records: Records) -> Floats:
        """`[questions]`, the slope of each question's margins at dose 0."""
        return slope_at_zero(self.doses) @ self.margins(records)

    def drawn(self, ctx: Context) -> npt.NDArray[np.int64]:
        """`[resamples, questions]`, how often each question is in each resample of topics."""
        topics = [question.topic for question in self.questions]
        return cluster_weights(topics, ctx.profile.resamples, ctx.rng(f"causality.{self.arm.kind}"))

    def gain(self, records: Records, drawn: npt.NDArray[np.int64]) -> Floats:
        """`[1 + resamples]`, the gain and its replicates under what was `drawn`."""
        slopes = self.slopes(records)
        return np.concatenate([[slopes.mean()], drawn @ slopes / drawn.sum(1)])


def slope_at_zero(doses: Floats) -> Floats:
    """`[doses]`, what each value of a curve counts in its slope at 0, by a least-squares cubic.

    Raises:
        ValueError: fewer than four doses, through which there is no one cubic.
    """
    if len(set(doses.tolist())) < 4:
        raise ValueError(
            f"A curve needs at least 4 different doses for its slope at 0, got {doses.tolist()}."
        )
    largest = np.abs(doses).max()
    return np.linalg.pinv(np.vander(doses / largest, 4, increasing=True))[1] / largest


Curves = Mapping[tuple[str, str], Curve]
"""The curves of one layer, by side and arm."""


def ask_curves(
    arms: Sequence[Arm],
    edit_of: Callable[[Side, Arm, float], Edit | None],
    doses: Floats,
    asked: Mapping[str, Sequence[Question]],
    frame: Frame,
) -> Curves:
    """Every arm's curve in both models.

    Args:
        arms: what is pushed.
        edit_of: a side's edit for an arm and a dose; None for none.
        doses: `[doses]`.
        asked: the questions by kind of arm.
        frame: the pair's.
    """
    curves: dict[tuple[str, str], Curve] = {}
    for side in SIDES:
        for arm in arms:
            questions = tuple(asked[arm.kind])
            edits = [edit_of(side, arm, dose) for dose in doses]
            pairs = [tuple(score_pair(side, q, q.question, frame, edit) for q in questions) for edit in edits]
            curves[side, arm.id] = Curve(arm, questions, doses, tuple(pairs))
    return curves


def read_gains(records: Records, curves: Curves, ctx: Context) -> tuple[dict[str, Estimate], pd.DataFrame]:
    """What the claims rest on, and the gain of every arm."""
    gain = gains(records, curves, ctx)
    n = curves["base", "concept"].n_topics
    chance = {side: chance_gain(records, curves, side) for side in SIDES}
    base, aligned = gain["base", "concept"], gain["aligned", "concept"]
    ratio = _ratio(aligned, base, n)
    replicates = ratio_replicates(base[0], aligned[1:], base[1:])
    moved = gain["aligned", UNRELATED]
    estimates = {
        "gain_ratio": Estimate(ratio.value, ratio.low, ratio.high, "aligned / base", n, None, replicates),
        "gain_base": bootstrapped(base[0], base[1:], GAIN_UNIT, n),
        "gain_aligned": bootstrapped(aligned[0], aligned[1:], GAIN_UNIT, n),
        "base_beyond_random": bootstrapped(base[0] - chance["base"], base[1:] - chance["base"], GAIN_UNIT, n),
        "unrelated_moves_aligned": bootstrapped(
            moved[0], moved[1:], GAIN_UNIT, curves["aligned", UNRELATED].n_topics
        ),
        "aligned_beyond_random": bootstrapped(
            aligned[0] - chance["aligned"], aligned[1:] - chance["aligned"], GAIN_UNIT, n
        ),
    }
    return estimates, gains_table(curves, gain)


def gains_table(curves: Curves, gain: Mapping[tuple[str, str], Floats]) -> pd.DataFrame:
    """The gain of every arm in both models, from `gains`."""
    rows: list[dict[str, object]] = []
    for (side, arm_id), curve in curves.items():
        values = gain[side, arm_id]
        estimate = bootstrapped(values[0], values[1:], GAIN_UNIT, curve.n_topics)
        rows.append({"side": side, "arm": curve.arm.kind, "arm_id": arm_id, **estimate.columns("gain")})
    return pd.DataFrame(rows)


def layers_table(records: Records, steered: Mapping[int, Curves], chosen: int, ctx: Context) -> pd.DataFrame:
    """The concept's gain by layer and side beside chance, and aligned's over base's, which is of both rows."""
    rows: list[dict[str, object]] = []
    for layer, curves in sorted(steered.items()):
        n = curves["base", "concept"].n_topics
        concept = {key: curve for key, curve in curves.items() if key[1] == "concept"}
        gain = {side: values for (side, _), values in gains(records, concept, ctx).items()}
        ratio = _ratio(gain["aligned"], gain["base"], n)
        for side in SIDES:
            estimate = bootstrapped(gain[side][0], gain[side][1:], GAIN_UNIT, n)
            rows.append(
                {
                    "layer": layer,
                    "chosen": layer == chosen,
                    "side": side,
                    **estimate.columns("gain"),
                    "random_q95": chance_gain(records, curves, side),
                    "ratio": ratio.value,
                    "ratio_low": ratio.low,
                    "ratio_high": ratio.high,
                }
            )
    return pd.DataFrame(rows)


def curves_table(
    records: Records,
    curves: Curves,
    ctx: Context,
    perplexity: Mapping[tuple[str, float], float] | None = None,
) -> pd.DataFrame:
    """Stance by side, arm and dose; `perplexity` is of the text that was written along the concept."""
    nan = float("nan")
    rows: list[dict[str, object]] = []
    for (side, arm_id), curve in curves.items():
        kind, drawn = curve.arm.kind, curve.drawn(ctx)
        stance = np.tanh(curve.margins(records) / 2)
        for dose, values in zip(curve.doses, stance, strict=True):
            estimate = bootstrapped(values.mean(), drawn @ values / drawn.sum(1), "", curve.n_topics)
            rows.append(
                {
                    "side": side,
                    "arm": kind,
                    "arm_id": arm_id,
                    "dose": float(dose),
                    **estimate.columns("stance"),
                    "perplexity_ratio": perplexity[side, float(dose)]
                    if perplexity and kind == "concept"
                    else nan,
                }
            )
    return pd.DataFrame(rows)


def gains(records: Records, curves: Curves, ctx: Context) -> dict[tuple[str, str], Floats]:
    """`[1 + resamples]` of each curve. Arms of one kind ask the same questions and share one draw of their topics."""
    drawn = {curve.arm.kind: curve for curve in curves.values()}
    draws = {kind: curve.drawn(ctx) for kind, curve in drawn.items()}
    return {key: curve.gain(records, draws[curve.arm.kind]) for key, curve in curves.items()}


def chance_gain(records: Records, curves: Curves, side: str) -> float:
    """The 95 % quantile of the random arms' |gain|."""
    random = [c for (at, _), c in curves.items() if at == side and c.arm.kind == "random"]
    return float(np.quantile([abs(curve.slopes(records).mean()) for curve in random], 0.95))


def _ratio(above: Floats, below: Floats, n: int) -> Interval:
    return ratio_interval(above[0], below[0], above[1:], below[1:], clusters=n)


def ablation_table(
    records: Records,
    ablated: Mapping[tuple[str, str], Sequence[tuple[Score, Score]]],
    at_rest: Mapping[str, Floats],
) -> pd.DataFrame:
    """Mean size of the margin's change when something is taken out.

    Args:
        records: of the scores.
        ablated: by side and what was taken out, the scores of some first questions.
        at_rest: margins without an edit by side, of those questions and perhaps more.
    """
    rows: list[dict[str, object]] = []
    for (side, what), pairs in ablated.items():
        after = margins(records, pairs)
        before = at_rest[side][: len(after)]
        rows.append(
            {
                "side": side,
                "direction": what,
                "mean_change": float(np.abs(after - before).mean()),
                "spread_before": float(before.std()),
                "spread_after": float(after.std()),
            }
        )
    return pd.DataFrame(rows)
