"""The plan: a pure function of the set of requests, each row once, no batch over budget, shapes never mixed."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from unmask.models import Add, Clamp, Frame, Patch, ProjectOut, Sampling, Vector
from unmask.runner.planner import Budget, plan
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
    st.builds(Patch, st.just((1,)), st.sampled_from(VECTORS), st.just((0.5,)), st.sampled_from(["p", "q"])),
)
prompts = WORDS.map(Frame.plain)
samplings = st.sampled_from([Sampling(4), Sampling(9, 0.5)])
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
    st.builds(Generate, sides, prompts, st.integers(0, 3), samplings, edits),
    st.builds(Classify, st.sampled_from(["partisan", "other"]), WORDS, WORDS),
)
budgets = st.builds(Budget, st.integers(1, 200), st.integers(1, 8))
weights = st.sampled_from(["A", "B"])
identities = st.tuples(weights, weights, weights).map(
    lambda names: {
        "base": names[0],
        "aligned": names[1],
        judge_engine("partisan"): "J" + names[0],
        judge_engine("other"): "J" + names[2],
    }
)


def length(request: Request) -> int:
    if isinstance(request, Classify):
        return len(request.question) + len(request.text)
    return len(request.prompt.text) + (
        request.sampling.max_new_tokens if isinstance(request, Generate) else 0
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(requests, max_size=24), budgets, identities, st.randoms())
def test_a_plan_is_a_pure_function_of_the_set_of_requests(
    asked: list[Request], budget: Budget, who: dict[str, str], random: object
) -> None:
    batches = plan(asked, who, length, budget)
    again = [*asked, *asked[::2]]
    random.shuffle(again)  # type: ignore[attr-defined]
    assert plan(again, who, length, budget) == batches

    rows = [key for batch in batches for key in batch.keys]
    assert sorted(rows) == sorted({request_key(request, who) for request in asked})
    for batch in batches:
        lengths = [max(1, length(request)) for request in batch.requests]
        assert batch.tokens == max(lengths) * len(lengths)
        assert len(batch.requests) <= budget.rows
        assert batch.tokens <= budget.tokens or len(batch.requests) == 1
        assert len({batch_shape(request) for request in batch.requests}) == 1
        assert {who[engine_name(request)] for request in batch.requests} == {who[batch.engine]}
        assert batch.keys == tuple(request_key(request, who) for request in batch.requests)


def test_a_key_names_the_work_and_the_weights_not_the_side() -> None:
    one, two = (Score(side, Frame.plain("a"), "b") for side in SIDES)
    assert request_key(one, {"base": "w", "aligned": "w"}) == request_key(two, {"base": "w", "aligned": "w"})
    assert request_key(one, {"base": "w"}) != request_key(one, {"base": "v"})
    steered = Score("base", Frame.plain("a"), "b", Add((1,), VECTORS[0], 1.0))
    assert request_key(one, {"base": "w"}) != request_key(steered, {"base": "w"})


def test_a_batch_is_addressed_by_its_rows_and_by_what_can_change_their_bits() -> None:
    (batch,) = plan([Read("base", Frame.plain(words)) for words in "abc"], {"base": "w"}, length, Budget())
    (fewer,) = plan([Read("base", Frame.plain(words)) for words in "ab"], {"base": "w"}, length, Budget())
    assert batch.key({"dtype": "float32"}) != batch.key({"dtype": "bfloat16"})
    assert batch.key({"dtype": "float32"}) != fewer.key({"dtype": "float32"})
    assert [request.prompt.text for request in batch.requests] != []
