"""What an audit will ask and how long that takes, before it asks anything: for `unmask plan` and the progress bar."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unmask.measurements.answers import KINDS
from unmask.measurements.base import Context, Measurement
from unmask.measurements.profiles import Profile
from unmask.measurements.schedule import Outcome, run_measurements
from unmask.models.size import ModelSize
from unmask.models.tokens import Tokens
from unmask.runner.local import Engine, software_facts
from unmask.runner.pace import Pace, guess_pace, recall_pace
from unmask.runner.planner import Batch, Budget, plan
from unmask.runner.rehearsal import WIDTH, Rehearsal, Share
from unmask.runner.requests import SIDES, Request, judge_engine

_DRAWS = 20
"""Permutations and resamples of a rehearsal: requests do not hang on them, and they cost time."""
_JUDGE_BLOCKS = 106_204_032
"""Parameters in the blocks of the encoder that a domain's judge reads with, whatever pair is audited."""
_STATISTICS_SECONDS = 1.2e-6
"""That a permutation or resample takes for a feature of a layer, all measurements together; for want of an earlier
run."""


@dataclass(frozen=True)
class Forecast:
    """What an audit will ask, round by round, and how fast this machine will answer.

    Attributes:
        rounds: of requests, each by engine and kind.
        outcomes: of the rehearsal by domain; of the readings only the sizes of samples mean anything.
        size: of one model of the pair.
        pace: seconds by kind of request.
        beside: seconds in which nothing is asked: loading, statistics, the report.
        known: whether an earlier run on this machine told the pace; else it is guessed.
    """

    rounds: tuple[tuple[Share, ...], ...]
    outcomes: Mapping[str, Outcome]
    size: ModelSize
    pace: Pace
    beside: float
    known: bool

    def seconds(self, share: Share) -> float:
        """How long a share will take to serve."""
        seconds = self.pace.seconds({share.kind: share.tokens})
        assert seconds is not None  # every kind is guessed at least
        return seconds


def forecast(
    measurements: Sequence[Measurement],
    contexts: Mapping[str, Context],
    engines: Mapping[str, Engine],
) -> Forecast:
    """Rehearse an audit and say how fast this machine would be.

    Args:
        measurements: which will run.
        contexts: by domain, as the audit makes them.
        engines: the sides of the pair; a judge need not be among them.
    """
    base = engines["base"]
    tokenize, size = base.tokenize, base.size
    assert tokenize is not None
    assert size is not None
    judges = {judge_engine(name): f"judge of {name}" for name in contexts}
    identities = {**judges, **{name: engine.identity for name, engine in engines.items()}}

    def tokens(request: Request) -> Tokens:
        return tokenize(request)  # whichever side: a pair tokenises alike

    budget = Budget.of(str(base.facts["device"]))

    def batches(requests: Sequence[Request]) -> list[Batch]:
        return plan(requests, identities, tokens, budget, dict.fromkeys(SIDES, size))

    card = {
        (judge_engine(name), answer.question, answer.text): KINDS.index(answer.kind)
        for name, ctx in contexts.items()
        for answer in ctx.domain.card
    }
    answers = (answer.text for ctx in contexts.values() for answer in ctx.domain.answers)
    words = list(dict.fromkeys(word for text in answers for word in text.split()))
    stand_in = Rehearsal(batches, tokens, identities, size.layers, size.width, card, words)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # numbers that mean nothing may well be degenerate
        outcomes = run_measurements(
            measurements, {name: _cheap(ctx) for name, ctx in contexts.items()}, stand_in
        )
    profile = next(iter(contexts.values())).profile
    known = recall_pace(pace_facts(base))
    a_token: Mapping[str, float] = {} if known is None else known.a_token
    kinds = {share.kind for shares in stand_in.rounds for share in shares}
    if not kinds <= a_token.keys():
        of_blocks = {
            kind: _JUDGE_BLOCKS if kind == "Classify" else size.multiplied - size.spoken for kind in kinds
        }
        dtype, device = (str(base.facts[name]) for name in ("dtype", "device"))
        a_token = {**guess_pace(of_blocks, size.width, dtype, device), **a_token}
    beside = None if known is None else known.beside.get(what_is_audited(measurements, contexts))
    return Forecast(
        tuple(stand_in.rounds),
        outcomes,
        size,
        Pace(a_token),
        _statistics(profile, size) * len(contexts) if beside is None else beside,
        known is not None,
    )


def what_is_audited(measurements: Sequence[Measurement], contexts: Mapping[str, Context]) -> str:
    """All that the time beside the requests hangs on, in words: it is kept from one run for the plan of the next."""
    profile = next(iter(contexts.values())).profile
    return f"{profile.name}: {', '.join(one.name for one in measurements)}; domains: {len(contexts)}"


def pace_facts(engine: Engine) -> dict[str, object]:
    """All that the speed of a side of the pair hangs on: the model's shape, threads, dtype, device."""
    assert engine.size is not None
    shape = {"n_layers": engine.size.layers, "width": engine.size.width}
    return {**shape, "threads": software_facts()["threads"], **engine.facts}


def _cheap(ctx: Context) -> Context:
    profile = ctx.profile
    few = replace(
        profile,
        permutations=min(profile.permutations, _DRAWS),
        resamples=min(profile.resamples, _DRAWS),
    )
    dictionary = None if ctx.dictionary is None else ctx.dictionary.stand_in(WIDTH)
    return replace(ctx, profile=few, dictionary=dictionary)


def _statistics(profile: Profile, size: ModelSize) -> float:
    return _STATISTICS_SECONDS * (profile.permutations + profile.resamples) * (size.layers + 1) * size.width
