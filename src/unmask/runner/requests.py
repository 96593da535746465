"""What a measurement may ask of a model. Frozen, hashable, serialisable: the whole traffic with models.

A request names a *side* of the pair, never a loaded model; the runner knows which weights stand behind it.
Two requests with the same :func:`request_key` are the same work, whoever asked.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from unmask.models.edits import Edit, edit_record
from unmask.models.prompts import Prompt
from unmask.models.tokens import Sampling

Side = Literal["base", "aligned"]
SIDES: tuple[Side, Side] = ("base", "aligned")


@dataclass(frozen=True)
class Read:
    """The residual stream under `prompt` -> float32 `[layers, d]`, or `[T, layers, d]` for `pick="each"`.

    Attributes:
        pick: "mean" over the content tokens, the "last" token, or "each" token.
        layers: which layers, or None for all (0 is the embedding output).
    """

    side: Side
    prompt: Prompt
    pick: Literal["mean", "last", "each"] = "mean"
    layers: tuple[int, ...] | None = None
    edit: Edit | None = None


@dataclass(frozen=True)
class Score:
    """The log-probability of each token of `continuation` after `prompt` -> float32 `[t]`, nats."""

    side: Side
    prompt: Prompt
    continuation: str
    edit: Edit | None = None


@dataclass(frozen=True)
class Generate:
    """One sampled answer to `prompt` -> `Answer`. A row's randomness comes from its own seed alone."""

    side: Side
    prompt: Prompt
    seed: int
    sampling: Sampling
    edit: Edit | None = None


@dataclass(frozen=True)
class Classify:
    """The probability of each of the judge's classes for `text` as an answer to `question` -> float32 `[k]`.

    Attributes:
        judge: the domain whose judge is asked.
    """

    judge: str
    question: str
    text: str


@dataclass(frozen=True)
class Spans:
    """Where each token of `prompt` stands in its text -> float32 `[T, 2]`, characters `[start, end)`.

    Of the tokens that `Read` with `pick="each"` reads, in their order; a token of no text, such as a start token, is
    empty. It is asked of the tokenizer alone.
    """

    side: Side
    prompt: Prompt


Request = Read | Score | Generate | Classify | Spans


@dataclass(frozen=True)
class Answer:
    """A sampled answer.

    Attributes:
        text: what was said, special tokens removed.
        tokens: how many tokens were generated.
        finished: False when the answer was cut off by its length limit.
    """

    text: str
    tokens: int
    finished: bool


@dataclass(frozen=True)
class Failed:
    """What stands in an answer's place where a request's own edit leaves none, such as activations that overflow.

    Attributes:
        message: why, in a sentence.
    """

    message: str


def engine_name(request: Request) -> str:
    """Which engine serves a request: a side of the pair, or a domain's judge."""
    return judge_engine(request.judge) if isinstance(request, Classify) else request.side


def judge_engine(domain: str) -> str:
    """The engine name of a domain's judge."""
    return f"judge of {domain}"


def request_record(request: Request) -> dict[str, object]:
    """The canonical form of a request, without its engine, ready for JSON."""
    if isinstance(request, Classify):
        return {"kind": "Classify", "question": request.question, "text": request.text}
    prompt = request.prompt
    record: dict[str, object] = {
        "kind": type(request).__name__,
        "prompt": [prompt.text, list(prompt.content), prompt.special, prompt.lead],
    }
    if isinstance(request, Spans):
        return record
    record |= {"edit": None if request.edit is None else edit_record(request.edit)}
    if isinstance(request, Read):
        record |= {"pick": request.pick, "layers": None if request.layers is None else list(request.layers)}
    elif isinstance(request, Score):
        record |= {"continuation": request.continuation}
    else:
        record |= {"seed": request.seed, "sampling": asdict(request.sampling)}
    return record


def request_key(request: Request, identities: Mapping[str, str]) -> str:
    """The address of a request's answer: what is asked, and of which weights.

    Args:
        identities: the identity of the weights behind each engine name.
    """
    return digest([identities[engine_name(request)], request_record(request)])


def batch_shape(request: Request) -> tuple[object, ...]:
    """Requests of one shape may share a batch: reads and scores of any kind, answers sampled alike, a judge's texts,
    spans, which cost nothing."""
    if isinstance(request, Classify):
        return ("Classify",)
    if isinstance(request, Spans):
        return ("Look", "spans")
    if isinstance(request, Generate):
        return ("Generate", *asdict(request.sampling).items())
    return ("Look",)


def digest(value: object) -> str:
    """SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=list)
    return hashlib.sha256(text.encode()).hexdigest()
