"""What a crosscoder says of the concept: which latents carry it, and into which model each writes.

A crosscoder codes both models' states of the same tokens at once, so it cannot say that a latent fires in one model and
not in the other, and none of its latents is clamped in one alone. What it can say is which latents one model alone
has: by the lengths of a latent's two decoder rows, and by latent scaling, since those lengths alone mislead.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from unmask.features.crosscoder import Crosscoder
from unmask.features.dictionary import Dictionary
from unmask.features.evaluating import FitGatherer
from unmask.features.latent_scaling import LatentScalingFitter
from unmask.features.selection import select
from unmask.measurements.base import Asking, Context, Reading, exact
from unmask.measurements.features.coding import Text, mean_codes
from unmask.measurements.features.fit import doubts
from unmask.measurements.sets import ProbeSet
from unmask.models.prompts import Frame
from unmask.runner.records import Records
from unmask.runner.requests import SIDES

_AT_ONCE = 64
"""Texts that are coded together."""


def read_crosscoder(name: str, dictionary: Dictionary, statements: ProbeSet, ctx: Context) -> Asking:
    """Ask for both models' states of the same texts, and read the crosscoder on them.

    Args:
        name: the measurement's.
        dictionary: a crosscoder, base first.
        statements: texts of both poles.
        ctx: the run.
    """
    crosscoder, layer = dictionary.coder, dictionary.layer
    assert isinstance(crosscoder, Crosscoder)
    prompts = [
        *(Frame.plain(text) for text in statements.texts),
        *(ctx.frame.ask(question.question) for question in ctx.domain.questions),
    ]
    texts = {side: [Text.of(side, prompt) for prompt in prompts] for side in SIDES}
    records = yield [r for side in SIDES for text in texts[side] for r in text.requests(layer)]

    gathered, scaling = FitGatherer(crosscoder), LatentScalingFitter(crosscoder)
    means: list[Tensor] = []
    for states, lengths in _both([texts[side] for side in SIDES], records, layer):
        gathered.update(states)
        scaling.update(states)
        means.append(mean_codes(crosscoder.encode(states), lengths))
    of_statements = torch.cat(means)[: len(statements.texts)].numpy()
    selection = select(of_statements, statements.labels, statements.clusters)
    chosen = selection.chosen(ctx.profile.latents)
    found = scaling.result()
    kinds = found.labels()
    table = pd.DataFrame(
        {
            "latent": np.arange(crosscoder.n_latents),
            "relative_norm": crosscoder.relative_norms.double().numpy(),
            "kind": kinds,
            "active": found.active.numpy(),
            "selected": np.isin(np.arange(crosscoder.n_latents), chosen),
            "auroc": selection.auroc,
            "error_ratio": found.nu_error.numpy(),
            "reconstruction_ratio": found.nu_reconstruction.numpy(),
        }
    )
    left = dict(zip(SIDES, gathered.fvu, strict=True))
    estimates = {
        **{f"fvu_{side}": exact(left[side], "share of variance", gathered.n) for side in SIDES},
        "selected": exact(len(chosen), "latents", sum(selection.topics)),
    }
    alone = ", ".join(
        f"{(kinds[chosen] == kind).sum()} {kind}" for kind in ("base-only", "aligned-only", "shared", "other")
    )
    notes = [
        f"{dictionary.reference} is a crosscoder of layer {layer}: it codes both models at once, so whether a latent "
        "fires in one of them, and what clamping it there does, cannot be asked. The claims need an autoencoder.",
        f"{len(chosen)} of {crosscoder.n_latents:,} latents carry the concept: {alone}, after latent scaling on "
        f"{gathered.n:,} tokens.",
        *doubts(estimates, dictionary.trained_on, ctx),
    ]
    return Reading(name, estimates, {"crosscoder": table}, notes=notes)


def _both(
    sides: Sequence[Sequence[Text]], records: Records, layer: int
) -> Iterator[tuple[Tensor, list[int]]]:
    """The same texts' states in both models, `[n, 2, d]`, with the tokens of each text: those that are massive in
    neither model."""
    pairs = list(zip(*sides, strict=True))
    for begin in range(0, len(pairs), _AT_ONCE):
        states: list[Tensor] = []
        for pair in pairs[begin : begin + _AT_ONCE]:
            (at, base), (also, aligned) = (text.read(records, layer) for text in pair)
            _, first, second = np.intersect1d(at, also, assume_unique=True, return_indices=True)
            states.append(torch.stack([base[first], aligned[second]], dim=1))
        yield torch.cat(states), [len(one) for one in states]
