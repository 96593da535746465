"""Which features carry the concept, which of them went silent, and what it does to push them.

A sparse autoencoder's latents stand for features. Those that differ between the poles of on-topic statements are
selected; whether they still fire is seen in what each model answers to open questions, and what they do by clamping
them. All of it means something only where the dictionary fits both models, and only beside other latents that fire as
often and beside a dictionary of random directions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from unmask.features.autoencoder import SparseAutoencoder
from unmask.features.selection import Selection, select
from unmask.measurements.answers import ask_openly
from unmask.measurements.base import Asking, Claim, Context, Reading, exact
from unmask.measurements.features.clamping import Clamps, matched_sets
from unmask.measurements.features.coding import Reader, Text
from unmask.measurements.features.contexts import contexts
from unmask.measurements.features.crosscoding import read_crosscoder
from unmask.measurements.features.decomposition import decomposition
from unmask.measurements.features.firing import LEAST_TOKENS, Firing, paired, random_silence, silence
from unmask.measurements.features.fit import FITTED_QUESTIONS, FitCheck, doubts, plain_scores, random_reader
from unmask.measurements.features.steering import Steering
from unmask.measurements.sets import activations, all_reads, pair_set
from unmask.measurements.steering import Push
from unmask.models.prompts import Frame
from unmask.runner.requests import SIDES, digest
from unmask.stats import cosine

Floats = npt.NDArray[np.float64]
LEAST_TOPICS = 6
LIKELY = 0.05
"""A latent whose difference between the poles has a smaller p in either half may carry the concept, and is no rival."""
ANSWERS = 3
"""Answers a question, at most: more of the same question say little more, and every token of them is kept."""


@dataclass(frozen=True)
class Features:
    """The features measurement; its settings are its fields.

    Attributes:
        largest_dose: the largest push, in base's σ along the direction.
    """

    largest_dose: float = 4.0

    name: ClassVar[str] = "features"
    family: ClassVar[str] = "mask"
    needs: ClassVar[tuple[str, ...]] = ("structure",)
    reads_dictionary: ClassVar[bool] = True
    claims: ClassVar[Mapping[str, Claim]] = {
        "features.deactivated": Claim(
            "Most features that carry the concept have gone silent in what the aligned model answers.",
            "In base's answers they fire, in the aligned model's at less than a tenth of that rate, and features that "
            "fire as often but carry something else have not gone silent as well.",
            "It does not say what came first: an answer that takes no side gives them little to fire on. Nor is a "
            "silent feature gone: the aligned model still fires it on texts that it reads.",
        ),
        "features.steerable": Claim(
            "Pushing the features still moves the aligned model's stance, more than pushing other features does.",
            "What the features write is still turned into positions.",
            "It does not say that anything in ordinary use pushes them.",
        ),
    }

    def measure(self, ctx: Context) -> Asking:
        dictionary = ctx.dictionary
        if dictionary is None:
            raise LookupError("it reads a sparse autoencoder, and none was named")
        statements = pair_set("statements", ctx.domain.statements)
        if len({*statements.clusters}) < LEAST_TOPICS:
            note = f"Latents are chosen on half of the topics and judged on the others: give at least {LEAST_TOPICS}."
            return Reading(self.name, {}, notes=[note])
        if not isinstance(dictionary.coder, SparseAutoencoder):
            return (yield from read_crosscoder(self.name, dictionary, statements, ctx))
        reader = Reader(dictionary.coder, dictionary.layer, dictionary.digest)

        layer = reader.layer
        read = {side: [Text.of(side, Frame.plain(text)) for text in statements.texts] for side in SIDES}
        asked = {
            side: [Text.of(side, ctx.frame.ask(q.question)) for q in ctx.domain.questions] for side in SIDES
        }
        answers = {side: [ask for asks in ask_openly(ctx, side) for ask in asks[:ANSWERS]] for side in SIDES}
        fitted = ctx.domain.questions[:FITTED_QUESTIONS]
        plain = plain_scores(fitted, ctx.frame)
        records = yield [
            *all_reads({"statements": statements}),
            *(r for side in SIDES for text in (*read[side], *asked[side]) for r in text.requests(layer)),
            *(ask for side in SIDES for ask in answers[side]),
            *(score for side in SIDES for pair in plain[side] for score in pair),
        ]

        coded = {side: reader.code(read[side], records) for side in SIDES}
        selection = select(coded["base"].means, statements.labels, statements.clusters)
        usual = coded["base"].usual
        writes = np.isfinite(usual) & (reader.sae.decoder_norms > 0).numpy()
        most = ctx.profile.latents
        # In a rehearsal none would pass, so as many are taken as there may be.
        chosen = selection.ranked if dictionary.made_up else selection.chosen(reader.sae.n_latents)
        chosen = chosen[writes[chosen]][:most]
        other = np.flatnonzero(writes & (selection.p > LIKELY) & ~np.isin(np.arange(len(usual)), chosen))
        rates = (coded["base"].peaks > 0).mean(0)
        matched = matched_sets(chosen, rates, other, ctx.profile.random_arms, ctx.rng("features.matched"))
        random = random_reader(reader, read["base"], records, ctx)
        fit = FitCheck.of({"this": reader, "random": random}, fitted, plain, ctx.frame)

        at_layer = {side: activations(records, statements, side)[:, layer] for side in SIDES}
        directions = ctx.readings["structure"].artefacts["direction_base"]
        push = Push.of(at_layer, directions[layer].astype(np.float64))
        weights = [ctx.identities[side] for side in SIDES]
        sample = [ctx.seed, *weights, ctx.domain.digest, ctx.profile.record()]
        provenance = digest(["clamp/1", reader.key, layer, self.largest_dose, *sample])[:16]
        clamps = Clamps(reader, push, self.largest_dose, coded, provenance)
        poles = np.sign(selection.difference[chosen])
        steering = Steering.of(clamps, chosen, poles, matched, usual, ctx) if len(chosen) else None
        said = {
            side: [Text.answer(side, ask.prompt, records.answer(ask).text) for ask in answers[side]]
            for side in SIDES
        }
        late = yield [
            *(r for side in SIDES for text in said[side] for r in text.requests(layer)),
            *fit.requests,
            *(steering.requests if steering else ()),
        ]

        both = {side: [(read[side], records), (said[side], late)] for side in SIDES}
        fit_table, fitness = fit.read(records, late, both)
        first, second = selection.topics
        estimates = {**fitness, "selected": exact(len(chosen), "latents", first + second)}
        tables = {
            "fit": fit_table,
            "decomposition": decomposition(reader, push, chosen, statements, read, asked, records),
        }
        notes = [
            f"{dictionary.reference} reads layer {layer}. {len(chosen)} of its {reader.sae.n_latents:,} latents differ "
            f"between the poles on one half of the {first + second} topics, and again on the other.",
            *doubts(fitness, dictionary.trained_on, ctx),
        ]
        if steering is None:
            return Reading(self.name, estimates, tables, notes=notes)

        steered, steering_estimates = steering.read(late, ctx)
        tables |= steered
        estimates |= steering_estimates
        notes.append(
            f"Features are pushed at the same size as the direction, one dose {push.size['base']:.3g}."
        )
        misfit = clamps.misfit(steering.sets)
        if misfit > 1.001:
            notes.append(
                f"Clamping to usual strengths is up to {misfit:.1f} times the largest push, so codes go a part of the "
                "way."
            )
        if not matched:
            notes.append(
                "The dictionary has too few other latents that fire about as often to push beside them."
            )

        cut, kept = paired(said, late, layer)
        estimates["answered"] = exact(float(kept.mean()), "share of answers", len(kept))
        if not kept.any():
            notes.append(f"No two answers to a question have {LEAST_TOKENS} tokens, so firing says nothing.")
            return Reading(self.name, estimates, tables, notes=notes)
        answered = {side: reader.code(cut[side], late) for side in SIDES}
        firing = Firing.of(
            chosen,
            coded,
            {side: reader.code(asked[side], records) for side in SIDES},
            answered,
            np.repeat([q.topic for q in ctx.domain.questions], len(kept) // len(ctx.domain.questions))[kept],
            {side: reader.peak_pre_activations(cut[side], late, chosen) for side in SIDES},
        )
        of_random = random_silence(random, statements, read["base"], cut, firing.topics, records, late, most)
        rng = ctx.rng("features.silent")
        silent, silence_estimates = silence(firing, other, ctx.profile.random_arms, rng, of_random)
        sources = {"statement": (read, coded, records), "answer": (cut, answered, late)}
        cosines = cosine(reader.sae.decoder[chosen].double().numpy(), push.unit)
        tables |= {
            "latents": latents_table(selection, firing, steering.effects(late), cosines),
            "silence": silent,
            "contexts": contexts(reader, chosen, sources),
        }
        notes.append(
            "A latent fires where its code reaches half of the strength that it usually has in base. "
            f"{firing.n} pairs of answers to one question count, each cut to its shorter one."
        )
        if not np.isfinite(silence_estimates["silenced_beyond_matched"].value):
            notes.append(
                "The dictionary has too few other latents that fire as often in base's answers to compare."
            )
        return Reading(self.name, {**estimates, **silence_estimates}, tables, notes=notes)


def latents_table(
    selection: Selection, firing: Firing, effects: Mapping[str, tuple[Floats, float]], cosines: Floats
) -> pd.DataFrame:
    """Everything that is known of each selected latent, a row each."""
    chosen, found = firing.latents, firing.found
    of_b, auroc = selection.difference[chosen] > 0, selection.auroc[chosen]
    rates = {"base": found.base_rate, "aligned": found.aligned_rate}
    columns: dict[str, npt.NDArray[np.generic] | float] = {
        "latent": chosen,
        "pole": np.where(of_b, "b", "a"),
        "difference": selection.difference[chosen],
        "q": selection.q[chosen],
        "auroc": np.where(of_b, auroc, 1 - auroc),
        "cosine": cosines,
    }
    for name, by_side in (("read", firing.read), ("asked", firing.asked), ("said", rates)):
        columns |= {f"{name}_{side}": by_side[side] for side in SIDES}
    columns |= {
        "bound": found.bound,
        "probability": found.probability,
        "state": np.where(found.silenced, "silenced", np.where(found.alive, "alive", "unsure")),
        **{f"strength_{side}": firing.strength[side] for side in SIDES},
        **{f"effect_{side}": effects[side][0] for side in SIDES},
        **{f"chance_{side}": effects[side][1] for side in SIDES},
    }
    return pd.DataFrame(columns)
