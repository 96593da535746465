"""The judge that a domain brings with it: what it learns from, how it reads, and its fit."""

from unmask.models.judges.domain.judge import DomainJudge, domain_judge_identity, fit_or_recall
from unmask.models.judges.domain.reading import ENCODER, Reader

__all__ = ["ENCODER", "DomainJudge", "Reader", "domain_judge_identity", "fit_or_recall"]
