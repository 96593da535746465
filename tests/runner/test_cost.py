"""The bytes of a batch, by hand."""

from __future__ import annotations

from unmask.models import Frame, Sampling, Tokens
from unmask.models.size import ModelSize
from unmask.runner.cost import Cost
from unmask.runner.planner import Budget, plan
from unmask.runner.requests import Generate, Read, Request, Score

# 2 layers of 8, 10 numbers of keys a token, a vocabulary of 5, in bf16.
SIZE = ModelSize(layers=2, width=8, parameters=200, multiplied=140, spoken=40, keys=10, inner=16, number=2)
A_TOKEN = 2 * (4 * 8 + 3 * 16)
"""States on the way and inside of a block."""


def cost(*requests: Request) -> Cost:
    def tokens(request: Request) -> Tokens:
        assert isinstance(request, Read | Score | Generate)
        words = request.prompt.text.split() + (
            request.continuation.split() if isinstance(request, Score) else []
        )
        start = len(request.prompt.text.split())
        return Tokens(tuple(map(int, words)), (0, start), start)

    (batch,) = plan(requests, {"base": "a"}, tokens, Budget(), {"base": SIZE})
    return batch.cost


def test_reads_hold_every_state_that_is_asked_for_twice() -> None:
    last, each = Read("base", Frame.plain("1 2 3")), Read("base", Frame.plain("1 2 3"), "each", (1, 2))
    assert cost(Read("base", Frame.plain("1 2 3"), "last")).bytes == 3 * A_TOKEN + 2 * 4 * 3 * 8
    assert cost(each).bytes == 3 * A_TOKEN + 2 * 4 * 2 * 3 * 8
    assert cost(last, each).bytes == 3 * A_TOKEN + 2 * 4 * (3 + 6) * 8


def test_scores_hold_logits() -> None:
    assert cost(Score("base", Frame.plain("1 2 3"), "4 5")).bytes == 4 * A_TOKEN + 2 * 4 * 2 * 5


def test_every_rows_cache_is_as_wide_as_the_widest() -> None:
    sampling = Sampling(max_new_tokens=4)
    both = [Generate("base", Frame.plain(text), 0, sampling) for text in ("1", "2 3 4")]
    assert cost(*both).bytes == 4 * A_TOKEN + 2 * 2 * (3 + 4) * 10 + 2 * 4 * 2 * 5
