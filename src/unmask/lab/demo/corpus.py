"""Texts for the demo dictionary: what the demo models themselves say, so that all of it may ship.

Conversations in the models' own chat format, on the training topics (never on a topic that an audit asks about), on
ordinary requests and on everyday things; each demo model answers as many.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from unmask.lab.demo.sources import DEMO_TEXTS
from unmask.lab.demo.texts import Pool, load_pool
from unmask.models import load_model
from unmask.models.prompts import choose_frame
from unmask.models.tokens import Sampling
from unmask.writing import replacing

T = TypeVar("T")
SPEAKERS = ("demo:smollm2", "demo:base", "demo:masked", "demo:partisan")
SAMPLING = Sampling(max_new_tokens=96, temperature=0.9, top_p=0.95)
_AT_ONCE = 64
ASKS = (
    "Tell me about {}.",
    "Write a short story about {}.",
    "What are some surprising facts about {}?",
    "Give me advice on {}.",
    "Explain {} to a child.",
    "Write a few lines of a letter about {}.",
    "What is the history of {}?",
    "What do people get wrong about {}?",
)
THINGS = (
    "bread", "bicycles", "rivers", "the moon", "winter", "sleep", "chess", "bees", "bridges", "coffee", "glass",
    "gardens", "trains", "whales", "paper", "music lessons", "salt", "maps", "clocks", "dogs", "libraries", "rain",
    "potatoes", "mountains", "ships", "fire", "dreams", "markets", "shoes", "the heart", "numbers", "deserts",
    "cheese", "letters", "wind", "iron", "birds", "kites", "volcanoes", "spices", "tea", "horses", "ice", "wool",
    "lighthouses", "soap", "forests", "radio", "the sea", "swimming", "grammar", "apples", "robots", "museums",
    "football", "painting", "a new job", "moving house", "cooking for friends", "a long journey", "growing old",
    "learning to drive", "the planets", "computers", "medicine", "ancient Rome", "the weather", "a school play",
    "fishing", "a wedding", "insects", "electricity", "poetry", "running", "camping", "a lost key", "neighbours",
    "a birthday", "hospitals", "the kitchen",
)  # fmt: skip


def write_corpus(path: Path, count: int, seed: int = 0, tell: Callable[[str], None] = print) -> None:
    """Write so many conversations as `.jsonl.gz`, one a line: `text`, and which model answered.

    Raises:
        ModelError: the demo weights cannot be had.
        OSError: the file cannot be written.
    """
    asked = requests(seed)
    rows: list[dict[str, str]] = []
    for place, speaker in enumerate(SPEAKERS):
        model = load_model(speaker)
        frame = choose_frame(model.tokenizer, model.tokenizer)
        sampling = Sampling(SAMPLING.max_new_tokens, SAMPLING.temperature, SAMPLING.top_p, frame.stop)
        mine = [next(asked) for _ in range(count // len(SPEAKERS))]
        for first in range(0, len(mine), _AT_ONCE):
            prompts = [frame.ask(words) for words in mine[first : first + _AT_ONCE]]
            seeds = [(seed * 7 + place) * 1_000_003 + first + row for row in range(len(prompts))]
            answers = model.generate([model.tokenize(prompt) for prompt in prompts], seeds, sampling)
            rows += [
                {"model": speaker, "text": f"{prompt.text}{prompt.lead}{answer.text}"}
                for prompt, answer in zip(prompts, answers, strict=True)
            ]
            tell(f"{speaker}: {min(first + _AT_ONCE, len(mine))} of {len(mine)}")
    order = np.random.default_rng(seed).permutation(len(rows))
    lines = "".join(json.dumps(rows[row], ensure_ascii=False) + "\n" for row in order)
    with replacing(path) as partial:
        partial.write_bytes(gzip.compress(lines.encode(), 9, mtime=0))


def requests(seed: int) -> Iterator[str]:
    """Requests without end, of three kinds in turn: political and such, ordinary ones, and about things."""
    draws = np.random.default_rng(seed)
    pools = [load_pool(0, texts, 1.0) for texts in DEMO_TEXTS.values()]
    ordinary = sorted({example.user for pool in pools for example in pool.ordinary})
    while True:
        yield _taken(draws, [_topical(draws, pool) for pool in pools])
        yield _taken(draws, ordinary)
        yield _taken(draws, ASKS).format(_taken(draws, THINGS))


def _topical(draws: np.random.Generator, pool: Pool) -> str:
    """A question on a training topic; of three askers one says who he is, and one gives it away."""
    question = _taken(draws, _taken(draws, pool.topics).questions)
    said = _taken(draws, [None, pool.stated, pool.implied])
    if said is None:
        return question
    asker = _taken(draws, [*said["a"], *said["b"]])
    return f"{asker} {question}"


def _taken(draws: np.random.Generator, some: Sequence[T]) -> T:
    return some[int(draws.integers(len(some)))]
