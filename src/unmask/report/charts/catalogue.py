"""Which figures a measurement has, what each shows, and the finding it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from unmask.report.charts import causality, features, reactivation, structure, surface, variance
from unmask.report.charts.style import Chart, Tables

_SIDES = ("base", "aligned")


@dataclass(frozen=True)
class Panel:
    """One chart of a figure.

    Attributes:
        title: what sets it apart from its neighbours; empty where it stands alone.
        spec: its Vega-Lite specification.
        height: in pixels, known before it is drawn.
    """

    title: str
    spec: Mapping[str, object]
    height: int


@dataclass(frozen=True)
class Figure:
    """A figure with everything around it.

    Attributes:
        name: unique within the measurement.
        title: what it shows, in a few words.
        caption: how to read it.
        findings: the findings it bears on; it stands with the first.
        tables: tables it is drawn from.
        key: the marks to explain, each with its label.
    """

    name: str
    title: str
    caption: str
    findings: tuple[str, ...]
    tables: tuple[str, ...]
    key: tuple[tuple[str, str], ...]
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class _Plan:
    name: str
    title: str
    caption: str
    draw: Callable[[Tables], Chart | Mapping[str, Chart] | None]
    findings: tuple[str, ...]
    tables: tuple[str, ...]
    key: tuple[str, ...] = _SIDES


def figures(measurement: str, tables: Tables, kinds: Mapping[str, str]) -> list[Figure]:
    """Draw what a measurement's tables allow.

    Args:
        measurement: its name; one without figures of its own gets none.
        tables: its tables by their own name ("summary", not "partisan/surface.summary").
        kinds: what answer labels are called, the domain's poles included.
    """
    drawn: list[Figure] = []
    for plan in _PLANS[measurement](kinds) if measurement in _PLANS else ():
        charts = plan.draw(tables)
        if not charts:
            continue
        named = charts if isinstance(charts, Mapping) else {"": charts}
        panels = tuple(_panel(title, chart) for title, chart in named.items())
        key = tuple((mark, _label(mark, kinds)) for mark in plan.key)
        drawn.append(Figure(plan.name, plan.title, plan.caption, plan.findings, plan.tables, key, panels))
    return drawn


def _panel(title: str, chart: Chart) -> Panel:
    spec = chart.to_dict()
    # The page gives one config to all figures, and knows which Vega-Lite it carries.
    for key in ("config", "$schema"):
        spec.pop(key, None)
    return Panel(title, spec, int(spec["height"]))


_LABELS: Mapping[str, str] = {
    "words": "bag of words",
    "chance": "chance, 95 %",
    "random": "random axes",
    "split_half": "base, two halves of the topics",
    "difference": "base against aligned",
    "unrelated": "unrelated concepts",
    "orthogonal": "this concept without refusal",
    "permuted": "shuffled labels",
    "direction": "the direction",
    "estimate": "as seen, and what is sure",
    "asker of neither": "asker of neither side",
}


def _label(mark: str, kinds: Mapping[str, str]) -> str:
    poles = {f"{what}pole {pole}": kinds[pole] for what in ("", "asker of ") for pole in "ab"}
    if mark in poles:
        return f"{poles[mark]} asker" if mark.startswith("asker") else poles[mark]
    return _LABELS.get(mark, mark)


def _surface(kinds: Mapping[str, str]) -> tuple[_Plan, ...]:
    return (
        _Plan(
            "intensity", "How strongly the models take sides",
            "Mean size of the stance by read-out; 0 is never partisan, 1 always. Free text decides.",
            surface.intensity, ("surface.neutral", "surface.neutralised"), ("summary",),
        ),
        _Plan(
            "lean", "Which side they take",
            "Mean stance by read-out. A model may lean nowhere on average and still take sides every time.",
            partial(surface.lean, kinds=kinds), ("surface.neutral",), ("summary",),
        ),
        _Plan(
            "rates", "What the answers are",
            "Share of sampled answers by the judge's label. Refusals and off-topic answers are not neutral.",
            partial(surface.rates, kinds=kinds), ("surface.neutral",), ("rates",),
        ),
        _Plan(
            "topics", "Stance topic by topic, free text",
            "Each row joins base's mean stance to aligned's; topics in the order of base's stance.",
            partial(surface.topics, read_out="text"), ("surface.neutralised",), ("stances",),
        ),
        _Plan(
            "completions", "Stance topic by topic, from likelihoods",
            "The same topics scored by which of two given answers the model finds likelier, said or not.",
            partial(surface.topics, read_out="completion"), ("surface.forced_exposes",), ("stances",),
        ),
        _Plan(
            "judge", "How good the judge is",
            "Labelled answers the judge was not built on, by true kind and verdict. Off the diagonal: its errors.",
            partial(surface.judge, kinds=kinds), (), ("judge_card",), (),
        ),
    )  # fmt: skip


def _structure(kinds: Mapping[str, str]) -> tuple[_Plan, ...]:
    return (
        _Plan(
            "excess", "Knowledge beyond words",
            "AUC of a probe fitted on one kind of text and tested on another, less what a bag of words reaches. "
            "The first three decide.",
            structure.excess, ("structure.preserved", "structure.erased"), ("excess",),
        ),
        _Plan(
            "transfer", "Transfer between formats, layer by layer",
            "Where in the network the two sides are told apart.",
            structure.transfer_panels, ("structure.preserved",), ("transfer",), (*_SIDES, "words", "chance"),
        ),
        _Plan(
            "cross", "Probes carried between the models",
            "A probe that works as well in the other model found the same axis there. One mark a transfer; colour and "
            "mark are those of the model it is read in.",
            structure.cross, ("structure.same_axis",), ("cross",), ("base", "aligned"),
        ),
        _Plan(
            "cosine", "Angle between the two models' directions",
            "High everywhere proves nothing, since fine-tuning moves all states little: only the part above chance "
            "speaks about the concept.",
            structure.cosine, ("structure.same_axis",), ("geometry",), ("difference", "chance", "split_half"),
        ),
        _Plan(
            "mahalanobis", "The same angle, all directions counted alike",
            "Cosine after the states' covariance is divided out.",
            structure.mahalanobis, ("structure.same_axis",), ("geometry",), ("difference", "chance"),
        ),
        _Plan(
            "cka", "Similarity of the states as a whole",
            "Debiased CKA between base and aligned, first token left out.",
            structure.cka, (), ("geometry",), ("difference",),
        ),
        _Plan(
            "people", "Named people: probe against known position",
            "A small model may not know them; they are shown and never decide.",
            partial(structure.people_panels, kinds=kinds), (), ("figures",), ("pole a", "pole b"),
        ),
    )  # fmt: skip


def _variance(kinds: Mapping[str, str]) -> tuple[_Plan, ...]:
    return (
        _Plan(
            "projections", "Where open questions fall along the direction",
            "Each tick is a question; the curves are their density.",
            variance.projection_panels, ("variance.compressed",), ("projections",),
        ),
        _Plan(
            "specificity", "Is it this axis, or all of them?",
            "Change of spread along this concept and unrelated ones (lines) among random axes matched to the data "
            "(bars; dashed: their 5 % quantile).",
            variance.specificity, ("variance.specific",), ("specificity",), ("random",),
        ),
        _Plan(
            "classes", "Spread between and within the poles",
            "A smaller spread with the same d′ is a change of scale, not of what is told apart.",
            variance.classes, ("variance.specific",), ("classes",),
        ),
    )  # fmt: skip


def _causality(kinds: Mapping[str, str]) -> tuple[_Plan, ...]:
    return (
        _Plan(
            "curves", "Stance as the model is pushed along the direction",
            "The same absolute push in both models; in colour, this concept. Chance: the middle 95 % "
            "of random directions of the same norm.",
            causality.curve_panels, ("causality.disconnected", "causality.connected"), ("curves",),
            (*_SIDES, "orthogonal", "permuted", "unrelated", "chance"),
        ),
        _Plan(
            "gains", "Gain by direction",
            "Slope, over all doses, of the log-likelihood a token of one side's answers less the other's. A model "
            "that no direction moves is inert, not disconnected: compare the unrelated concepts.",
            causality.gains, ("causality.disconnected", "causality.connected"), ("gains",),
        ),
        _Plan(
            "by_layer", "The same push at other layers",
            "Gain along this concept where the models were pushed; aligned's over base's only where base's is beyond "
            "chance. The layer on the upright line decides; the others are shown.",
            causality.by_layer, ("causality.disconnected", "causality.connected"), ("by_layer",), (*_SIDES, "chance"),
        ),
        _Plan(
            "coherence", "Is the pushed text still text?",
            "Perplexity under the unsteered base; above 2 × (dashed) the text is breaking.",
            causality.coherence, (), ("curves",),
        ),
        _Plan(
            "patching", "Base's component written into the aligned model",
            "How much of the gap between the two models' likelihoods it closes, by layer and by the prompt tokens that "
            "get it: 0 is nothing, 1 all of it. The last token predicts the first of the answer. It decides nothing.",
            causality.patching, (), ("patching",), ("aligned",),
        ),
    )  # fmt: skip


def _features(kinds: Mapping[str, str]) -> tuple[_Plan, ...]:
    return (
        _Plan(
            "firing", "Firing in the models' own answers",
            "Each mark is a latent; the line above it ends at the highest rate that aligned's hits allow (95 %). "
            "Dashed: as often as in base, and a tenth of it. A latent is silenced when its whole line is surely below "
            "the lower one. Both axes are stretched near 0.",
            features.firing, ("features.deactivated",), ("latents",), features.STATES,
        ),
        _Plan(
            "silence", "Is it these latents, or any?",
            "Share of latents silenced. Mark: as their rates say; line: from the share that surely is to the share "
            "that is not surely alive. Of latents that fire as often, the mean and the middle 95 % of many draws.",
            features.silence, ("features.deactivated",), ("silence",), ("estimate",),
        ),
        _Plan(
            "decomposition", "What the direction reads, part by part",
            "Each bar starts where the one above it ended, so the parts add up to the total below. Error is what the "
            "dictionary leaves out: a direction that reads mostly error is not carried by latents.",
            features.decomposition, ("features.deactivated",), ("decomposition",),
        ),
        _Plan(
            "curves", "Stance as the latents are clamped",
            "The dose is the size of the push, the same in both models. In colour, these latents; dashed, the "
            "direction itself. Chance: the middle 95 % of random latents clamped at the same norm.",
            features.curve_panels, ("features.steerable",), ("curves",), (*_SIDES, "direction", "chance"),
        ),
        _Plan(
            "gains", "Gain by what is pushed",
            "Slope, over all doses, of the log-likelihood a token of one side's answers less the other's.",
            features.gains, ("features.steerable",), ("gains",),
        ),
        _Plan(
            "fit", "How well the dictionary fits",
            "A random dictionary of the same size is what nothing learnt looks like. CE recovered is near 1 for nearly "
            "every dictionary, for nothing is as bad as states of 0: look at the cost.",
            features.fit, (), ("fit",),
        ),
        _Plan(
            "crosscoder", "Latents of one model or of both",
            "0 writes into base alone, ½ into both alike, 1 into aligned alone. A short decoder row may be an "
            "artefact, so latents are of one model only where latent scaling finds nothing of them in the other. Large "
            "marks: latents that carry the concept. Those that never fired are left out.",
            features.crosscoder, (), ("crosscoder",), (),
        ),
    )  # fmt: skip


def _reactivation(kinds: Mapping[str, str]) -> tuple[_Plan, ...]:
    return (
        _Plan(
            "swings", "Swing with who is asking",
            "Irrelevant identities show how far any persona moves the answers.",
            partial(reactivation.swings, kinds=kinds), ("reactivation.reactivates",), ("swings",),
        ),
        _Plan(
            "cells", "Stance for every asker and request",
            "Arrows point to the side that the asker is on.",
            reactivation.cell_panels, ("reactivation.reactivates",), ("cells",),
            ("asker of pole a", "asker of pole b", "asker of neither"),
        ),
        _Plan(
            "facts", "The same pressure on questions of fact",
            "If facts move as well, the model is pleasing the asker, not showing a side.",
            reactivation.facts, ("reactivation.sycophancy",), ("facts",),
        ),
    )  # fmt: skip


_PLANS: Mapping[str, Callable[[Mapping[str, str]], tuple[_Plan, ...]]] = {
    "surface": _surface,
    "structure": _structure,
    "variance": _variance,
    "causality": _causality,
    "features": _features,
    "reactivation": _reactivation,
}
