from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unmask.models import ModelError
from unmask.models.judges import CLASSES, FunctionJudge, build_judge

from .planted import planted_domain


def by_length(question: str, text: str) -> str:
    return "refusal" if len(text) < 4 else "hedged"


@pytest.mark.parametrize(
    ("answer", "row"),
    [
        ("b", [0, 1, 0, 0, 0, 0]),
        ({"a": 1.0, "off_topic": 3.0}, [0.25, 0, 0, 0, 0, 0.75]),
        ([0, 0, 1, 1, 0, 0], [0, 0, 0.5, 0.5, 0, 0]),
        (np.array([0, 0, 0, 0, 2.0, 0]), [0, 0, 0, 0, 1, 0]),
    ],
)
def test_class_names_and_probabilities(answer: Any, row: list[float]) -> None:
    judge = FunctionJudge(lambda question, text: answer)
    np.testing.assert_allclose(judge.classify(["q", "q"], ["x", "y"]), [row, row])


@pytest.mark.parametrize("answer", ["left", {"a": -1.0}, {}, [1.0] * 7, {"a": float("nan")}])
def test_what_is_no_answer_is_refused_in_a_sentence(answer: Any) -> None:
    with pytest.raises(ModelError, match=r"must answer one of a, b, neutral"):
        FunctionJudge(lambda question, text: answer, name="mine").classify(["q"], ["x"])


def test_identity_is_name_and_version() -> None:
    first = FunctionJudge(by_length)
    assert first.name == "by_length"
    assert first.identity == FunctionJudge(by_length, "by_length", "1").identity
    assert first.identity != FunctionJudge(by_length, version="2").identity


def test_nothing_to_judge() -> None:
    assert FunctionJudge(by_length).classify([], []).shape == (0, len(CLASSES))


def test_a_function_or_a_judge_is_a_spec() -> None:
    spec = build_judge(planted_domain(), by_length)
    judge = spec.load()
    assert spec.identity == judge.identity
    assert build_judge(planted_domain(), judge).load() is judge
    assert judge.classify(["q"], ["no"]).argmax() == CLASSES.index("refusal")
