"""From the words that name a judge to the judge, its identity known before any weights are loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from unmask.domains.schema import Domain
from unmask.models.cache import cache_dir
from unmask.models.errors import ModelError
from unmask.models.judges.classifier import ClassifierJudge, classifier_identity, map_labels
from unmask.models.judges.domain import (
    ENCODER,
    DomainJudge,
    Reader,
    domain_judge_identity,
    fit_or_recall,
)
from unmask.models.judges.function import FunctionJudge, JudgeFunction
from unmask.models.judges.judge import Judge
from unmask.models.judges.sentences import SentenceJudge
from unmask.models.references import Resolved, resolve


@dataclass(frozen=True)
class JudgeSpec:
    """A judge that is not loaded yet.

    Attributes:
        name: what a report calls it.
        identity: the identity that the loaded judge has.
        load: brings it into memory, fitting it where no fitted one is cached.
    """

    name: str
    identity: str
    load: Callable[[], Judge]


def build_judge(
    domain: Domain, spec: str | Judge | JudgeFunction = "auto", device: str = "auto", dtype: str = "auto"
) -> JudgeSpec:
    """Choose a judge.

    Args:
        domain: the whole domain, not a profile's sample of it.
        spec: "auto" for the judge that the domain names, by default one built on it; "hf:REF" for a Hugging Face
            sequence classifier; a judge; or a function `(question, text)` that answers a class or probabilities.
        device: as in `load_model`.
        dtype: as in `load_model`.

    Raises:
        ModelError: the words fit no judge, or its model cannot be found or used.
        DomainError: the domain has too little to build a judge on.
    """
    if isinstance(spec, Judge):
        return JudgeSpec(spec.name, spec.identity, lambda: spec)
    if not isinstance(spec, str):
        judge = FunctionJudge(spec)
        return JudgeSpec(judge.name, judge.identity, lambda: judge)
    if spec == "auto" and domain.header.judge == "sentences":
        by_sentence = SentenceJudge(domain)
        return JudgeSpec(by_sentence.name, by_sentence.identity, lambda: by_sentence)
    if spec == "auto":
        return _domain_spec(domain, device, dtype)
    if spec.startswith("hf:") and len(spec) > 3:
        return _classifier_spec(domain, resolve(spec.removeprefix("hf:")), device, dtype)
    raise ModelError(f"The judge {spec!r} is unknown; give auto, or hf:REF for a Hugging Face classifier.")


def _domain_spec(domain: Domain, device: str, dtype: str) -> JudgeSpec:
    encoder = resolve(ENCODER)
    name, identity = f"the judge of {domain.name}", domain_judge_identity(domain, encoder.identity)

    def load() -> Judge:
        from unmask.models.load import load_model

        model = load_model(encoder, device, dtype)
        # A judge fitted in one dtype reads best in it, though its identity is the same.
        key = hashlib.sha256(f"{identity} {model.dtype}".encode()).hexdigest()
        reader = Reader(model)
        fitted = fit_or_recall(domain, reader, cache_dir() / "judges" / f"{key}.safetensors")
        return DomainJudge(fitted, reader, name, identity)

    return JudgeSpec(name, identity, load)


def _classifier_spec(domain: Domain, found: Resolved, device: str, dtype: str) -> JudgeSpec:
    mapping = map_labels(found, domain.header.poles)
    return JudgeSpec(
        found.name,
        classifier_identity(found, mapping),
        lambda: ClassifierJudge(found, mapping, device=device, dtype=dtype),
    )
