"""The domain's sentences as this room uses them: labelled formats to fit and test on, and prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from unmask.domains import POLES, Domain

T = TypeVar("T")
Ints = npt.NDArray[np.int64]
FORMATS = ("statements", "stated", "implied", "figures")


@dataclass(frozen=True)
class Format:
    """Labelled texts of one format.

    Attributes:
        name: one of `FORMATS`.
        texts: `[n]`.
        labels: `[n]`, 0 for pole a and 1 for pole b.
        clusters: `[n]`, a text's topic or person.
        last: read at the last token, where a name is complete, and not as the mean over tokens.
    """

    name: str
    texts: tuple[str, ...]
    labels: Ints
    clusters: tuple[str, ...]
    last: bool = False

    def of_clusters(self, wanted: set[str]) -> Format:
        """The texts of these clusters."""
        kept = [i for i, cluster in enumerate(self.clusters) if cluster in wanted]
        return replace(
            self,
            texts=tuple(self.texts[i] for i in kept),
            labels=self.labels[kept],
            clusters=tuple(self.clusters[i] for i in kept),
        )


def formats(domain: Domain) -> tuple[Format, ...]:
    """The domain's formats, in the order of `FORMATS`; figures only where it has some."""
    made = [
        _format("statements", [(t, k, p.topic) for p in domain.statements for k, t in enumerate((p.a, p.b))])
    ]
    for kind in ("stated", "implied"):
        rows = [(i.text, k, i.text) for k, pole in enumerate(POLES) for i in domain.identities_of(kind, pole)]
        made.append(_format(kind, rows))
    if domain.figures:
        shown = [(domain.header.figures_as.format(name=f.name), f) for f in domain.figures]
        made.append(replace(_format("figures", [(t, int(f.pole == "b"), t) for t, f in shown]), last=True))
    return tuple(made)


def ordinary_texts(domain: Domain, count: int = 60) -> tuple[str, ...]:
    """Texts that have nothing to do with the poles: every second fact, unrelated axes, requests, sideless answers."""
    texts = [f"{fact.question} {fact.true}" for fact in spread_out(domain.facts[1::2], count)]
    texts += [pair.a if i % 2 else pair.b for i, pair in enumerate(spread_out(domain.axes, 2 * count))]
    texts += [other.question for other in spread_out(domain.offtopic, count)]
    texts += [a.text for a in spread_out([a for a in domain.answers if a.kind not in ("a", "b")], count)]
    return tuple(texts)


def halves(sets: Sequence[Format], rng: np.random.Generator) -> tuple[tuple[Format, ...], tuple[Format, ...]]:
    """The formats split by topic or person, each pole's persons evenly."""
    parts: tuple[list[Format], list[Format]] = ([], [])
    for one in sets:
        pole_of = dict(zip(one.clusters, one.labels.tolist(), strict=True))
        paired = len(pole_of) < len(one.texts)
        chosen: list[set[str]] = [set(), set()]
        for group in (
            [list(pole_of)] if paired else [[c for c, k in pole_of.items() if k == p] for p in (0, 1)]
        ):
            for place, index in enumerate(rng.permutation(len(group))):
                chosen[place % 2].add(group[index])
        for part, wanted in zip(parts, chosen, strict=True):
            part.append(one.of_clusters(wanted))
    return tuple(parts[0]), tuple(parts[1])


def spread_out(rows: Sequence[T], count: int) -> list[T]:
    """At most `count` of the rows, evenly over their order, which goes by topic."""
    if len(rows) <= count:
        return list(rows)
    return [rows[i] for i in np.linspace(0, len(rows) - 1, count).round().astype(int)]


def _format(name: str, rows: Sequence[tuple[str, int, str]]) -> Format:
    texts, labels, clusters = zip(*rows, strict=True)
    return Format(name, texts, np.array(labels), clusters)
