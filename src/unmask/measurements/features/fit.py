"""How well a dictionary fits both models on the texts that are judged by it, beside random directions.

A dictionary that leaves most of what varies, or with whose reconstruction a model no longer works, says nothing of
that model. Both are asked, since either alone can be met by chance: a model set to zero is so broken that nearly any
reconstruction recovers most of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from unmask.domains.schema import Question
from unmask.features.evaluating import FitGatherer, Zeros
from unmask.features.random_dictionary import random_dictionary
from unmask.measurements.base import Context, Estimate, exact
from unmask.measurements.features.coding import Reader, Text, batches
from unmask.measurements.stance import score_pair
from unmask.models.edits import Coder, Substitute
from unmask.models.prompts import Frame
from unmask.runner.records import Records
from unmask.runner.requests import SIDES, Score, digest

Pairs = Sequence[tuple[Score, Score]]
FITTED_QUESTIONS = 20
"""Whose statements are scored with x̂ in place of the states."""


def random_reader(reader: Reader, texts: Sequence[Text], records: Records, ctx: Context) -> Reader:
    """Random directions in place of the dictionary's, drawn with the covariance of base's tokens on these texts."""
    states = torch.cat([states for states, _ in batches(texts, records, reader.layer)])
    seed = int(ctx.rng("features.random").integers(2**31))
    drawn_from = [reader.key, seed, ctx.identities["base"], ctx.domain.digest, ctx.profile.record()]
    key = f"random@{reader.layer}:{digest(drawn_from)[:16]}"
    return Reader(random_dictionary(reader.sae, states, seed), reader.layer, key)


def plain_scores(questions: Sequence[Question], frame: Frame) -> dict[str, Pairs]:
    """Statements behind their questions, by side, with the states as they are."""
    return {side: [score_pair(side, q, q.question, frame) for q in questions] for side in SIDES}


@dataclass(frozen=True, eq=False)
class FitCheck:
    """The scores that tell what a reconstruction costs.

    Attributes:
        readers: "this" dictionary and the "random" one.
        plain: by side, with the states as they are; asked in an earlier round.
        replaced: by side and reader, with x̂ in their place, and "zeros".
    """

    readers: Mapping[str, Reader]
    plain: Mapping[str, Pairs]
    replaced: Mapping[tuple[str, str], Pairs]

    @staticmethod
    def of(
        readers: Mapping[str, Reader], questions: Sequence[Question], plain: Mapping[str, Pairs], frame: Frame
    ) -> FitCheck:
        layer = next(iter(readers.values())).layer
        coders: dict[str, tuple[Coder, str]] = {name: (one.sae, one.key) for name, one in readers.items()}
        replaced = {
            (side, name): [
                score_pair(side, q, q.question, frame, Substitute((layer,), coder, key)) for q in questions
            ]
            for side in SIDES
            for name, (coder, key) in {**coders, "zeros": (Zeros(), "zeros")}.items()
        }
        return FitCheck(readers, plain, replaced)

    @property
    def requests(self) -> list[Score]:
        return [score for pairs in self.replaced.values() for pair in pairs for score in pair]

    def read(
        self, records: Records, late: Records, texts: Mapping[str, Sequence[tuple[Sequence[Text], Records]]]
    ) -> tuple[pd.DataFrame, dict[str, Estimate]]:
        """The table, and the numbers that stop a dictionary which does not fit.

        Args:
            records: of the plain scores.
            late: of the others.
            texts: by side, the texts whose variance is to be explained, with the records that hold them.
        """
        rows: list[dict[str, object]] = []
        estimates: dict[str, Estimate] = {}
        for side in SIDES:
            left: dict[str, float] = {}
            plain, zeroed = _nll(records, self.plain[side]), _nll(late, self.replaced[side, "zeros"])
            for name, reader in self.readers.items():
                gathered = FitGatherer(reader.sae)
                for some, held in texts[side]:
                    for states, _ in batches(some, held, reader.layer):
                        gathered.update(states)
                (left[name],) = gathered.fvu
                nll = _nll(late, self.replaced[side, name])
                recovered = (zeroed - nll) / (zeroed - plain) if zeroed > plain else float("nan")
                rows.append(
                    {
                        "side": side, "dictionary": name, "tokens": gathered.n, "fvu": left[name], "l0": gathered.l0,
                        "dead": gathered.dead, "cross_entropy": plain, "reconstructed": nll, "zeroed": zeroed,
                        "recovered": recovered, "cost": nll - plain,
                    }
                )  # fmt: skip
                if name == "this":
                    n = len(self.plain[side])
                    estimates[f"fvu_{side}"] = exact(left[name], "share of variance", gathered.n)
                    estimates[f"recovered_{side}"] = exact(recovered, "share of cross-entropy", n)
                else:
                    beyond = left["random"] - left["this"]
                    estimates[f"fit_beyond_random_{side}"] = exact(beyond, "share of variance", gathered.n)
        return pd.DataFrame(rows), estimates


def _nll(records: Records, pairs: Pairs) -> float:
    """Nats a token."""
    return float(-np.concatenate([records.array(score) for pair in pairs for score in pair]).mean())


def doubts(fit: Mapping[str, Estimate], trained_on: Sequence[str], ctx: Context) -> list[str]:
    """What a reader should know of a dictionary that is of other models, or fits one of the two better.

    Args:
        fit: the estimates of `FitCheck.read`.
        trained_on: identities of the models that it was trained on; empty where that is not known.
        ctx: the run.
    """
    notes: list[str] = []
    strangers = [side for side in SIDES if trained_on and ctx.identities[side] not in trained_on]
    if strangers:
        notes.append(f"The dictionary was not trained on the {' or the '.join(strangers)} model.")
    base, aligned = (fit[f"fvu_{side}"].value for side in SIDES)
    if aligned > 1.25 * base:
        notes.append(
            f"It leaves more of the aligned model's variance ({aligned:.2f}) than of base's ({base:.2f}): part of what "
            "seems silent may be what it does not see there."
        )
    return notes
