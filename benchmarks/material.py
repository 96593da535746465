"""What the programs are given: texts, a persona grid and prompts, all from the built-in partisan domain."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unmask.domains import Domain, load_domain
from unmask.domains.schema import POLES, Question

_SEED = 0
HELD_OUT = 4096
"""Rows at the front that nothing is trained on, as in peers/sae.py."""
_SYSTEM = "A user talks with an assistant."


def domain() -> Domain:
    return load_domain("partisan")


def statements(tokenizer: Any, count: int = 256, shortest: int = 12, longest: int = 30) -> list[str]:
    """Statements and answers of both poles, each of 12 to 30 tokens, drawn with a fixed seed."""
    partisan = domain()
    rows = (*partisan.statements, *partisan.questions)
    texts = [text for row in rows for text in (row.a, row.b)]
    fitting = [text for text in texts if shortest <= len(tokenizer(text).input_ids) <= longest]
    return random.Random(_SEED).sample(fitting, count)


def long_texts(count: int, statements_each: int, part: slice = slice(None)) -> list[str]:
    """Texts of several statements in a row, no two the same; `part` of the statements alone."""
    pool = [text for row in domain().statements[part] for text in (row.a, row.b)]
    draw = random.Random(_SEED)
    return [" ".join(draw.sample(pool, statements_each)) for _ in range(count)]


def activations(model: Path, path: Path, layer: int, count: int) -> Path:
    """The states of a layer at every token but the first of texts of several statements: float32 `[count, d]`, .npy.

    Rows come in a random order, behind 4,096 of statements that are in none of the others.
    """
    from benchmarks.plain import load

    tokenizer, net = load(str(model), "bfloat16")
    tokenizer.padding_side = "right"
    part = (
        _states(tokenizer, net, layer, slice(0, 48), HELD_OUT),
        _states(tokenizer, net, layer, slice(48, None), count - HELD_OUT),
    )
    np.save(path, torch.cat(part).numpy())
    return path


def _states(tokenizer: Any, net: Any, layer: int, part: slice, count: int) -> torch.Tensor:
    """So many states of texts made of a part of the statements, in a random order."""
    parts: list[torch.Tensor] = []
    texts, found = iter(long_texts(count // 20, 2, part)), 0
    while found < count:
        inputs = tokenizer([next(texts) for _ in range(32)], return_tensors="pt", padding=True)
        with torch.inference_mode():
            states = net.model(**inputs, output_hidden_states=True).hidden_states[layer]
        mask = inputs["attention_mask"].bool()
        mask[:, 0] = False
        parts.append(states[mask].float())
        found += len(parts[-1])
    whole = torch.cat(parts)
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(_SEED))
    return whole[order[:count]]


def persona_grid(tokenizer: Any, personas: int = 16, questions: int = 8) -> list[dict[str, str]]:
    """Every persona × question × both poles' answers, as contexts and continuations.

    A persona is one stated and one implied sentence of its pole, behind a line that all share; the questions are
    those that take the fewest different tokens with both answers. So the ratio of tokens to distinct prefixes comes
    near that of the example in peers/README.md.
    """
    partisan = domain()

    def cost(row: Question) -> int:
        return distinct_prefixes(
            [tokenizer(f"{row.question} {answer}").input_ids for answer in (row.a, row.b)]
        )

    draw = random.Random(_SEED)
    askers = [
        f"{stated.text} {implied.text}"
        for pole in POLES
        for stated, implied in zip(
            *(
                draw.sample(partisan.identities_of(kind, pole), personas // 2)
                for kind in ("stated", "implied")
            ),
            strict=True,
        )
    ]
    return [
        {"context": f"{_SYSTEM}\nUser: {asker} {row.question}\nAssistant:", "continuation": f" {answer}"}
        for asker in askers
        for row in sorted(partisan.questions, key=cost)[:questions]
        for answer in (row.a, row.b)
    ]


def prompts(count: int) -> list[str]:
    """The domain's questions as prompts of one line each."""
    return [f"Question: {row.question} Answer:" for row in domain().questions[:count]]


def openings(count: int) -> list[str]:
    """The same questions, each with the beginning of an answer: without one the demo weights often say nothing."""
    return [f"{row.question} I think that" for row in domain().questions[:count]]


def row_ids(tokenizer: Any, row: dict[str, str]) -> tuple[tuple[int, ...], int]:
    """A grid row's ids, context and continuation encoded jointly, and where its continuation begins."""
    start = len(tokenizer(row["context"], add_special_tokens=False).input_ids)
    return tuple(tokenizer(row["context"] + row["continuation"], add_special_tokens=False).input_ids), start


def same_either_way(tokenizer: Any, row: dict[str, str]) -> bool:
    """Whether encoding context and continuation apart gives the ids that encoding them jointly does."""
    parts = [tokenizer(row[part], add_special_tokens=False).input_ids for part in ("context", "continuation")]
    return tuple(parts[0] + parts[1]) == row_ids(tokenizer, row)[0]


def distinct_prefixes(rows: Sequence[Sequence[int]]) -> int:
    """How many different beginnings the rows have, each a token that a forward pass must see."""
    return len({tuple(row[:end]) for row in rows for end in range(1, len(row) + 1)})


def write_lines(path: Path, lines: Sequence[str]) -> Path:
    """One text a line."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    """One JSON object a line."""
    return write_lines(path, [json.dumps(row, ensure_ascii=False) for row in rows])


def read_lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def read_rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in read_lines(path)]
