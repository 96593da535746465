"""What can be seen of an organism without unmask's measurements: plain forward passes and scikit-learn's probes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score

from unmask.domains import Domain
from unmask.domains.schema import Question
from unmask.lab.organisms.axes import Axes
from unmask.lab.organisms.cutting import ask_poles
from unmask.lab.organisms.sorter import Sorter
from unmask.lab.organisms.states import Push, answer_scores, plain_rows, read_states, write_answers
from unmask.lab.organisms.texts import Format, spread_out
from unmask.models.model import Model
from unmask.models.prompts import Frame
from unmask.stats import matched_directions

Floats = npt.NDArray[np.float64]
TRANSFERS = (("stated", "implied"), ("implied", "stated"), ("statements", "implied"))
RIDGE = 3.0
"""λ of a ridge probe, in texts, as audits have it."""
QUESTIONS, ANSWERED, FACTS, TEXTS = 12, 16, 24, 8
RANDOM_AXES, RANDOM_PUSHES = 200, 4
ANSWER_TOKENS = 24


@dataclass(frozen=True, eq=False)
class Subject:
    """A model and its states on the domain's formats."""

    model: Model
    axes: Axes


def verify(
    base: Subject, before: Subject, after: Subject, domain: Domain, frame: Frame, seed: int
) -> dict[str, object]:
    """Numbers of the base model, the model that was edited and the organism, beside one another.

    Args:
        base: the base model.
        before: the model whose weights were edited; may be `base`.
        after: the organism, loaded from its folder.
        domain: the domain.
        frame: how questions are asked.
        seed: of sampled answers and random axes.
    """
    layer = best_layer(base.axes)
    subjects = {"base": base, "organism": after} | ({} if before is base else {"edited": before})
    words = word_auc(base.axes.sets)
    unit = base.axes.directions("statements")[layer]
    spreads = {name: _question_states(s.model, domain, frame, layer) for name, s in subjects.items()}
    rivals = matched_directions(spreads["base"], RANDOM_AXES, np.random.default_rng(seed))
    over = {
        name: np.concatenate([(x @ unit)[:, None], x @ rivals.T], axis=1).std(0)
        for name, x in spreads.items()
    }
    effects = {name: push_effect(s, base, layer, unit, domain, frame) for name, s in subjects.items()}
    statements = base.axes.states["statements"][:, layer]
    random = matched_directions(statements, RANDOM_PUSHES, np.random.default_rng(seed + 1))
    chance = [push_effect(base, base, layer, axis, domain, frame) for axis in random]
    effects["random"] = float(np.sqrt(np.mean(np.square(chance))))
    nll = {name: -_facts(s.model, domain) for name, s in subjects.items()}
    swings = {name: asker_effect(s.model, domain, frame) for name, s in subjects.items()}
    written = {name: answers(s.model, domain, frame, seed) for name, s in subjects.items()}
    sorter = Sorter.of(domain)
    ratio = {name: sd / over["base"] for name, sd in over.items()}
    return {
        "layer": layer,
        "transfer_auc": {name: transfer_auc(s.axes, s.axes, layer) for name, s in subjects.items()},
        "transfer_auc_of_base_probe": {
            name: transfer_auc(base.axes, s.axes, layer) for name, s in subjects.items()
        },
        "transfer_auc_of_words": words,
        "direction_cosine": {
            name: float(unit @ s.axes.directions("statements")[layer]) for name, s in subjects.items()
        },
        "sd_ratio": {name: float(r[0]) for name, r in ratio.items()},
        "sd_ratio_of_random_axes": {
            name: {"q05": float(np.quantile(r[1:], 0.05)), "median": float(np.median(r[1:]))}
            for name, r in ratio.items()
        },
        "push_effect": effects,
        "asker_effect": swings,
        "perplexity_ratio": {name: float(np.exp(x.mean() - nll["base"].mean())) for name, x in nll.items()},
        "logits": logit_change(before.model, after.model, domain),
        "neutral_share": {name: sorter.neutral_share(texts) for name, texts in written.items()},
        "examples": {name: texts[:3] for name, texts in written.items()},
    }


def transfer_auc(fit: Axes, test: Axes, layer: int) -> dict[str, float]:
    """AUC of logistic probes fitted on one format in one model and tested on another format, and their mean."""
    found: dict[str, float] = {}
    for one, other in TRANSFERS:
        x, y = (standard(a.states[name][:, layer]) for a, name in ((fit, one), (test, other)))
        probe = LogisticRegression(C=0.01, max_iter=2000).fit(x, labels_of(fit.sets, one))
        found[f"{one} → {other}"] = float(
            roc_auc_score(labels_of(test.sets, other), probe.decision_function(y))
        )
    return {**found, "mean": float(np.mean(list(found.values())))}


def word_auc(sets: Sequence[Format]) -> float:
    """The mean of the same transfers by a ridge probe on a bag of words, none below chance."""
    found: list[float] = []
    texts = {one.name: one.texts for one in sets}
    for one, other in TRANSFERS:
        words = CountVectorizer(binary=True, token_pattern=r"\w+").fit(texts[one])
        x, y = (words.transform(texts[name]).toarray().astype(np.float64) for name in (one, other))
        sd = np.maximum(x.std(0), 1e-9)
        probe = Ridge(alpha=RIDGE * len(x)).fit(x / sd, labels_of(sets, one))
        found.append(max(0.5, float(roc_auc_score(labels_of(sets, other), probe.predict(y / sd)))))
    return float(np.mean(found))


def best_layer(axes: Axes) -> int:
    """The layer of the middle third with the best mean transfer; of equally good ones that nearest the middle."""
    mean = {layer: transfer_auc(axes, axes, layer)["mean"] for layer in axes.middle}
    equal = [layer for layer, value in mean.items() if value > max(mean.values()) - 1e-3]
    return min(equal, key=lambda layer: abs(layer - axes.n_layers / 2))


def push_effect(
    subject: Subject, base: Subject, layer: int, unit: Floats, domain: Domain, frame: Frame
) -> float:
    """How far a push of 1 σ of the concept along a unit vector moves the pole margin, nats a token.

    `one_dose` says how far that is.
    """
    step = one_dose(subject.axes, base.axes, layer) * unit
    rows = ask_poles(subject.model, _questions(domain), frame)
    less, more = (margin(answer_scores(subject.model, rows, Push(layer, sign * step))) for sign in (-1, 1))
    return float((more - less).mean() / 2)


def one_dose(axes: Axes, base: Axes, layer: int) -> float:
    """How far a push of 1 σ of base's concept goes in a model, as audits size it: base's σ times the ratio of median
    norms."""
    norms = [
        float(np.median(np.linalg.norm(one.states["statements"][:, layer], axis=1))) for one in (axes, base)
    ]
    return base.sigma(layer) * norms[0] / norms[1]


def asker_effect(model: Model, domain: Domain, frame: Frame) -> float:
    """The pole margin with an asker of pole b less that with one of pole a, nats a token."""
    ends: list[float] = []
    for pole in ("a", "b"):
        askers = [i.text for kind in ("stated", "implied") for i in domain.identities_of(kind, pole)]
        rows = [
            row
            for place, q in enumerate(_questions(domain))
            for row in ask_poles(model, [q], frame, askers[place * 7 % len(askers)])
        ]
        ends.append(float(margin(answer_scores(model, rows)).mean()))
    return ends[1] - ends[0]


def margin(scores: Floats) -> Floats:
    """Pole b's score less pole a's, from rows a, b, a, b, …: `[questions]`."""
    return scores[1::2] - scores[0::2]


def answers(model: Model, domain: Domain, frame: Frame, seed: int) -> list[str]:
    """Sampled answers to some of the domain's questions, cut at the frame's end of turn."""
    asked = spread_out(domain.questions, ANSWERED)
    return said(model, [q.question for q in asked], frame, seed)


def said(model: Model, asked: Sequence[str], frame: Frame, seed: int) -> list[str]:
    """A sampled answer to each of these words, cut at the frame's end of turn."""
    rows = [model.tokenize(frame.ask(words)) for words in asked]
    texts = write_answers(model, rows, ANSWER_TOKENS, seed, frame.stop)
    return texts


@torch.inference_mode()
def logit_change(before: Model, after: Model, domain: Domain) -> dict[str, float]:
    """How far logits moved on neutral text: the largest change, the logits' own sd, and the best common factor."""
    texts = [f"{fact.question} {fact.true}" for fact in spread_out(domain.facts, TEXTS)]
    pairs: list[tuple[Floats, Floats]] = []
    for row in plain_rows(before, texts):
        ids = torch.tensor([row.ids])
        pairs.append(
            (
                before.net(input_ids=ids).logits[0].double().numpy(),
                after.net(input_ids=ids).logits[0].double().numpy(),
            )
        )
    old, new = (np.concatenate(part) for part in zip(*pairs, strict=True))
    return {
        "largest_change": float(np.abs(new - old).max()),
        "sd": float(old.std()),
        "factor": float((old * new).sum() / (old * old).sum()),
    }


def standard(x: npt.NDArray[np.float32]) -> Floats:
    """Each feature with mean 0 and sd 1 over the rows; a constant one becomes 0."""
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    sd = centred.std(0)
    varies = sd > 1e-6 * np.abs(x).max(0)
    return np.where(varies, centred / np.where(varies, sd, 1.0), 0.0)


def labels_of(sets: Sequence[Format], name: str) -> npt.NDArray[np.int64]:
    """The labels of one format's texts."""
    return next(one.labels for one in sets if one.name == name)


def _questions(domain: Domain) -> list[Question]:
    return spread_out(domain.questions, QUESTIONS)


def _question_states(model: Model, domain: Domain, frame: Frame, layer: int) -> Floats:
    rows = [model.tokenize(frame.ask(q.question)) for q in domain.questions]
    return read_states(model, rows)[:, layer].astype(np.float64)


def _facts(model: Model, domain: Domain) -> Floats:
    """Log-probability a token of true answers, of facts that no edit was fitted on: `[facts]`."""
    rows = [model.tokenize(Frame.plain(f.question), f.true) for f in spread_out(domain.facts[0::2], FACTS)]
    return answer_scores(model, rows)
