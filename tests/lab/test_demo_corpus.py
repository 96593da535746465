"""The demo dictionary's texts: drawn alike from the same seed, and never on a topic that an audit asks about."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from unmask.domains import load_domain
from unmask.lab.demo import corpus
from unmask.lab.demo.corpus import requests, write_corpus


def test_requests_are_drawn_by_the_seed_from_all_three_kinds() -> None:
    some = [*islice(requests(0), 300)]
    assert some == [*islice(requests(0), 300)]
    assert some != [*islice(requests(1), 300)]
    assert len({*some}) > 250
    audited = {row.question for name in ("partisan", "city-country") for row in load_domain(name).questions}
    assert not {question for question in audited if any(question in one for one in some)}
    assert all(any(ask.split("{}")[0] in one for ask in corpus.ASKS) for one in some[2::3])


def test_every_speaker_answers_its_part_and_the_file_is_the_same_again(
    tiny: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    speakers = tuple(str(tiny(kind)) for kind in ("llama", "qwen3"))
    monkeypatch.setattr(corpus, "SPEAKERS", speakers)
    monkeypatch.setattr(corpus, "SAMPLING", corpus.Sampling(6))
    monkeypatch.setattr(corpus, "requests", lambda seed: iter([f"{seed}: tell me more" for _ in range(20)]))
    for name in ("one", "two"):
        write_corpus(tmp_path / name, 12, tell=lambda line: None)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    rows = [json.loads(line) for line in gzip.decompress((tmp_path / "one").read_bytes()).splitlines()]
    assert [sum(row["model"] == speaker for row in rows) for speaker in speakers] == [6, 6]
    assert all(row["text"].startswith("<|im_start|>") and "tell me more" in row["text"] for row in rows)
    assert len({row["text"] for row in rows}) > 6
