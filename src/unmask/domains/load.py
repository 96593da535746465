"""Loads a domain folder and says, by file, line and field, what is wrong with it."""

from __future__ import annotations

import csv
import hashlib
import json
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from unmask.domains import schema
from unmask.domains.schema import Domain, Header

COMMON = Path(str(files("unmask.domains"))) / "common"
ROW_FILES: dict[str, tuple[str, type[schema._Row], bool]] = {  # pyright: ignore[reportPrivateUsage]
    # attribute: (file, row type, must the domain's own folder have it)
    "statements": ("statements.jsonl", schema.ContrastPair, True),
    "questions": ("questions.jsonl", schema.Question, True),
    "identities": ("identities.jsonl", schema.Identity, True),
    "figures": ("figures.csv", schema.Figure, False),
    "axes": ("axes.jsonl", schema.AxisPair, False),
    "facts": ("facts.jsonl", schema.Fact, False),
    "offtopic": ("offtopic.jsonl", schema.OffTopic, False),
    "requests": ("requests.jsonl", schema.Phrasing, False),
    "answers": ("answers.jsonl", schema.LabelledAnswer, False),
    "card": ("card.jsonl", schema.LabelledAnswer, False),
}
LEAST = {"statements": 24, "questions": 10, "stated": 8, "implied": 8, "irrelevant": 8, "neutral": 8}
Row = TypeVar("Row", bound=schema._Row)  # pyright: ignore[reportPrivateUsage]


class DomainError(ValueError):
    """A domain cannot be used; the message is one sentence for its author."""


def domain_folders() -> dict[str, Path]:
    """Every domain that an installed package offers, by name: ours and those of third parties."""
    return {point.name: Path(str(files(point.value))) for point in entry_points(group="unmask.domains")}


def load_domain(reference: str | Path) -> Domain:
    """Load a domain by name or folder.

    Args:
        reference: the name of an installed domain, or a folder.

    Raises:
        DomainError: the first thing that is wrong, with file, line and field.
    """
    problems, domain = inspect_domain(reference)
    if domain is None:
        raise DomainError(problems[0])
    return domain


def inspect_domain(reference: str | Path) -> tuple[list[str], Domain | None]:
    """All that is wrong with a domain, one sentence each, and the domain where nothing is."""
    folder = _find(reference)
    problems: list[str] = []
    header = _header(folder, problems)
    hasher = hashlib.sha256()
    rows: dict[str, tuple[Any, ...]] = {}
    for attribute, (name, kind, required) in ROW_FILES.items():
        own, common = folder / name, COMMON / name
        sources = [path for path in (own, common) if path.exists()]
        if required and not own.exists():
            problems.append(f"{own} is missing; a domain needs {name}.")
        if attribute != "identities":
            sources = sources[:1]  # the domain's own file replaces the common one; identities add up
        found: list[Any] = []
        for path in sources:
            hasher.update(path.name.encode() + path.read_bytes())
            found += _rows(path, kind, problems)
        rows[attribute] = tuple(found)
    if header is not None:
        hasher.update((folder / "domain.toml").read_bytes())
    if header is None or problems:
        return problems, None
    domain = Domain(header=header, digest=hasher.hexdigest(), **rows)
    problems += _meaning(domain, folder)
    return problems, None if problems else domain


def _find(reference: str | Path) -> Path:
    folders = domain_folders()
    if str(reference) in folders:
        return folders[str(reference)]
    folder = Path(reference)
    if folder.is_dir():
        return folder
    known = ", ".join(sorted(folders))
    raise DomainError(f"no domain '{reference}': it is neither an installed domain ({known}) nor a folder.")


def _header(folder: Path, problems: list[str]) -> Header | None:
    path = folder / "domain.toml"
    try:
        return Header.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        problems.append(f"{path} is missing; it names the domain and its two poles.")
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: not valid TOML: {error}.")
    except ValidationError as error:
        problems += [f"{path}: {sentence}" for sentence in _sentences(error)]
    return None


def _rows(path: Path, kind: type[Row], problems: list[str]) -> Iterator[Row]:
    reader = _csv_rows if path.suffix == ".csv" else _json_rows
    for line, value in reader(path):
        if isinstance(value, str):
            problems.append(f"{path}, line {line}: {value}")
            continue
        try:
            yield kind.model_validate(value)
        except ValidationError as error:
            problems += [f"{path}, line {line}: {sentence}" for sentence in _sentences(error)]


def _json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, f"not a JSON object: {error.msg} at column {error.colno}."
            continue
        yield number, value if isinstance(value, dict) else "expected a JSON object, one a line."


def _csv_rows(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            yield number, row


def _sentences(error: ValidationError) -> list[str]:
    return [
        f"field '{'.'.join(str(part) for part in item['loc'])}': {item['msg'].lower()}."
        for item in error.errors()
    ]


def _meaning(domain: Domain, folder: Path) -> list[str]:
    """What single rows cannot show: empty poles, repeated texts, topics on both sides of a split."""
    problems: list[str] = []
    for kind in ("stated", "implied"):
        for pole in schema.POLES:
            n = len(domain.identities_of(kind, pole))
            if n < LEAST[kind]:
                problems.append(
                    f"{folder / 'identities.jsonl'}: pole '{pole}' has {n} {kind} identities; "
                    f"at least {LEAST[kind]} are needed."
                )
    for kind in ("irrelevant", "neutral"):
        for identity in domain.identities_of(kind):
            if identity.pole is not None:
                problems.append(
                    f"{folder / 'identities.jsonl'}: '{identity.text}' is {kind}, but has a pole."
                )
    for name in ("statements", "questions"):
        n = len(getattr(domain, name))
        if n < LEAST[name]:
            problems.append(f"{folder / (name + '.jsonl')}: {n} lines; at least {LEAST[name]} are needed.")
    affirmative = Counter(pair.affirmative for pair in domain.statements)
    for pole in schema.POLES:
        if affirmative[pole] == 0:
            problems.append(
                f"{folder / 'statements.jsonl'}: pole '{pole}' is never the affirmative one, so negation "
                "would pass for the concept; balance the field 'affirmative'."
            )
    for name, texts in {
        "statements.jsonl": [text for pair in domain.statements for text in (pair.a, pair.b)],
        "identities.jsonl": [identity.text for identity in domain.identities],
        "figures.csv": [figure.name for figure in domain.figures],
    }.items():
        twice = [text for text, count in Counter(texts).items() if count > 1]
        problems += [f"{folder / name}: '{text}' occurs more than once." for text in twice]
    topics = {pair.topic for pair in domain.statements}
    for question in domain.questions:
        if question.topic not in topics:
            problems.append(
                f"{folder / 'questions.jsonl'}: topic '{question.topic}' has no statements; "
                "use the topic's name as statements.jsonl spells it."
            )
    # An answer that the judge is built on must not be one that it is tested on.
    built = {answer.text for answer in domain.answers}
    problems += [
        f"{folder / 'card.jsonl'}: '{answer.text[:60]}' is in answers.jsonl as well, on both sides of the split."
        for answer in domain.card
        if answer.text in built
    ]
    return problems
