"""Serves one batch: its requests through the verb that their kind names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from unmask.models.edits import Edit
from unmask.models.judges import Judge
from unmask.models.looking import SCORING, Reading, Want
from unmask.models.model import Model
from unmask.models.tokens import Tokens
from unmask.runner.requests import Answer, Classify, Generate, Read, Request, Score, Spans
from unmask.runner.store import Result


def edit_of(request: Request) -> Edit | None:
    return None if isinstance(request, Classify | Spans) else request.edit


def serve(engine: Model | Judge, requests: Sequence[Request]) -> list[Result]:
    """One batch, all of one shape, through the verb that its kind names."""
    if isinstance(engine, Judge):
        texts = [request for request in requests if isinstance(request, Classify)]
        return list(engine.classify([row.question for row in texts], [row.text for row in texts]))
    if isinstance(requests[0], Spans):
        return [engine.spans(request.prompt) for request in requests if isinstance(request, Spans)]
    tokenize = cache(engine.tokenize)  # doses and samples are of the same prompts

    def tokens_of(request: Request) -> Tokens:
        assert not isinstance(request, Classify)
        return tokenize(request.prompt, request.continuation if isinstance(request, Score) else "")

    rows = [tokens_of(request) for request in requests]
    edits = [edit_of(request) for request in requests]
    if isinstance(requests[0], Generate):
        seeds = [request.seed for request in requests if isinstance(request, Generate)]
        generated = engine.generate(rows, seeds, requests[0].sampling, edits)
        return [Answer(row.text, len(row.ids), row.finished) for row in generated]
    return list(engine.look(rows, [_want(engine, request) for request in requests], edits))


def _want(model: Model, request: Request) -> Want:
    if isinstance(request, Read):
        return Reading(
            tuple(range(model.n_layers + 1)) if request.layers is None else request.layers, request.pick
        )
    assert isinstance(request, Score)
    return SCORING
