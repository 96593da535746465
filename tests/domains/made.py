"""A small sound domain of one's own, written to a folder, to be spoilt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOPICS = ("tea", "rain", "dogs", "trains", "chess", "bread")
TOML = """name = "{name}"
title = "A test"
description = "Made up."
[poles.a]
name = "one"
label = "One"
[poles.b]
name = "two"
label = "Two"
"""


def write_domain(folder: Path, name: str = "made-up") -> Path:
    """Only what a domain must bring itself; the rest is common."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "domain.toml").write_text(TOML.format(name=name))
    sides = ("a", "b")
    write_rows(
        folder / "statements.jsonl",
        [
            {"topic": t, "pair": k, "a": f"We like {t} {k} much.", "b": f"We like {t} {k} little.",
             "affirmative": sides[k % 2]}
            for t in TOPICS
            for k in range(4)
        ],
    )  # fmt: skip
    write_rows(
        folder / "questions.jsonl",
        [
            {"topic": t, "question": f"What of {t}, case {k}?", "a": f"{t} is good.", "b": f"{t} is bad."}
            for t in TOPICS
            for k in range(2)
        ],
    )
    write_rows(
        folder / "identities.jsonl",
        [
            {"kind": kind, "pole": pole, "text": f"I am {kind} {pole} number {k}."}
            for kind in ("stated", "implied")
            for pole in sides
            for k in range(8)
        ],
    )
    return folder


def write_answers(folder: Path) -> Path:
    """The labelled answers that a judge is built on and tested on."""
    kinds = ("a", "b", "neutral", "hedged", "refusal", "off_topic")
    for name, n in (("answers", 2), ("card", 5)):
        write_rows(
            folder / f"{name}.jsonl",
            [
                {
                    "kind": kind,
                    "topic": TOPICS[k],
                    "question": f"What of {TOPICS[k]}?",
                    "text": f"{name} {kind} {k}.",
                }
                for kind in kinds
                for k in range(n)
            ],
        )
    return folder


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def change(path: Path, line: int, edit: Callable[[dict[str, Any]], object]) -> None:
    """Edit the object on one line (1 is the first) of a JSON Lines file."""
    rows = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    edit(rows[line - 1])
    write_rows(path, rows)
