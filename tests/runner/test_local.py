"""The local runner: right answers, each paid for once, and a killed run that loses at most the batch in flight."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import tracemalloc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from models.tiny import relative, tiny_net, tiny_tokenizer

from runner.work import (
    FRAME,
    PUSH,
    WORDS,
    by_length,
    classify,
    flip,
    requests_of,
    runner,
    same_bits,
    taken,
    tiny_model,
)
from unmask.models import Add, Frame, ModelError, Tokens
from unmask.models.judges import CLASSES
from unmask.models.model import Model
from unmask.runner.local import software_facts
from unmask.runner.planner import Budget
from unmask.runner.records import EditError, MissingRecord, Replay
from unmask.runner.requests import SIDES, Generate, Read, Request, Score
from unmask.runner.store import DamagedRecord, RecordStore

Served = list[Sequence[Request]]


class Stop(Exception):
    """What ends a run in these tests."""


class StopAfter:
    """A progress that ends the run after some batches."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def expect(self, *_: object) -> None:
        pass

    def begin(self, *_: object) -> None:
        pass

    def advance(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            raise Stop


def alone(model: Model, request: Request) -> Any:
    """One request through the model's verb, in a batch of its own."""
    assert isinstance(request, Read | Score | Generate)
    continuation = request.continuation if isinstance(request, Score) else ""
    rows, edits = [model.tokenize(request.prompt, continuation)], [request.edit]
    if isinstance(request, Read):
        layers = request.layers or tuple(range(model.n_layers + 1))
        return model.read(rows, layers, request.pick, edits)[0]
    if isinstance(request, Score):
        return model.score(rows, edits)[0]
    return model.generate(rows, [request.seed], request.sampling, edits)[0]


def test_it_agrees_with_one_prompt_at_a_time(tmp_path: Path) -> None:
    both = [*requests_of("base"), *requests_of("aligned")]
    records = runner(tmp_path).answer([*both, *classify()])
    models = {"base": tiny_model(0), "aligned": tiny_model(1)}
    for request in both:
        expected = alone(models[request.side], request)  # type: ignore[union-attr]  # all are prompts
        if isinstance(request, Generate):
            answer = records.answer(request)
            assert (answer.text, answer.tokens) == (expected.text, len(expected.ids))
            assert answer.finished == expected.finished
        else:
            assert relative(records.array(request), expected) < 1e-5
    labels = [CLASSES[int(records.array(row).argmax())] for row in classify()]
    assert labels == [by_length("", text) for text in WORDS]


@pytest.mark.parametrize(("stop_after", "dtype"), [(1, "float32"), (4, "float32"), (3, "bfloat16")])
def test_a_stopped_run_goes_on_where_it_stopped_and_gives_the_same_bits(
    tmp_path: Path,
    served: Served,
    stop_after: int,
    dtype: str,
) -> None:
    """In bf16 a row's bits depend on its batch mates, so this holds only while the same batches form again."""
    work = [*requests_of("base"), *requests_of("aligned"), *classify()]
    whole = runner(tmp_path / "whole", dtype=dtype).answer(work)
    n_batches = len(served)
    with pytest.raises(Stop):
        runner(tmp_path / "cut", progress=StopAfter(stop_after), dtype=dtype).answer(work)
    served.clear()
    resumed = runner(tmp_path / "cut", dtype=dtype).answer(work[::-1])
    assert len(served) == n_batches - stop_after
    assert same_bits(resumed, whole)
    served.clear()
    assert same_bits(runner(tmp_path / "cut", dtype=dtype).answer(work), whole)
    assert served == []


CHILD = """
import sys, time
from pathlib import Path
import torch
torch.set_num_threads(int(sys.argv[2]))
from runner.work import classify, requests_of, runner

class Tell:
    def begin(self, tokens, done): pass
    def advance(self, *_):
        print("batch", flush=True)

runner(Path(sys.argv[1]), progress=Tell()).answer([*requests_of("base"), *requests_of("aligned"), *classify()])
print("end", flush=True)
time.sleep(60)
"""


def test_kill_9_loses_at_most_the_batch_in_flight(tmp_path: Path, served: Served) -> None:
    work = [*requests_of("base"), *requests_of("aligned"), *classify()]
    whole = runner(tmp_path / "whole").answer(work)
    n_batches = len(served)
    tests = str(Path(__file__).parents[1])
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(tmp_path / "cut"), str(torch.get_num_threads())],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([tests, *sys.path])},
        text=True,
    )
    try:
        assert child.stdout is not None
        seen = [child.stdout.readline() for _ in range(5)]
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert seen == ["batch\n"] * 5
    kept = len(list((tmp_path / "cut").rglob("*.safetensors")))
    assert kept >= 5
    served.clear()
    resumed = runner(tmp_path / "cut").answer(work)
    assert len(served) == n_batches - kept
    assert same_bits(resumed, whole)


def test_only_the_batch_of_a_damaged_record_runs_again(tmp_path: Path, served: Served) -> None:
    work = requests_of("base")
    whole = runner(tmp_path).answer(work)
    for damage in (lambda data: data[:-1], lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: b""):
        path = sorted(tmp_path.rglob("*.safetensors"))[2]
        path.write_bytes(damage(path.read_bytes()))
        served.clear()
        again = runner(tmp_path)
        assert same_bits(again.answer(work), whole)
        assert len(served) == 1
        assert again.damaged == [path.relative_to(tmp_path.parent).as_posix()]
        assert RecordStore(tmp_path).read(path.stem) is not None


def test_sides_with_the_same_weights_are_answered_once(tmp_path: Path, served: Served) -> None:
    one = runner(tmp_path / "one", 0, 0).answer(requests_of("base"))
    rows = sum(map(len, served))
    served.clear()
    both = runner(tmp_path / "two", 0, 0).answer([*requests_of("aligned"), *requests_of("base")])
    assert sum(map(len, served)) == rows
    for base, aligned in zip(requests_of("base"), requests_of("aligned"), strict=True):
        if isinstance(base, Generate):
            assert both.answer(aligned) == one.answer(base)
        else:
            np.testing.assert_array_equal(both.array(aligned), one.array(base))


def test_what_an_earlier_round_asked_is_not_paid_for_again(tmp_path: Path, served: Served) -> None:
    first, second = requests_of("base")[::2], requests_of("base")
    live = runner(tmp_path)
    early = live.answer(first)
    served.clear()
    late = live.answer(second)
    asked = [request for batch in served for request in batch]
    assert {*asked} == {*second} - {*first}
    for request in first:
        if not isinstance(request, Generate):
            np.testing.assert_array_equal(late.array(request), early.array(request))
    served.clear()
    again = runner(tmp_path)
    again.answer(first)
    assert same_bits(again.answer(second), late)
    assert served == []


def test_a_record_lost_between_rounds_is_asked_again(tmp_path: Path) -> None:
    live = runner(tmp_path)
    first = live.answer(requests_of("base"))
    whole = [taken(first, request) for request in requests_of("base")]
    batches = live.batches
    for path in tmp_path.rglob("*.safetensors"):
        path.unlink()
    again = live.answer(requests_of("base"))
    assert [taken(again, request) for request in requests_of("base")] == whole
    assert live.batches == batches  # the same batches, so that their bits are the same too
    assert live.damaged == []


def test_a_record_spoilt_after_it_was_found_sound_is_an_error_and_no_number(
    tmp_path: Path, served: Served
) -> None:
    work = requests_of("base")
    live = runner(tmp_path)
    records = live.answer(work)
    whole = [taken(records, request) for request in work]
    for path in tmp_path.rglob("*.safetensors"):
        flip(path, 8 * path.stat().st_size - 1)
    named: set[str] = set()
    for request, expected in zip(work, whole, strict=True):
        try:
            assert taken(records, request) == expected  # a sound row beside the damaged one
        except DamagedRecord as error:
            named.add(error.path.stem)
    assert named == {*live.batches}
    served.clear()
    again = live.answer(work)
    assert [taken(again, request) for request in work] == whole
    assert len(served) == len(live.batches) == len(live.damaged)


def test_memory_holds_a_batch_and_not_a_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    megabyte = 1 << 20

    def answers(_: Any, requests: Sequence[Request], *__: Any) -> list[Any]:
        return [np.full(megabyte // 4, len(row.prompt.text), np.float32) for row in requests]  # type: ignore[union-attr]  # all are prompts

    monkeypatch.setattr("unmask.runner.local.serve", answers)
    work = [Read("base", Frame.plain("word " * (1 + i % 9) + str(i))) for i in range(120)]
    live = runner(tmp_path)
    live.answer(work[:1])  # what is loaded once
    tracemalloc.start()
    try:
        records = live.answer(work)
        for request in work:
            assert records.array(request)[0] == len(request.prompt.text)
        resumed = runner(tmp_path).answer(work)
        replayed = Replay(live.store, live.identities, live.batches).answer(work)
        assert taken(resumed, work[7]) == taken(replayed, work[7]) == taken(records, work[7])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 30 * megabyte  # all rows at once are 120


def test_the_judges_answers_outlive_the_run(tmp_path: Path, served: Served) -> None:
    shared = tmp_path / "shared"
    first = runner(tmp_path / "one", shared=shared).answer(classify())
    assert len(served) > 0
    served.clear()
    second = runner(tmp_path / "two", 2, 3, shared=shared)
    assert same_bits(second.answer(classify()), first)
    assert served == []
    # The run's own folder holds them as well, so that it is judged again without the cache.
    replayed = Replay(RecordStore(tmp_path / "two"), second.identities, second.batches).answer(classify())
    assert same_bits(replayed, first)
    served.clear()
    # Asked afresh the judge answers again, and what it says is there for the next run.
    for path in shared.rglob("*.safetensors"):
        path.write_bytes(b"")
    assert same_bits(runner(tmp_path / "three", shared=shared, fresh=True).answer(classify()), first)
    assert len(served) > 0
    served.clear()
    runner(tmp_path / "four", shared=shared, fresh=True).answer(classify())
    assert len(served) > 0
    served.clear()
    assert same_bits(runner(tmp_path / "five", shared=shared).answer(classify()), first)
    assert served == []


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: "
            "you tried to allocate 4096 bytes. Error code 12 (Cannot allocate memory)"
        ),
        RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. not enough memory: you tried to allocate 4096 bytes."),
    ],
    ids=["CUDA", "CPU", "CPU, other words"],
)  # fmt: skip
def test_out_of_memory_halves_this_batch_and_those_that_are_as_large_and_records_it(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    work = [Score("base", FRAME.ask(f"Case {k}"), "I think that it depends.") for k in range(10, 25)]
    whole = runner(tmp_path / "whole", budget=Budget(4096, 5)).answer(work)
    look = Model.look
    sizes: list[int] = []

    def narrow(self: Model, rows: Sequence[Tokens], wants: Any, edits: Any = None) -> Any:
        sizes.append(len(rows))
        if len(rows) > most:
            raise error
        return look(self, rows, wants, edits)

    monkeypatch.setattr(Model, "look", narrow)
    most = 2
    small = runner(tmp_path / "small", budget=Budget(4096, 5))
    records = small.answer(work)
    assert sizes == [5, 2, 3, 1, 2, *[2, 1, 2] * 2]  # five and three are tried once
    assert small.halved == small.batches
    for request in work:
        np.testing.assert_allclose(records.array(request), whole.array(request), atol=1e-5)
    served.clear()
    resumed = runner(tmp_path / "small", budget=Budget(4096, 5))
    assert same_bits(resumed.answer(work), records)
    assert served == []
    assert resumed.halved == small.halved
    # A run that goes on knows from the records what is too large, and does not try it again.
    sizes.clear()
    resumed.answer([Score("base", FRAME.ask(f"Longer case {k}"), "It surely depends.") for k in range(5)])
    assert sizes
    assert max(sizes) <= 2
    most = 0
    with pytest.raises(ModelError, match="no memory left for a single row"):
        runner(tmp_path / "none").answer(work)


def test_an_edit_that_breaks_the_model_costs_its_own_rows_alone_and_is_remembered(
    tmp_path: Path, served: Served
) -> None:
    sound = [request for request in requests_of() if isinstance(request, Score)]
    strong = [Score("base", FRAME.ask(words), "yes", Add((2,), PUSH, 3e38)) for words in WORDS[:2]]
    live = runner(tmp_path / "run", budget=Budget(4096, 64))  # weak and strong pushes share a batch
    first = live.answer([*sound, *strong])
    expected = runner(tmp_path / "sound").answer(sound)
    for request in sound:
        np.testing.assert_allclose(first.array(request), expected.array(request), atol=1e-5)
    served.clear()
    resumed = runner(tmp_path / "run", budget=Budget(4096, 64))
    replay = Replay(RecordStore(tmp_path / "run"), live.identities, live.batches)
    for records in (first, resumed.answer([*sound, *strong]), replay.answer(strong)):
        for request in strong:
            with pytest.raises(EditError, match=r"tiny 0 has activations that are not finite.*too strong"):
                records.array(request)
    assert served == []
    assert resumed.halved == live.halved != []


def test_a_model_that_is_broken_without_the_edit_is_no_fault_of_the_edit(tmp_path: Path) -> None:
    def damaged() -> Model:
        model = tiny_model()
        with torch.no_grad():
            model.net.model.layers[1].mlp.down_proj.weight[0, 0] = float("nan")
        return model

    live = runner(tmp_path)
    object.__setattr__(live.engines["base"], "load", damaged)
    with pytest.raises(ModelError, match="its weights are damaged"):
        live.answer([Score("base", FRAME.ask("Hi"), "yes", Add((2,), PUSH, 0.5))])


def test_the_recorded_version_of_transformers_is_its_own_word() -> None:
    assert software_facts()["transformers"] == transformers.__version__


def test_loading_happens_once_a_model_and_only_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    live = runner(tmp_path)
    for name, engine in live.engines.items():
        load = engine.load
        object.__setattr__(engine, "load", lambda name=name, load=load: loads.append(name) or load())
    live.answer(requests_of("base"))
    live.answer(requests_of("base")[::-1])
    assert loads == ["base"]
    live.answer([Read("aligned", Frame.plain("One more word"))])
    assert loads == ["base", "aligned"]


def test_a_prompt_longer_than_the_context_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="takes at most 128"):
        runner(tmp_path).answer([Score("base", FRAME.ask("very " * 300), "yes")])


class TestReplay:
    def test_it_answers_from_the_records_alone(self, tmp_path: Path, served: Served) -> None:
        live = runner(tmp_path)
        whole = live.answer([*requests_of(), *classify()])
        served.clear()
        replay = Replay(RecordStore(tmp_path), live.identities, live.batches)
        assert same_bits(replay.answer([*requests_of(), *classify()]), whole)
        assert served == []

    def test_a_missing_answer_is_a_clear_sentence(self, tmp_path: Path) -> None:
        live = runner(tmp_path)
        live.answer(requests_of())
        replay = Replay(RecordStore(tmp_path), live.identities, live.batches)
        with pytest.raises(
            MissingRecord, match=r"do not hold the answer to a score request.*same audit again"
        ):
            replay.answer([Score("base", FRAME.ask("Never asked"), "yes")])
        path = sorted(tmp_path.rglob("*.safetensors"))[0]
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(MissingRecord, match="damaged"):
            Replay(RecordStore(tmp_path), live.identities, live.batches).answer(requests_of())

    def test_it_takes_the_runs_own_bits_where_the_folder_holds_others_too(self, tmp_path: Path) -> None:
        work = [request for request in requests_of() if isinstance(request, Score)]
        live = runner(tmp_path)
        mine = live.answer(work)
        # The same rows under other facts, with other bits: an older run in the same folder, in another dtype.
        other = runner(tmp_path, dtype="bfloat16")
        other.engines["base"].__dict__["load"] = lambda: tiny_model(7)
        theirs = other.answer(work)
        assert not same_bits(mine, theirs)
        for run, expected in ((live, mine), (other, theirs)):
            replay = Replay(RecordStore(tmp_path), run.identities, run.batches)
            assert same_bits(replay.answer(work), expected)


def test_a_record_says_where_nothing_could_be_shared(tmp_path: Path) -> None:
    work: list[Request] = [Read("base", Frame.plain(words), "last") for words in WORDS]
    sharing, padded = runner(tmp_path / "sharing"), runner(tmp_path / "padded")
    bloom = Model(tiny_net("bloom"), tiny_tokenizer(), "bloom", "bloom")
    padded.engines["base"].__dict__["load"] = lambda: bloom
    for live in (sharing, padded):
        live.answer(work)
    assert sharing.plainly == {}
    assert "come out otherwise" in padded.plainly["base"]
    assert all((record := padded.store.read(key)) and record.plainly for key in padded.batches)
    again = runner(tmp_path / "padded")
    again.answer(work)
    assert again.plainly == padded.plainly


def test_one_model_is_gone_before_the_next_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[weakref.ref[Model]] = []
    alive: list[int] = []

    def load(seed: int) -> Model:
        alive.append(sum(one() is not None for one in loaded))
        model = tiny_model(seed)
        loaded.append(weakref.ref(model))
        return model

    work = [*requests_of("base"), *requests_of("aligned")]
    for free, held in ((0, [0, 0]), (2**60, [0, 1])):
        monkeypatch.setattr("psutil.virtual_memory", lambda free=free: SimpleNamespace(available=free))
        here = runner(tmp_path / str(free))
        here.engines = {
            name: replace(one, load=lambda seed=seed: load(seed))
            for seed, (name, one) in enumerate(sorted(here.engines.items()))
            if name in SIDES
        }
        here.answer(work)
        assert alive == held
        del here
        gc.collect()
        loaded.clear()
        alive.clear()


def test_the_run_goes_on_where_the_folder_that_outlives_it_takes_nothing(tmp_path: Path) -> None:
    closed = tmp_path / "judged"
    closed.write_text("a file where a folder should be")
    found = runner(tmp_path / "run", shared=closed).answer(classify())
    assert same_bits(found, runner(tmp_path / "other").answer(classify()))
