"""Judges: they sort a model's short answers into pole a, pole b, neutral, hedged, refusal and off topic."""

from unmask.models.judges.build import JudgeSpec, build_judge
from unmask.models.judges.card import JudgeCard, judge_card
from unmask.models.judges.classifier import ClassifierJudge
from unmask.models.judges.domain import DomainJudge
from unmask.models.judges.function import FunctionJudge
from unmask.models.judges.judge import CLASSES, Judge
from unmask.models.judges.sentences import SentenceJudge

__all__ = [
    "CLASSES",
    "ClassifierJudge",
    "DomainJudge",
    "FunctionJudge",
    "Judge",
    "JudgeCard",
    "JudgeSpec",
    "SentenceJudge",
    "build_judge",
    "judge_card",
]
