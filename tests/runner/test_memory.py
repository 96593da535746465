"""Memory that really runs out: torch's own allocator fails in a process that may have no more, and the run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from interrupted import limit_memory, start_in_fork
from models.tiny import relative, tiny_net, tiny_tokenizer

from runner.work import FRAME, engine
from unmask.models import Frame
from unmask.models.model import Model
from unmask.runner.local import Engine, LocalRunner
from unmask.runner.planner import Budget
from unmask.runner.records import Records, Replay
from unmask.runner.requests import Read, Request, Score
from unmask.runner.store import RecordStore

WORK: list[Request] = [
    request
    for k in range(24)
    for request in (
        Read("base", Frame.plain(f"{k} statements are read, none of which begins like another one does")),
        Score("base", FRAME.ask(f"{k} things?"), "I think that it depends."),
    )
]


def wide() -> Model:
    """A tiny model whose blocks swell: a token takes half a megabyte on its way through one."""
    net = tiny_net("llama", 0, intermediate_size=1 << 16)
    return Model(net, tiny_tokenizer(), "wide", "wide")


def answer(folder: Path, megabytes: int | None) -> None:
    """Answer `WORK`, in so much memory beside the weights."""
    model = wide()
    engines = {"base": Engine("wide", {}, lambda: model, engine().tokenize)}
    runner = LocalRunner(engines, RecordStore(folder), Budget(tokens=512))
    runner.answer([Read("base", Frame.plain("warm up"))])
    if megabytes is not None:
        limit_memory(megabytes)
    runner.answer(WORK)
    (folder / "run.json").write_text(json.dumps({"batches": runner.batches, "halved": runner.halved}))


def test_a_run_short_of_memory_goes_on_in_smaller_batches_to_the_same_answers(tmp_path: Path) -> None:
    found: list[Records] = []
    for megabytes in (None, 100):
        folder = tmp_path / str(megabytes)
        process = start_in_fork(answer, folder, megabytes)
        process.join()
        assert process.exitcode == 0
        run = json.loads((folder / "run.json").read_text())
        assert bool(run["halved"]) == (megabytes is not None)
        found.append(Replay(RecordStore(folder), {"base": "wide"}, run["batches"]).answer(WORK))
    for request in WORK:
        expected, halved = (records.array(request) for records in found)
        assert np.isfinite(expected).all()
        assert relative(halved, expected) < 1e-5
