"""The plan: a pure function of the set of requests, each row once, no batch over budget, shapes never mixed."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.models import Add, Clamp, Frame, Patch, ProjectOut, Sampling, Vector
from unmask.models.size import ModelSize
from unmask.models.tokens import Tokens
from unmask.runner.planner import Batch, Budget, plan
from unmask.runner.requests import (
    SIDES,
    Classify,
    Generate,
    Read,
    Request,
    Score,
    batch_shape,
    engine_name,
    judge_engine,
    request_key,
)

VECTORS = [Vector(name, np.eye(4, dtype=np.float32)[k]) for k, name in enumerate("uv")]
WORDS = st.text("ab ", min_size=1, max_size=40)
sides = st.sampled_from(SIDES)
edits = st.one_of(
    st.none(),
    st.builds(Add, st.sampled_from([(1,), (2,)]), st.sampled_from(VECTORS), st.sampled_from([-1.0, 2.0])),
    st.builds(ProjectOut, st.just((1,)), st.tuples(st.sampled_from(VECTORS))),
    st.builds(Clamp, st.just((1,)), st.sampled_from(VECTORS), st.sampled_from([0.0, 1.0])),
    st.builds(
        Patch, st.just((1,)), st.sampled_from(VECTORS), st.just((0.5, 0.5)), st.sampled_from(["p", "q"])
    ),
)
prompts = WORDS.map(Frame.plain)
samplings = st.sampled_from([Sampling(4), Sampling(9, 0.5)])
generates = st.builds(Generate, sides, prompts, st.integers(0, 3), samplings, edits)
judged = st.builds(Classify, st.sampled_from(["partisan", "other"]), WORDS, WORDS)
requests = st.one_of(
    st.builds(
        Read,
        sides,
        prompts,
        st.sampled_from(["mean", "last", "each"]),
        st.sampled_from([None, (1, 2)]),
        edits,
    ),
    st.builds(Score, sides, prompts, WORDS, edits),
    generates,
    judged,
)
rounds = st.one_of(
    st.lists(requests, max_size=24),
    *(st.lists(kind, min_size=8, max_size=16) for kind in (generates, judged)),
)
budgets = st.builds(Budget, st.integers(1, 200), st.integers(1, 8), st.integers(1, 4), st.integers(1, 1600))
weights = st.sampled_from(["A", "B"])
identities = st.tuples(weights, weights, weights).map(
    lambda names: {
        "base": names[0],
        "aligned": names[1],
        judge_engine("partisan"): "J" + names[0],
        judge_engine("other"): "J" + names[2],
    }
)


def tokens(request: Request) -> Tokens:
    """A letter a token."""
    assert not isinstance(request, Classify)
    words, more = request.prompt.text, request.continuation if isinstance(request, Score) else ""
    ids = tuple(map(ord, words + more))
    return Tokens(ids, (0, len(words)), len(words))


SIZE = ModelSize(layers=10, width=4, parameters=0, multiplied=100, keys=1)
CACHED = 4  # bytes a token: one number in fp32


@settings(max_examples=100, deadline=None)
@given(rounds, budgets, identities, st.randoms())
def test_a_plan_is_a_pure_function_of_the_set_of_requests(
    asked: list[Request], budget: Budget, who: dict[str, str], random: Random
) -> None:
    sizes: dict[str, ModelSize] = dict.fromkeys(SIDES, SIZE)
    batches = plan(asked, who, tokens, budget, sizes)
    again = [*asked, *asked[::2]]
    random.shuffle(again)
    assert plan(again, who, tokens, budget, sizes) == batches

    rows = [key for batch in batches for key in batch.keys]
    assert sorted(rows) == sorted({request_key(request, who) for request in asked})
    for batch in batches:
        assert len({batch_shape(request) for request in batch.requests}) == 1
        assert {who[engine_name(request)] for request in batch.requests} == {who[batch.engine]}
        assert batch.keys == tuple(request_key(request, who) for request in batch.requests)
        count, first = len(batch.requests), batch.requests[0]
        assert count <= (budget.answers if isinstance(first, Generate) else budget.rows)
        if count == 1:
            continue
        if isinstance(first, Classify):
            assert batch.cost.tokens <= budget.tokens
            continue
        if isinstance(first, Generate):
            widest = max(len(tokens(request)) for request in batch.requests) + first.sampling.max_new_tokens
            assert count * widest * CACHED <= budget.cache
        # A token is another one wherever what came before it differs, or which edit it has been under.
        run = [run_of(request) for request in batch.requests]
        ids = [row for row, _ in run]
        distinct = {(row[: t + 1], edit if t else None) for row, edit in run for t in range(len(row))}
        stem = next(
            (t for t, tokens in enumerate(zip(*ids, strict=False)) if len({*tokens}) > 1), min(map(len, ids))
        )
        assert len(distinct) <= max(budget.tokens, 4 * stem)


def run_of(request: Request) -> tuple[tuple[int, ...], object]:
    """The tokens of a row that are run, and its edit, which begins at the second of them."""
    row = tokens(request)
    return (row.ids[:-1] if isinstance(request, Score) else row.ids), getattr(request, "edit", None)


def test_rows_that_begin_alike_are_paid_for_once() -> None:
    work: list[Request] = [
        Score("base", Frame.plain(f"You are {who}. {what}"), end)
        for who in ("a farmer", "a teacher", "nobody")
        for what in ("Taxes are", "The weather is")
        for end in (" high", " low")
    ]
    apart = sum(len(tokens(request)) - 1 for request in work)
    distinct = {run_of(request)[0][: t + 1] for request in work for t in range(len(run_of(request)[0]))}
    (batch,) = plan(work, {"base": "w"}, tokens, Budget())
    assert batch.cost.tokens == len(distinct) < apart / 2


def test_doses_share_all_that_lies_below_the_edit() -> None:
    def steered(where: Any, layer: int) -> list[Request]:
        return [
            Score("base", Frame.plain("question?"), " yes", Add((layer,), VECTORS[0], dose, where))
            for dose in (-2.0, -1.0, 1.0, 2.0)
        ]

    def cost(work: list[Request]) -> float:
        (batch,) = plan(work, {"base": "w"}, tokens, Budget(), {"base": SIZE})
        return batch.cost.tokens

    run = len("question? yes") - 1
    assert cost(steered("all", 6)) == pytest.approx(0.6 * run + 0.4 * (1 + 4 * (run - 1)))
    # The first token of the answer is the tenth; what stands before it is never touched.
    assert cost(steered("generated", 6)) == pytest.approx(run * 0.6 + 0.4 * (9 + 4 * (run - 9)))
    assert cost(steered("generated", 0)) == pytest.approx(9 + 4 * (run - 9))


def test_a_shallow_read_is_paid_to_its_depth() -> None:
    work: list[Request] = [
        Read("base", Frame.plain("abcd"), "last", (3,)),
        Read("base", Frame.plain("abxyz"), "mean"),
    ]
    (batch,) = plan(work, {"base": "w"}, tokens, Budget(), {"base": SIZE})
    assert batch.cost.tokens == pytest.approx(5 + 2 * 0.3)


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        (90, [[30, 30, 30], [30, 15, 15], [15] * 5, [15] * 3]),
        (89, [[30, 30], [30, 30], [15] * 5, [15] * 5]),
    ],
)
def test_what_is_sampled_together_fits_the_cache(held: int, expected: list[list[int]]) -> None:
    sampling = Sampling(10)
    work: list[Request] = [
        *(Generate("base", Frame.plain("!" * 20), seed, sampling) for seed in range(4)),
        *(Generate("base", Frame.plain("?" * 5), seed, sampling) for seed in range(10)),
    ]
    batches = plan(work, {"base": "w"}, tokens, Budget(answers=5, cache=CACHED * held), {"base": SIZE})
    assert [[len(tokens(request)) + 10 for request in batch.requests] for batch in batches] == expected


def test_a_long_shared_beginning_makes_room_for_more_rows() -> None:
    stem = "shots " * 40
    work: list[Request] = [Score("base", Frame.plain(stem + f"question {i:02}?"), " yes") for i in range(30)]
    batches = plan(work, {"base": "w"}, tokens, Budget(tokens=50))
    assert len(batches) == 1
    alone: list[Request] = [Score("base", Frame.plain(f"{i:02} question?"), " yes") for i in range(30)]
    assert len(plan(alone, {"base": "w"}, tokens, Budget(tokens=50))) > 5


def test_a_key_names_the_work_and_the_weights_not_the_side() -> None:
    one, two = (Score(side, Frame.plain("a"), "b") for side in SIDES)
    assert request_key(one, {"base": "w", "aligned": "w"}) == request_key(two, {"base": "w", "aligned": "w"})
    assert request_key(one, {"base": "w"}) != request_key(one, {"base": "v"})
    steered = Score("base", Frame.plain("a"), "b", Add((1,), VECTORS[0], 1.0))
    assert request_key(one, {"base": "w"}) != request_key(steered, {"base": "w"})


def test_a_batch_is_addressed_by_its_rows_and_by_what_can_change_their_bits() -> None:
    def planned(letters: str) -> Batch:
        work = [Read("base", Frame.plain(letter)) for letter in letters]
        (batch,) = plan(work, {"base": "w"}, tokens, Budget())
        return batch

    batch, fewer = planned("abc"), planned("ab")
    assert batch.key({"dtype": "float32"}) == planned("cab").key({"dtype": "float32"})
    assert batch.key({"dtype": "float32"}) != batch.key({"dtype": "bfloat16"})
    assert batch.key({"dtype": "float32"}) != fewer.key({"dtype": "float32"})
