"""A domain that is wrong is refused with file, line and field; a sound one loads."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from domains.made import change, write_domain, write_rows
from unmask.domains import DomainError, load_domain
from unmask.domains.load import COMMON, inspect_domain


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_domain(tmp_path / "made")


def test_a_domain_of_ones_own_loads_and_takes_the_rest_from_the_common_folder(folder: Path) -> None:
    domain = load_domain(folder)
    assert domain.name == "made-up"
    assert len(domain.statements) == 24
    assert {identity.kind for identity in domain.identities} == {"stated", "implied", "irrelevant", "neutral"}
    assert {axis.axis for axis in domain.axes} == {"truth", "sentiment", "formality", "topic"}
    assert {request.kind for request in domain.requests} == {"plain", "infer", "amplify", "both", "unhedge"}
    assert len(domain.facts) > 20
    assert domain.figures == ()


def test_its_own_file_replaces_the_common_one_but_identities_add_up(folder: Path) -> None:
    facts = [{"topic": "t", "question": f"Q{k}?", "true": "Yes.", "false": "No."} for k in range(10)]
    write_rows(folder / "facts.jsonl", facts)
    domain = load_domain(folder)
    assert len(domain.facts) == 10
    assert len(domain.identities) == 32 + (COMMON / "identities.jsonl").read_text().count("\n")


def test_the_digest_follows_every_file(folder: Path) -> None:
    before = load_domain(folder).digest
    assert load_domain(folder).digest == before
    change(folder / "questions.jsonl", 3, lambda row: row.update(a="Quite good."))
    after = load_domain(folder).digest
    assert after != before
    (folder / "domain.toml").write_text((folder / "domain.toml").read_text().replace("A test", "Another"))
    assert load_domain(folder).digest not in (before, after)


def test_strange_but_sound_files_are_read(folder: Path) -> None:
    """A byte order mark, blank lines, and a line separator inside a text are no mistakes."""
    path = folder / "statements.jsonl"
    change(path, 2, lambda row: row.update(a="One\u2028two, café."))
    lines = path.read_text(encoding="utf-8").replace("\\u2028", "\u2028").split("\n")
    path.write_text("\ufeff" + "\n\n".join(lines), encoding="utf-8")
    domain = load_domain(folder)
    assert domain.statements[1].a == "One\u2028two, café."
    header = folder / "domain.toml"
    header.write_text("\ufeff" + header.read_text(encoding="utf-8"), encoding="utf-8")
    assert load_domain(folder).header == domain.header


def drop(field: str) -> Callable[[dict[str, object]], object]:
    return lambda row: row.pop(field)


def put(**values: object) -> Callable[[dict[str, object]], object]:
    return lambda row: row.update(values)


# file, line, how it is spoilt, and what the sentence must hold beside file and line
SPOILT = {
    "missing field": ("statements.jsonl", 5, drop("b"), "field 'b'"),
    "wrong type": ("statements.jsonl", 7, put(pair="three"), "field 'pair'"),
    "empty text": ("questions.jsonl", 2, put(question="  "), "field 'question'"),
    "unknown field": ("questions.jsonl", 4, put(poles=2), "field 'poles'"),
    "unknown pole": ("statements.jsonl", 1, put(affirmative="c"), "field 'affirmative'"),
    "unknown kind": ("identities.jsonl", 9, put(kind="claimed"), "field 'kind'"),
    "identity without its pole": ("identities.jsonl", 3, drop("pole"), "field 'pole'"),
    "repeated statement": ("statements.jsonl", 9, put(a="We like tea 0 much."), "field 'a': 'We like tea 0 much.'"),
    "both sides alike": ("statements.jsonl", 9, put(a="Same.", b="Same."), "field 'b': 'Same.' occurs more"),
    "repeated identity": ("identities.jsonl", 20, put(text="I am stated a number 0."), "line 1"),
    "repeated question": ("questions.jsonl", 3, put(question="What of tea, case 0?"), "field 'question'"),
    "unknown topic": ("questions.jsonl", 6, put(topic="teas"), "field 'topic': 'teas' has no statements"),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPOILT)
def test_a_spoilt_line_is_named_by_file_line_and_field(folder: Path, kind: str) -> None:
    name, line, edit, words = SPOILT[kind]
    change(folder / name, line, edit)
    problems, domain = inspect_domain(folder)
    assert domain is None
    assert [p for p in problems if p.startswith(f"{folder / name}, line {line}: ") and words in p], problems
    with pytest.raises(DomainError) as error:
        load_domain(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ['{"topic": "tea",', "[1, 2]", "tea", "null"])
def test_a_line_that_is_no_object(folder: Path, text: str) -> None:
    path = folder / "questions.jsonl"
    lines = path.read_text().splitlines()
    lines[3] = text
    path.write_text("\n".join(lines))
    problems, _ = inspect_domain(folder)
    assert len(problems) == 1
    assert problems[0].startswith(f"{path}, line 4: ")
    assert "JSON object" in problems[0]


def test_text_that_is_not_utf8(folder: Path) -> None:
    path = folder / "questions.jsonl"
    lines = path.read_bytes().split(b"\n")
    lines[2] = b'{"topic": "caf\xe9"}'
    path.write_bytes(b"\n".join(lines))
    problems, _ = inspect_domain(folder)
    assert f"{path}, line 3: not UTF-8 text." in problems
    header = folder / "domain.toml"
    header.write_bytes(header.read_bytes().replace(b'title = "A test"', b'title = "Caf\xe9"'))
    with pytest.raises(DomainError, match=re.escape(f"{header}, line 2: not UTF-8 text.")):
        load_domain(folder)


@pytest.mark.parametrize("name", ["statements.jsonl", "questions.jsonl", "identities.jsonl", "domain.toml"])
def test_a_missing_file(folder: Path, name: str) -> None:
    (folder / name).unlink()
    problems, domain = inspect_domain(folder)
    assert domain is None
    assert f"{folder / name} is missing" in problems[0]


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ("name = ", "not valid TOML"),
        ('name = "made"', "field 'poles'"),
        (
            'name = "made"\ntitle = "t"\ndescription = "d"\n[poles.a]\nname = "x"\nlabel = "y"',
            "field 'poles.b'",
        ),
        ('name = "../made"', "field 'name'"),
    ],
)
def test_a_bad_header(folder: Path, toml: str, words: str) -> None:
    (folder / "domain.toml").write_text(toml)
    problems, domain = inspect_domain(folder)
    assert domain is None
    assert any(str(folder / "domain.toml") in problem and words in problem for problem in problems), problems


def rows_without(path: Path, keep: Callable[[str], bool]) -> None:
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines() if keep(line)))


# What no single line shows: the file, how it is spoilt, and the sentence's words.
TOO_LITTLE = {
    "empty pole": ("identities.jsonl", lambda line: '"implied", "pole": "b"' not in line, "pole 'b' has 0 implied"),
    "few statements": ("statements.jsonl", lambda line: '"pair": 3' not in line, "18 lines; at least 24"),
    "few topics": (
        "statements.jsonl", lambda line: "tea" in line or "rain" in line or "dogs" in line or "trains" in line,
        "4 topics; at least 5",
    ),
    "few questions": ("questions.jsonl", lambda line: "tea" not in line and "rain" not in line, "6 lines; at least 10"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOO_LITTLE)
def test_too_little_of_something(folder: Path, kind: str) -> None:
    name, keep, words = TOO_LITTLE[kind]
    rows_without(folder / name, keep)
    problems, domain = inspect_domain(folder)
    assert domain is None
    assert any(str(folder / name) in problem and words in problem for problem in problems), problems


def test_a_pole_that_is_never_affirmative(folder: Path) -> None:
    path = folder / "statements.jsonl"
    path.write_text(path.read_text().replace('"affirmative": "b"', '"affirmative": "a"'))
    problems, _ = inspect_domain(folder)
    assert len(problems) == 1
    assert str(path) in problems[0]
    assert "field 'affirmative': pole 'b' is never" in problems[0]


@pytest.mark.parametrize("retyped", ["Answer 2.", "  answer  2 !", "“ANSWER 2”", "ａnswer-2"])
def test_an_answer_on_both_sides_of_the_split(folder: Path, retyped: str) -> None:
    answers = [{"kind": "a", "topic": "tea", "question": "Q?", "text": f"Answer {k}."} for k in range(4)]
    write_rows(folder / "answers.jsonl", answers)
    write_rows(folder / "card.jsonl", [{**answers[0], "text": "Fresh."}, {**answers[0], "text": retyped}])
    problems, _ = inspect_domain(folder)
    (problem,) = problems
    assert problem.startswith(f"{folder / 'card.jsonl'}, line 2: field 'text': '")
    assert "both sides of the split" in problem


def test_answers_that_are_nothing_but_signs_are_told_apart(folder: Path) -> None:
    answers = [{"kind": "off_topic", "topic": "tea", "question": "Q?", "text": text} for text in ("…", "?!")]
    write_rows(folder / "answers.jsonl", answers[:1])
    write_rows(folder / "card.jsonl", answers[1:])
    assert inspect_domain(folder)[0] == []


FIGURE = "name,party,pole,score,congress,source\n"


@pytest.mark.parametrize(
    ("rows", "place", "words"),
    [
        ("Ann,X,a,far,116,us\n", ", line 2: ", "field 'score'"),
        ('"Ann\nBee",X,a,-0.5,116,us\nCy,X,c,0.1,116,us\n', ", line 4: ", "field 'pole'"),
        ("Ann,X,a\n", ", line 2: ", "field 'score'"),
        ("Ann,X,a,-.5,116,us,more\n", ", line 2: ", "more cells"),
        ("Ann,X,a,-3,116,us\n", ", line 2: ", "field 'score'"),
        ("Ann,X,a,-.5,116,us\n", ": ", "pole 'b' has 0 figures"),
        ("".join(f"Ann,X,{'ab'[k % 2]},0,116,us\n" for k in range(10)), ", line 3: ", "field 'name': 'Ann'"),
    ],
)  # fmt: skip
def test_bad_figures(folder: Path, rows: str, place: str, words: str) -> None:
    path = folder / "figures.csv"
    path.write_text(FIGURE + rows)
    problems, domain = inspect_domain(folder)
    assert domain is None
    assert any(problem.startswith(f"{path}{place}") and words in problem for problem in problems), problems


def test_own_axes_and_requests_must_hold_what_measurements_need(folder: Path) -> None:
    pairs = [{"axis": "colour", "topic": "t", "a": f"red {k}", "b": f"blue {k}"} for k in range(10)]
    write_rows(folder / "axes.jsonl", pairs)
    write_rows(folder / "requests.jsonl", [{"kind": "plain", "before": "", "after": ""}])
    problems, _ = inspect_domain(folder)
    assert any("axes.jsonl: field 'axis': 'sentiment' has 0 pairs" in problem for problem in problems)
    assert sum("requests.jsonl: field 'kind': there is no" in problem for problem in problems) == 4


def test_the_positive_control_needs_topics_to_be_tested_on(folder: Path) -> None:
    poles = [(f"Rain ruined day {k}.", f"Sun made day {k}.") for k in range(10)]
    write_rows(folder / "axes.jsonl", [{"axis": "sentiment", "topic": "t", "a": a, "b": b} for a, b in poles])
    problems, _ = inspect_domain(folder)
    assert any("at least 2 topics" in problem for problem in problems), problems


def test_a_domain_that_is_nowhere() -> None:
    with pytest.raises(DomainError, match=r"no domain 'partizan'.*partisan"):
        load_domain("partizan")


def test_all_problems_are_listed_at_once(folder: Path) -> None:
    change(folder / "statements.jsonl", 2, lambda row: row.pop("a"))
    change(folder / "questions.jsonl", 1, lambda row: row.update(topic=3))
    problems, _ = inspect_domain(folder)
    assert len(problems) == 2
