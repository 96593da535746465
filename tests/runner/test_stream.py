"""Streams: the states of `Model.read`, token for token, whatever became of the shards on disk."""

from __future__ import annotations

import os
import shutil
import signal
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models.tiny import relative, tiny_net, tiny_tokenizer
from safetensors.torch import load_file
from tokenizers.processors import TemplateProcessing

from runner.work import flip, tiny_model
from unmask import Stopped
from unmask.models import Frame, ModelError, Tokens
from unmask.models.model import Model
from unmask.runner import stream as module
from unmask.runner.stream import ActivationStream, Shard

WORDS = "the committee met on Tuesday and it talked about the weather while 12 ducks watch from a river bank "
DOCUMENTS = [*(WORDS[4 * (i % 7) :] * (1 + i % 3) for i in range(9)), "too short", ""]
WINDOW = 24
SMALL: dict[str, Any] = {"window": WINDOW, "shard_bytes": 10_000, "at_once": 64}


def with_start_token() -> Any:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|bos|> $A", special_tokens=[("<|bos|>", tokenizer.bos_token_id)]
    )
    return tokenizer


def model(seed: int = 0, dtype: str = "float32", tokenizer: Any = None) -> Model:
    net = tiny_net("llama", seed).to(getattr(torch, dtype))
    return Model(net, tokenizer or tiny_tokenizer(), f"tiny {seed}", f"tiny {seed}")


@pytest.fixture(scope="module")
def pair() -> list[Model]:
    return [tiny_model(0), tiny_model(1)]


@pytest.fixture
def forwarded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Tokens of each forward pass, as they come."""
    passes: list[int] = []
    read = Model.read

    def counting(self: Model, rows: Sequence[Tokens], *more: Any) -> Any:
        passes.append(sum(map(len, rows)))
        return read(self, rows, *more)

    monkeypatch.setattr(Model, "read", counting)
    return passes


def rows_by_hand(ids: Sequence[int], opening: int = 0) -> Iterator[tuple[list[int], list[int]]]:
    """Rows of one document, and the position of each of their tokens in it."""
    head, body = list(ids[:opening]), list(ids[opening:])
    room = WINDOW - opening
    for start in range(0, len(body), room):
        row = head + body[start : start + room]
        if len(row) >= 8:
            yield row, [*range(opening), *range(opening + start, opening + start + len(row) - opening)]


def tokens_by_hand(live: Model, opening: int = 0) -> dict[tuple[int, int], tuple[int, np.ndarray]]:
    """Id and state at layer 2 of every token, by document and position; each row forwarded by itself."""
    found = {}
    for document, text in enumerate(DOCUMENTS):
        for row, positions in rows_by_hand(live.tokenize(Frame.plain(text)).ids, opening):
            (states,) = live.read([Tokens(tuple(row), (1, len(row)), len(row))], (2,), "each")
            for at in range(1, len(row)):
                found[document, positions[at]] = row[at], states[at, 0]
    return found


def places(shard: Shard) -> list[tuple[int, int]]:
    return list(zip(shard.documents.tolist(), shard.positions.tolist(), strict=True))


def same(a: Shard, b: Shard) -> bool:
    return all(torch.equal(x, y) and x.dtype == y.dtype for x, y in zip(columns(a), columns(b), strict=True))


def columns(shard: Shard) -> tuple[torch.Tensor, ...]:
    return shard.states, shard.documents, shard.positions, shard.ids


@pytest.mark.parametrize("opening", [0, 1], ids=["bare", "start token"])
def test_every_token_of_both_models_is_as_its_row_gives_it_alone(tmp_path: Path, opening: int) -> None:
    models = [model(seed, tokenizer=with_start_token() if opening else None) for seed in (0, 1)]
    stream = ActivationStream(models, DOCUMENTS, 2, tmp_path, **SMALL)
    expected = [tokens_by_hand(live, opening) for live in models]
    assert stream.tokens == len(expected[0])
    assert not tmp_path.joinpath(stream.digest).exists()
    assert stream.n_shards > 3
    seen = []
    for shard in stream:
        assert sum(tensor.nbytes for tensor in columns(shard)) <= SMALL["shard_bytes"]
        for place, token, states in zip(places(shard), shard.ids.tolist(), shard.states.numpy(), strict=True):
            seen.append(place)
            for which, by_hand in enumerate(expected):
                assert token == by_hand[place][0]
                assert relative(states[which], by_hand[place][1]) < 1e-5
    assert sorted(seen) == sorted(expected[0])
    assert seen != sorted(seen)


def test_states_of_a_narrow_model_are_stored_without_loss(tmp_path: Path, monkeypatch: Any) -> None:
    live = model(dtype="bfloat16")
    read, given = Model.read, []

    def keeping(self: Model, rows: Sequence[Tokens], *more: Any) -> Any:
        found = read(self, rows, *more)
        given.extend(found)
        return found

    monkeypatch.setattr(Model, "read", keeping)
    stream = ActivationStream([live], DOCUMENTS, 3, tmp_path, **SMALL)
    shards = [*stream]
    assert {shard.states.dtype for shard in shards} == {torch.bfloat16}
    expected = np.concatenate([states[1:, 0] for states in given])
    found = torch.cat([shard.states[:, 0].float() for shard in shards]).numpy()
    assert np.array_equal(np.sort(found, axis=0), np.sort(expected, axis=0))
    file = load_file(tmp_path / stream.digest / "00001.safetensors")
    assert same(Shard(**file), shards[1])


def swap(path: Path) -> None:
    shutil.copy(path.with_name("00000.safetensors"), path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "too long": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "a bit of its length": lambda path: flip(path, 3),
    "a bit of its header": lambda path: flip(path, 8 * 60 + 2),
    "a bit of a column": lambda path: flip(path, 8 * (path.stat().st_size - 9000) + 1),
    "its last bit": lambda path: flip(path, 8 * path.stat().st_size - 1),
    "another shard": swap,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_shard_that_is_gone_or_damaged_comes_back_bit_for_bit(
    tmp_path: Path, pair: list[Model], forwarded: list[int], damage: str
) -> None:
    stream = ActivationStream(pair, DOCUMENTS, 1, tmp_path, **SMALL)
    before = [*stream]
    once = sum(forwarded)
    assert all(map(same, ActivationStream(pair, DOCUMENTS, 1, tmp_path, **SMALL), before))
    assert sum(forwarded) == once
    path = tmp_path / stream.digest / "00002.safetensors"
    bits = path.read_bytes()
    DAMAGES[damage](path)
    assert all(map(same, stream, before))
    assert once < sum(forwarded) < 2 * once
    assert path.read_bytes() == bits


def test_shards_made_with_other_software_are_not_mixed_in(
    tmp_path: Path, pair: list[Model], forwarded: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [*ActivationStream(pair, DOCUMENTS, 1, tmp_path, **SMALL)]
    once = sum(forwarded)
    monkeypatch.setattr(module, "software_facts", lambda: {"torch": "another"})
    assert all(map(same, ActivationStream(pair, DOCUMENTS, 1, tmp_path, **SMALL), before))
    assert sum(forwarded) == 2 * once


KEEP = 26_000


def used(stream: ActivationStream) -> int:
    """Bytes of shards on disk, whole and half-written."""
    return sum(path.stat().st_size for path in stream.folder.glob("*safetensors*"))


def test_the_disk_holds_no_more_than_asked_and_the_newest_of_it(
    tmp_path: Path, pair: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [*ActivationStream(pair, DOCUMENTS, 1, tmp_path / "whole", **SMALL)]
    stream = ActivationStream(pair, DOCUMENTS, 1, tmp_path, keep=KEEP, **SMALL)
    stream.folder.mkdir(parents=True)
    stream.folder.joinpath(".00009.safetensors.0123abcd").write_bytes(b"x" * 9_000)  # of a killed run
    stream.folder.joinpath("notes.md").write_bytes(b"theirs")
    replacing, left = module.replacing, []

    def measured(path: Path) -> Any:
        left.append(used(stream))
        return replacing(path)

    monkeypatch.setattr(module, "replacing", measured)
    for i, shard in enumerate(stream):
        there = sorted(path.name for path in stream.folder.glob("[0-9]*"))
        size = stream.folder.joinpath(there[-1]).stat().st_size
        assert same(shard, whole[i])
        assert there == [f"{k:05d}.safetensors" for k in range(i + 1 - len(there), i + 1)]
        assert (
            left[i] <= used(stream) - size <= used(stream) <= KEEP
        )  # room is made before a shard is written
        assert len(there) >= min(i, 2)
    assert len(there) < len(whole)
    assert sorted(path.name for path in stream.folder.glob("*"))[-1] == "notes.md"
    tight = ActivationStream(pair, DOCUMENTS, 1, tmp_path / "tight", keep=1, **SMALL)
    assert all(map(same, tight, whole))
    assert len([*tight.folder.glob("*")]) == 1


def test_the_order_is_the_seeds_and_the_address_everything_else_as_well(
    tmp_path: Path, pair: list[Model]
) -> None:
    def made(models: list[Model] = pair, texts: list[str] = DOCUMENTS, layer: int = 1, **more: Any) -> Any:
        return ActivationStream(models, texts, layer, tmp_path, **SMALL | more)

    order = [[place for shard in made(seed=seed) for place in places(shard)] for seed in (0, 0, 1)]
    assert order[0] == order[1] != order[2]
    assert sorted(order[0]) == sorted(order[2])
    others = [
        made(pair[:1]),
        made(pair[::-1]),
        made(texts=[*DOCUMENTS[:-2], "too", "short"]),
        made(layer=2),
        made(seed=1),
        made(window=16),
        made(shard_bytes=9_000),
        made(facts={"quantised": "8bit"}),
    ]
    assert len({made().digest, *(other.digest for other in others)}) == 1 + len(others)
    assert made(at_once=32, keep=1).digest == made().digest


def test_a_pass_holds_two_shards_at_most(
    tmp_path: Path, pair: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = ActivationStream(pair, DOCUMENTS, 1, tmp_path, **SMALL)
    read, alive, most = stream._read, weakref.WeakSet[Shard](), 0

    def counting(i: int) -> Shard | None:
        nonlocal most
        found = read(i)
        if found is not None:
            alive.add(found)
        most = max(most, len(alive))
        return found

    monkeypatch.setattr(stream, "_read", counting)
    for _ in stream:
        assert len(alive) == 1
    assert most == 2
    assert stream._pieces.ids.itemsize == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_between_batches_with_whole_shards_only(
    tmp_path: Path, pair: list[Model], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    whole = [*ActivationStream(pair, DOCUMENTS, 1, tmp_path / "whole", **SMALL)]
    stream = ActivationStream(pair, DOCUMENTS, 1, tmp_path, **SMALL)
    before = signal.signal(number, signal.default_int_handler)
    try:
        stream.shard(0)
        read, passes = Model.read, []

        def signalled(self: Model, *given: Any) -> Any:
            passes.append(1)
            if len(passes) == 2:
                os.kill(os.getpid(), number)
            return read(self, *given)

        monkeypatch.setattr(Model, "read", signalled)
        with pytest.raises(Stopped):
            stream.shard(1)
        assert len(passes) == 2
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    assert [path.name for path in stream.folder.glob("*")] == ["00000.safetensors"]
    assert all(map(same, stream, whole))


def shifted() -> Any:
    return tiny_tokenizer(extra=("<|extra|>",))


FAULTS: dict[str, tuple[Callable[[], list[Model]], dict[str, Any], str]] = {
    "no model": (list, {}, "at least one"),
    "tokenizers": (
        lambda: [model(0), model(1, tokenizer=shifted())],
        {},
        r"do not share a tokenizer: in document 0 token 0 \(both from 0\) is \d+ \('t.*'\) and \d+ \('t.*'\);",
    ),
    "a start token on one side": (
        lambda: [model(0), model(1, tokenizer=with_start_token())],
        {},
        "in document 0 token 0 .* and 0 .*bos",
    ),
    "dtypes": (lambda: [model(0), model(1, "bfloat16")], {}, "tiny 0 is 32 wide in float32, .* in bfloat16"),
    "layer": (lambda: [model()], {"layer": 4}, "layers 0 to 3; layer 4 was asked for"),
    "a long window": (lambda: [model()], {"window": 129}, "rows of up to 128; give 8 to 128"),
    "a short window": (lambda: [model()], {"window": 7}, "window is 7 tokens"),
    "a small shard": (lambda: [model()], {"shard_bytes": 99}, "longest row take 3,220 bytes, .* have 99;"),
    "nothing to read": (
        lambda: [model()],
        {"documents": ["a", ""]},
        "No document of the corpus has 8 tokens",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_streamed_is_said_before_any_pass(
    tmp_path: Path, forwarded: list[int], fault: str
) -> None:
    models, more, sentence = FAULTS[fault]
    given = {"documents": DOCUMENTS, "layer": 1, "folder": tmp_path} | SMALL | more
    with pytest.raises(ModelError, match=sentence) as raised:
        ActivationStream(models(), **given)
    assert "\n" not in str(raised.value)
    assert not forwarded


def test_activations_that_are_not_finite_name_their_model_and_leave_nothing(tmp_path: Path) -> None:
    models = [model(0), model(1)]
    with torch.no_grad():
        models[1].net.model.layers[0].mlp.down_proj.weight[:] = torch.nan
    stream = ActivationStream(models, DOCUMENTS, 2, tmp_path, **SMALL)
    with pytest.raises(ModelError, match=r"tiny 1 has activations that are not finite .* at layer 1"):
        stream.shard(0)
    assert not stream.folder.exists()
    with pytest.raises(IndexError):
        stream.shard(stream.n_shards)


class Counting:
    """A model whose state of a token says which token it is; its rows are as a tokenizer gives them."""

    name = identity = "counting"
    d_model, n_layers, dtype, device, max_length = 2, 1, "float32", "cpu", 64
    anatomy = SimpleNamespace(vocabulary=10**6)

    def __init__(self, start: bool) -> None:
        self.start = [0] if start else []
        self.tokenizer = self

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": self.start * add_special_tokens + [1 + ord(letter) for letter in text]}

    def tokenize(self, prompt: Any) -> Tokens:
        ids = self(prompt.text, prompt.special)["input_ids"]
        return Tokens(tuple(ids), (0, 0), len(ids))

    bos_token_id, eos_token_id = 0, None

    def read(self, rows: Sequence[Tokens], layers: tuple[int], pick: str) -> list[np.ndarray]:
        return [np.array([[[token, at]] for at, token in enumerate(row.ids)], np.float32) for row in rows]


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=12),
    window=st.integers(8, 40),
    start=st.booleans(),
    extra=st.integers(0, 3000),
    at_once=st.integers(1, 200),
    seed=st.integers(0, 3),
)
def test_every_token_of_every_piece_is_in_one_shard_and_no_shard_is_too_large(
    tmp_path_factory: pytest.TempPathFactory,
    lengths: list[int],
    window: int,
    start: bool,
    extra: int,
    at_once: int,
    seed: int,
) -> None:
    texts, used = [], 0
    for length in lengths:  # every token of the corpus is another
        texts.append("".join(chr(0x4E00 + used + k) for k in range(length)))
        used += length
    live: Any = Counting(start)
    room = window - start
    expected = {
        (document, start + at): 1 + ord(text[at])
        for document, text in enumerate(texts)
        for begin in range(0, len(text), room)
        if min(room, len(text) - begin) + start >= 8
        for at in range(begin + (not start), min(begin + room, len(text)))
    }
    most = window * 20 + extra
    folder = tmp_path_factory.mktemp("stream")
    given = {"window": window, "seed": seed, "shard_bytes": most, "at_once": at_once}
    if not expected:
        with pytest.raises(ModelError, match="No document"):
            ActivationStream([live], texts, 1, folder, **given)
        return
    stream = ActivationStream([live], texts, 1, folder, **given)
    seen: list[tuple[tuple[int, int], int]] = []
    for shard in stream:
        assert 0 < sum(tensor.nbytes for tensor in columns(shard)) <= most
        assert torch.equal(shard.states[:, 0, 0], shard.ids.float())
        assert bool((shard.states[:, 0, 1] > 0).all())
        seen += zip(places(shard), shard.ids.tolist(), strict=True)
    assert len(seen) == stream.tokens == len(expected)
    assert dict(seen) == expected
