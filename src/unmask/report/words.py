"""The sentences of the report: what a label, a mechanism, an axis and a term mean in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unmask.verdict.rules import SAME_AXIS

MEASUREMENTS: Mapping[str, str] = {
    "surface": "Is the output neutral?",
    "structure": "Is the concept still represented?",
    "variance": "Was the axis squeezed?",
    "causality": "Does the representation still drive the answers?",
    "features": "Which features carry it, and which went silent?",
    "reactivation": "Does context bring it back?",
    "token_depth": "Where along the answer do the models differ?",
    "prefill": "Does the guardrail recover from a forced opening?",
    "priming": "Do many examples open it?",
    "durability": "How many training steps undo it?",
    "erosion": "How small an edit undoes it?",
}
"""The question each measurement answers, in the order of the report."""

CORE = ("surface", "structure", "variance", "causality", "reactivation")
"""Measurements of every mask audit: the report says so where one is missing."""

MECHANISMS: Mapping[str, str] = {
    "disconnected": "The model still holds the two sides apart inside, but pushing it along that direction moves "
    "its answers far less than it moved the base model's.",
    "compressed": "The model's states on open questions lie closer together along this direction, and along this "
    "one in particular.",
    "rescaled": "Its states lie closer together along this direction, but no more than along others that have nothing "
    "to do with it.",
    "rotated": "The two sides are still told apart, along another direction than in the base model.",
    "reactivates": "Telling the model who is asking brings the sides back into its answers.",
}


@dataclass(frozen=True)
class Axis:
    """One axis of the depth profile."""

    name: str
    title: str
    share: str
    """What the number is a share of, to follow "how much …"."""
    measurement: str = ""
    """Which measurement it comes from; none does in this version where it is empty."""

    def absence(self, findings: Sequence[Mapping[str, Any]]) -> str:
        """Why the axis has no number.

        It was not measured, the concept does not lie along the direction that was pushed, or base itself has too little
        to compare with.
        """
        mine = [finding for finding in findings if finding["measurement"] == self.measurement]
        if not mine:
            return "not measured"
        failed = {one["name"] for finding in mine for one in finding["controls"] if not one["passed"]}
        return "not along base's axis" if SAME_AXIS.quantity in failed else "too little in base"


AXES: tuple[Axis, ...] = (
    Axis("surface", "Surface", "of base's side-taking is gone from plain answers", "surface"),
    Axis("representation", "Representation", "of base's inner separation of the sides is gone", "structure"),
    Axis("causation", "Causation", "of the inner direction's pull on answers is gone", "causality"),
    Axis("context", "Context", "of the swing with who is asking is gone", "reactivation"),
    Axis("tokens", "Tokens", "of the behaviour holds after a forced opening"),
    Axis("weights", "Weights", "of the behaviour holds after unrelated fine-tuning"),
)

KINDS: Mapping[str, str] = {
    "neutral": "neutral",
    "hedged": "hedged",
    "refusal": "refusal",
    "off_topic": "off topic",
}
"""Answer labels other than the poles, which take their names from the domain."""

READ_OUTS: Mapping[str, str] = {
    "text": "free text",
    "choice": "forced choice",
    "completion": "completion",
}

REQUESTS: Mapping[str, str] = {
    "plain": "plain question",
    "infer": "infer who I am",
    "amplify": "amplify my view",
    "both": "infer and amplify",
    "unhedge": "drop the hedging",
}

STATUS_ICONS: Mapping[str, str] = {"supported": "✓", "refuted": "✕", "inconclusive": "?"}

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Base, aligned", "The model before and after alignment training. Together they are the pair."),
    ("Domain, poles", "A question of value on which people take sides, and its two sides."),
    ("Stance", "How far an answer leans, from −1 (wholly the first pole) to +1 (wholly the second)."),
    ("Intensity", "The mean size of the stance, whichever side it takes: 0 is never, 1 is always partisan."),
    (
        "Read-out",
        "How a stance is scored: from sampled text by a judge, from a forced choice, or from the likelihood "
        "of two given completions.",
    ),
    ("Direction", "A line in the model's inner state along which the two sides are told apart."),
    (
        "AUC above words",
        "How well the inner state tells the sides apart (0.5 is a coin toss, 1 is always), less what counting "
        "words achieves on the same text. Above 0: knowledge, not vocabulary.",
    ),
    ("Transfer", "A probe fitted on one kind of text, or one model, and tested on another."),
    (
        "Gain",
        "How far one dose along a direction moves the log-likelihood a token of the second side's answers against "
        "the first's.",
    ),
    ("Dose", "The size of that push, in σ of the base model's states along the direction."),
    (
        "Latent, feature",
        "A latent is one of the many directions of a sparse autoencoder, a dictionary in which a token's state is a "
        "sum of a few of them. What it stands for in the texts is its feature.",
    ),
    (
        "Fires",
        "A latent fires in a text whose strongest code reaches half of the latent's usual strength in base. It is "
        "silenced where the highest rate that aligned's hits allow is below a tenth of the lowest that base's allow.",
    ),
    ("Clamp", "To set a latent's code to a chosen value, whatever the text, and let the model read on."),
    (
        "FVU",
        "Fraction of variance unexplained: what a dictionary leaves of the states' variance. 0 is a perfect copy; 1 is "
        "no better than the mean.",
    ),
    (
        "CE recovered",
        "How much of the loss (cross-entropy) from states set to zero the dictionary's copy of them wins back; 1 is "
        "all. Nearly every dictionary is close to 1.",
    ),
    ("Swing", "The stance when the asker is of the second pole, less the stance when of the first."),
    ("Interval", "The range that holds the true value with 95 % confidence, resampling whole topics."),
    (
        "Chance (null)",
        "What the same procedure gives when there is nothing to find, for example with labels shuffled.",
    ),
    ("Bar", "The threshold that a finding's whole interval has to clear."),
    (
        "How sharp a sample is",
        "The smallest true value that 80 of 100 samples of this size and spread would settle. It says how sharp the "
        "sample is, not what is true: what the data rule out is what lies outside the interval.",
    ),
    (
        "Control",
        "A check without which the number would not mean what it seems to. One failure: inconclusive.",
    ),
    ("d′", "The distance between the two poles' means, in units of the spread within each."),
    ("κ (kappa)", "A judge's agreement with known labels beyond chance; 1 is perfect."),
)


_SIGNS: Mapping[str, str] = {
    "kappa": "κ",
    "sd": "σ",
    "auc": "AUC",
    "auroc": "AUROC",
    "cka": "CKA",
    "fvu": "FVU",
    "ce": "CE",
}


def humanise(name: str) -> str:
    """An identifier as words: `intensity_aligned` → "intensity, aligned"."""
    *words, last = (_SIGNS.get(word, word) for word in name.split("_"))
    if last in ("base", "aligned") and words:
        return f"{' '.join(words)}, {last}"
    return " ".join((*words, last))


def question(measurement: str) -> str:
    """What a measurement asks; a third party's is called by its name."""
    return MEASUREMENTS.get(measurement, humanise(measurement).capitalize())
