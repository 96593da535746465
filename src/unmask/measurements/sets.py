"""Probe sets: labelled texts in one format, and the activations of both models on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from unmask.domains import POLES, Domain
from unmask.domains.schema import AxisPair, ContrastPair
from unmask.models.prompts import Frame
from unmask.runner.records import Records
from unmask.runner.requests import SIDES, Read, Side
from unmask.stats import n_clusters, standardise

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ProbeSet:
    """Texts of one format with their pole.

    Attributes:
        name: "statements", "stated", "implied", "figures" or an unrelated axis.
        texts: `[n]`.
        labels: `[n]`, 0 for pole a and 1 for pole b.
        clusters: `[n]`, topics or persons; what is resampled together.
        pick: sentences are read as the mean over their tokens, a name at its last token, where it is complete.
    """

    name: str
    texts: tuple[str, ...]
    labels: Floats
    clusters: tuple[str, ...]
    pick: Literal["mean", "last"] = "mean"

    @property
    def strata(self) -> Floats | None:
        """`[n]`, the poles where every text is its own cluster, so that each resample keeps their sizes; else None."""
        return self.labels if len(set(self.clusters)) == len(self.texts) else None

    @property
    def n_clusters(self) -> int:
        """How many clusters are resampled; of a set in strata, how many the poorest has."""
        return n_clusters(self.clusters, self.strata)

    def reads(self, side: Side) -> list[Read]:
        """One bare read a text at every layer: the mean over its tokens without the first, or its last token."""
        return [Read(side, Frame.plain(text), self.pick) for text in self.texts]


def pair_set(name: str, pairs: Iterable[ContrastPair | AxisPair]) -> ProbeSet:
    """Contrast pairs as a probe set: `a` then `b` of each pair."""
    rows = [(text, label, pair.topic) for pair in pairs for text, label in ((pair.a, 0.0), (pair.b, 1.0))]
    texts, labels, topics = zip(*rows, strict=True)
    return ProbeSet(name, texts, np.array(labels), topics)


def identity_set(domain: Domain, kind: str) -> ProbeSet:
    """The stated or implied identities of both poles."""
    rows = [(i.text, float(pole == "b")) for pole in POLES for i in domain.identities_of(kind, pole)]
    texts, labels = zip(*rows, strict=True)
    return ProbeSet(kind, texts, np.array(labels), texts)


def figure_set(domain: Domain) -> ProbeSet:
    """Public persons, by a name that says nothing of their pole."""
    texts = tuple(domain.header.figures_as.format(name=figure.name) for figure in domain.figures)
    return ProbeSet("figures", texts, np.array([float(f.pole == "b") for f in domain.figures]), texts, "last")


def refusal_set(domain: Domain, count: int = 60) -> ProbeSet:
    """Answers that decline (1) and answers that say something neutral (0), from the judge's building answers."""
    rows = [
        (answer.text, label, answer.topic)
        for kind, label in (("neutral", 0.0), ("refusal", 1.0))
        for answer in [a for a in domain.answers if a.kind == kind][:count]
    ]
    texts, labels, topics = zip(*rows, strict=True)
    return ProbeSet("refusal", texts, np.array(labels), topics)


def probe_sets(domain: Domain) -> dict[str, ProbeSet]:
    """The four formats in which a domain's concept is looked for."""
    sets = [
        pair_set("statements", domain.statements),
        identity_set(domain, "stated"),
        identity_set(domain, "implied"),
    ]
    if domain.figures:
        sets.append(figure_set(domain))
    return {probe_set.name: probe_set for probe_set in sets}


def axis_sets(domain: Domain) -> dict[str, ProbeSet]:
    """The unrelated concepts, each as a probe set."""
    names = sorted({pair.axis for pair in domain.axes})
    return {name: pair_set(name, [pair for pair in domain.axes if pair.axis == name]) for name in names}


def all_reads(sets: Mapping[str, ProbeSet], sides: Sequence[Side] = SIDES) -> list[Read]:
    """Every read of these sets on these sides."""
    return [read for side in sides for probe_set in sets.values() for read in probe_set.reads(side)]


def activations(records: Records, probe_set: ProbeSet, side: Side) -> Floats:
    """`[n, layers, d]`, as the model has them."""
    return records.stack(probe_set.reads(side)).astype(np.float64)


def standard_activations(records: Records, probe_set: ProbeSet, side: Side) -> Floats:
    """`[n, layers, d]`, each feature in sd over its own set, since formats shift the mean."""
    return standardise(activations(records, probe_set, side))
