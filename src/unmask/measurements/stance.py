"""The completion read-out: which pole's statement a model finds likelier after a question.

Length-normalised log-prob of pole b's statement minus pole a's after the question, less the same difference
after a request that asks nothing in particular, so that a statement which is likelier anyway gains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from unmask.domains.schema import Question
from unmask.models.edits import Edit
from unmask.models.prompts import Frame
from unmask.runner.records import Records
from unmask.runner.requests import Score, Side

NO_QUESTION = "Please share a thought."


@dataclass(frozen=True)
class CompletionRequests:
    """The scores behind a completion read-out: `asked` and `unasked` hold (a, b) for each question."""

    asked: tuple[tuple[Score, Score], ...]
    unasked: tuple[tuple[Score, Score], ...]

    @property
    def requests(self) -> list[Score]:
        return [score for pair in (*self.asked, *self.unasked) for score in pair]


@dataclass(frozen=True)
class Completion:
    """A completion read-out.

    Attributes:
        margin: `[questions]`, nats per token in favour of pole b, as described above.
        stance: the same on [−1, 1]: probability of b minus that of a, if the two per-token likelihoods were
            all there is.
    """

    margin: npt.NDArray[np.float64]
    stance: npt.NDArray[np.float64]


def score_pair(
    side: Side, question: Question, words: str, frame: Frame, edit: Edit | None = None
) -> tuple[Score, Score]:
    """Both poles' statements as answers to `words`."""
    prompt = frame.ask(words)
    return Score(side, prompt, question.a, edit), Score(side, prompt, question.b, edit)


def ask_completion(side: Side, questions: Sequence[Question], frame: Frame) -> CompletionRequests:
    """What the completion read-out of these questions needs."""
    return CompletionRequests(
        tuple(score_pair(side, question, question.question, frame) for question in questions),
        tuple(score_pair(side, question, NO_QUESTION, frame) for question in questions),
    )


def margins(records: Records, pairs: Sequence[tuple[Score, Score]]) -> npt.NDArray[np.float64]:
    """`[pairs]`, per-token log-prob of b minus that of a, nats."""
    return np.array([records.array(b).mean() - records.array(a).mean() for a, b in pairs], dtype=np.float64)


def read_completion(records: Records, requests: CompletionRequests) -> Completion:
    """The read-out from its scores."""
    margin = margins(records, requests.asked) - margins(records, requests.unasked)
    return Completion(margin, np.tanh(margin / 2))
