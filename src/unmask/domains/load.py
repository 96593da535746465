"""Loads a domain folder and says, by file, line and field, what is wrong with it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import ValidationError

from unmask.domains import schema
from unmask.domains.schema import Domain, Header
from unmask.writing import replacing

COMMON = Path(str(files("unmask.domains"))) / "common"
LENDER = Path(str(files("unmask.domains"))) / "partisan"
SIDELESS = {"neutral", "hedged", "refusal", "off_topic"}
"""Kinds of labelled answers that a domain without them borrows from `partisan`."""
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
LEAST = {
    "statements": 24,
    "questions": 10,
    "stated": 8,
    "implied": 8,
    "topics": 5,
    "figures": 5,
    "axis": 10,
    "axis_topics": 2,
    "facts": 10,
}
NEEDED_AXIS = "sentiment"  # the positive control of causality
Row = TypeVar("Row", bound=schema._Row)  # pyright: ignore[reportPrivateUsage]


class DomainError(ValueError):
    """A domain cannot be used; the message is one sentence for its author."""


def domain_folders() -> dict[str, Path]:
    """Every domain that an installed package offers, by name: ours and those of third parties."""
    folders: dict[str, Path] = {}
    for point in entry_points(group="unmask.domains"):
        package = find_spec(point.value)  # a folder of data is a package without code
        if package is not None and package.submodule_search_locations:
            folders[point.name] = Path(next(iter(package.submodule_search_locations)))
    return folders


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
    places: dict[str, list[str]] = {}
    for attribute, (name, kind, required) in ROW_FILES.items():
        own, common = folder / name, COMMON / name
        sources = [path for path in (own, common) if path.exists()]
        if required and not own.exists():
            problems.append(f"{own} is missing; a domain needs {name}.")
        if attribute != "identities":
            sources = sources[
                :1
            ]  # the domain's own file replaces the common one; identities do so kind by kind
        found: list[tuple[str, Any]] = []
        for path in sources:
            hasher.update(path.name.encode() + path.read_bytes())
            brought = {row.kind for _, row in found} if attribute == "identities" else set[str]()
            more: list[tuple[str, Any]] = list(_rows(path, kind, problems))
            found += [(place, row) for place, row in more if not brought or row.kind not in brought]
        if attribute in ("answers", "card") and (lacking := _sideless_kinds_beyond(found)):
            # What declining or wandering looks like hardly depends on the subject.
            path = LENDER / name
            hasher.update(path.name.encode() + path.read_bytes())
            lent: list[tuple[str, Any]] = list(_rows(path, kind, problems))
            found += [(place, row) for place, row in lent if row.kind in lacking]
        places[attribute] = [place for place, _ in found]
        rows[attribute] = tuple(row for _, row in found)
    if header is not None:
        hasher.update((folder / "domain.toml").read_bytes())
    if header is None or problems:
        return problems, None
    domain = Domain(header=header, digest=hasher.hexdigest(), **rows)
    problems += _meaning(domain, folder, places)
    return problems, None if problems else domain


def copy_domain(reference: str | Path, folder: Path) -> None:
    """Copy the files that a domain brings itself, so that `folder` holds these of a domain's files and no other.

    Raises:
        DomainError: no such domain.
    """
    source = _find(reference)
    for name in ("domain.toml", *(name for name, _, _ in ROW_FILES.values())):
        if (source / name).exists():
            with replacing(folder / name) as partial:
                partial.write_bytes((source / name).read_bytes())
        else:
            (folder / name).unlink(missing_ok=True)


def _sideless_kinds_beyond(rows: Sequence[tuple[str, Any]]) -> set[str]:
    return SIDELESS - {row.kind for _, row in rows}


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
        return Header.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        problems.append(f"{path} is missing; it names the domain and its two poles.")
    except UnicodeDecodeError as error:
        problems.append(_not_utf8(path, error))
    except tomllib.TOMLDecodeError as error:
        problems.append(f"{path}: not valid TOML: {error}.")
    except ValidationError as error:
        problems += [f"{path}: {sentence}" for sentence in _sentences(error)]
    return None


def _rows(path: Path, kind: type[Row], problems: list[str]) -> Iterator[tuple[str, Row]]:
    """Each sound row with its place, "FILE, line N"; what is not sound goes to `problems`."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        problems.append(_not_utf8(path, error))
        return
    reader = _csv_rows if path.suffix == ".csv" else _json_rows
    for line, value in reader(text):
        place = f"{path}, line {line}"
        if isinstance(value, str):
            problems.append(f"{place}: {value}")
            continue
        try:
            yield place, kind.model_validate(value)
        except ValidationError as error:
            problems += [f"{place}: {sentence}" for sentence in _sentences(error)]


def _not_utf8(path: Path, error: UnicodeDecodeError) -> str:
    line = error.object[: error.start].count(b"\n") + 1
    return f"{path}, line {line}: not UTF-8 text."


def _json_rows(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):  # splitlines would cut at U+2028 inside a string
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            yield number, f"not a JSON object: {error.msg} at column {error.colno}."
            continue
        yield number, value if isinstance(value, dict) else "expected a JSON object, one a line."


def _csv_rows(text: str) -> Iterator[tuple[int, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for row in reader:
        if None in row:
            yield reader.line_num, "more cells than the header names."
        else:
            yield reader.line_num, {name: cell for name, cell in row.items() if cell is not None}


def _sentences(error: ValidationError) -> list[str]:
    return [
        f"field '{'.'.join(str(part) for part in item['loc'])}': {item['msg'].lower()}."
        for item in error.errors()
    ]


def _meaning(domain: Domain, folder: Path, places: Mapping[str, Sequence[str]]) -> list[str]:
    """What single rows cannot show: too few rows, repeated texts, unknown topics, answers on both sides of a split."""
    topics = {pair.topic for pair in domain.statements}
    return [
        *_identity_problems(domain, folder, places["identities"]),
        *_statement_problems(domain, folder, topics),
        *_figure_problems(domain, folder),
        *_common_problems(domain, folder),
        *_repeated(places["statements"], domain.statements, "a", "b"),
        *_repeated(places["identities"], domain.identities, "text"),
        *_repeated(places["figures"], domain.figures, "name"),
        *_repeated(places["questions"], domain.questions, "question"),
        *(
            f"{place}: field 'topic': '{question.topic}' has no statements; use the topic's name as "
            "statements.jsonl spells it."
            for place, question in zip(places["questions"], domain.questions, strict=True)
            if question.topic not in topics
        ),
        *_split_problems(domain, places),
    ]


def _identity_problems(domain: Domain, folder: Path, places: Sequence[str]) -> Iterator[str]:
    for kind in ("stated", "implied"):
        for pole in schema.POLES:
            n = len(domain.identities_of(kind, pole))
            if n < LEAST[kind]:
                yield (
                    f"{folder / 'identities.jsonl'}: field 'pole': pole '{pole}' has {n} {kind} identities; "
                    f"at least {LEAST[kind]} are needed."
                )
    for place, identity in zip(places, domain.identities, strict=True):
        partisan = identity.kind in ("stated", "implied")
        if partisan and identity.pole is None:
            yield f"{place}: field 'pole': a {identity.kind} identity needs one, 'a' or 'b'."
        elif not partisan and identity.pole is not None:
            yield f"{place}: field 'pole': '{identity.text}' is {identity.kind}, so it has none."


def _statement_problems(domain: Domain, folder: Path, topics: Collection[str]) -> Iterator[str]:
    for name in ("statements", "questions"):
        n = len(getattr(domain, name))
        if n < LEAST[name]:
            yield f"{folder / (name + '.jsonl')}: {n} lines; at least {LEAST[name]} are needed."
    if len(topics) < LEAST["topics"]:
        yield (
            f"{folder / 'statements.jsonl'}: field 'topic': {len(topics)} topics; at least {LEAST['topics']} are "
            "needed, since whole topics are held out."
        )
    affirmative = Counter(pair.affirmative for pair in domain.statements)
    for pole in schema.POLES:
        if affirmative[pole] == 0:
            yield (
                f"{folder / 'statements.jsonl'}: field 'affirmative': pole '{pole}' is never the affirmative one, so "
                "negation would pass for the concept; balance the two poles."
            )


def _figure_problems(domain: Domain, folder: Path) -> Iterator[str]:
    for pole in schema.POLES:
        n = sum(figure.pole == pole for figure in domain.figures)
        if domain.figures and n < LEAST["figures"]:
            yield (
                f"{folder / 'figures.csv'}: field 'pole': pole '{pole}' has {n} figures; at least {LEAST['figures']} "
                "are needed, or none at all without the file."
            )


def _common_problems(domain: Domain, folder: Path) -> Iterator[str]:
    """What a domain's own files may lack when they replace the common ones."""
    axes = Counter(pair.axis for pair in domain.axes)
    for axis in sorted({NEEDED_AXIS, *axes}):
        if axes[axis] < LEAST["axis"]:
            yield (
                f"{folder / 'axes.jsonl'}: field 'axis': '{axis}' has {axes[axis]} pairs; "
                f"at least {LEAST['axis']} are needed."
            )
    if len({pair.topic for pair in domain.axes if pair.axis == NEEDED_AXIS}) < LEAST["axis_topics"]:
        yield (
            f"{folder / 'axes.jsonl'}: field 'topic': the pairs of '{NEEDED_AXIS}' need at least "
            f"{LEAST['axis_topics']} topics, since a direction is tested on others than it is fitted on."
        )
    if len(domain.facts) < LEAST["facts"]:
        yield f"{folder / 'facts.jsonl'}: {len(domain.facts)} lines; at least {LEAST['facts']} are needed."
    for kind in get_args(schema.RequestKind):
        if not domain.phrasing(kind):
            yield f"{folder / 'requests.jsonl'}: field 'kind': there is no '{kind}' phrasing."


def _repeated(places: Sequence[str], rows: Sequence[Any], *fields: str) -> Iterator[str]:
    """Texts that stand in these fields more than once, in one row or in two."""
    first: dict[str, str] = {}
    for place, row in zip(places, rows, strict=True):
        for field in fields:
            text = str(getattr(row, field))
            if text in first:
                yield f"{place}: field '{field}': '{text}' occurs more than once, first in {first[text]}."
            first.setdefault(text, place)


def _split_problems(domain: Domain, places: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """An answer that the judge is built on, however it is typed, must not be one that it is tested on."""
    built = {_letters(answer.text) for answer in domain.answers}
    for place, answer in zip(places["card"], domain.card, strict=True):
        if _letters(answer.text) in built:
            yield (
                f"{place}: field 'text': '{answer.text[:60]}' is in answers.jsonl as well, on both sides of the split "
                "(case, spaces and punctuation do not tell texts apart)."
            )


def _letters(text: str) -> str:
    """A text without what can change in retyping it: case, spaces, punctuation; itself where nothing else is in it."""
    folded = unicodedata.normalize("NFKC", text.casefold())
    return "".join(c for c in folded if unicodedata.category(c)[0] not in "PZC") or text
