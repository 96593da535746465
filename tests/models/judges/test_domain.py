"""The domain judge on a planted domain: it recovers the plant, and keeps what it fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unmask.models.judges import CLASSES, DomainJudge
from unmask.models.judges.domain import Reader, domain_judge_identity, fit_or_recall
from unmask.models.judges.domain.store import read_fitted

from .planted import SAYS, WordEncoder, planted_domain


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> DomainJudge:
    reader = Reader(WordEncoder())
    fitted = fit_or_recall(planted_domain(), reader, tmp_path_factory.mktemp("judges") / "one.safetensors")
    return DomainJudge(fitted, reader, "planted", "id")


def said(judge: DomainJudge, question: str, text: str) -> str:
    return CLASSES[int(judge.classify([question], [text]).argmax())]


@pytest.mark.parametrize("question", ["What of tea?", "Here is a question. What of tea?", "And parsnips?"])
def test_it_finds_the_planted_sides_in_other_words(judge: DomainJudge, question: str) -> None:
    assert said(judge, question, "We love music, in case of doubt.") == "a"
    assert said(judge, question, "We hate music, in case of doubt.") == "b"


@pytest.mark.parametrize("kind", SAYS)
def test_it_finds_the_other_kinds(judge: DomainJudge, kind: str) -> None:
    assert said(judge, "What of music?", SAYS[kind].format(t="music")) == kind


def test_rows_sum_to_one_and_empty_texts_are_off_topic(judge: DomainJudge) -> None:
    rows = judge.classify(["What of tea?"] * 3, ["I love tea.", "", "zzz zzz"])
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows.sum(1), 1, atol=1e-6)
    assert rows[1].tolist() == [0, 0, 0, 0, 0, 1]
    assert judge.classify([], []).shape == (0, 6)


def test_an_answer_does_not_depend_on_its_neighbours(judge: DomainJudge) -> None:
    questions, texts = ["What of tea?", "And parsnips?"], ["I love tea.", "It depends."]
    together = judge.classify(questions, texts)
    apart = [judge.classify([q], [t])[0] for q, t in zip(questions, texts, strict=True)]
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_a_fit_is_kept_and_a_damaged_one_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "judges" / "one.safetensors"
    encoder = WordEncoder()
    first = fit_or_recall(planted_domain(), Reader(encoder), path)
    read = encoder.rows_read
    again = fit_or_recall(planted_domain(), Reader(encoder), path)
    assert encoder.rows_read == read
    np.testing.assert_array_equal(again.side, first.side)
    assert (again.questions, again.topics) == (first.questions, first.topics)

    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:], b""):
        path.write_bytes(damaged)
        assert read_fitted(path) is None
        refitted = fit_or_recall(planted_domain(), Reader(encoder), path)
        np.testing.assert_array_equal(refitted.side, first.side)
        assert encoder.rows_read > read
        assert read_fitted(path) is not None
        read = encoder.rows_read
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_identity_follows_what_the_judge_is_built_on() -> None:
    domain = planted_domain()
    one = domain_judge_identity(domain, "weights")
    assert one == domain_judge_identity(planted_domain(), "weights")
    others = [
        domain_judge_identity(planted_domain(digest="other"), "weights"),
        domain_judge_identity(domain.model_copy(update={"statements": domain.statements[:20]}), "weights"),
        domain_judge_identity(domain.model_copy(update={"answers": domain.answers[1:]}), "weights"),
        domain_judge_identity(domain, "other weights"),
    ]
    assert len({one, *others}) == 5
