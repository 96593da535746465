"""From the words that name a judge to the judge, its identity known before any weights are loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unmask.domains.schema import Domain
from unmask.models.judges.function import JudgeFunction
from unmask.models.judges.judge import Judge


@dataclass(frozen=True)
class JudgeSpec:
    """A judge that is not loaded yet.

    Attributes:
        name: what a report calls it.
        identity: the identity that the loaded judge has.
        load: brings it into memory, fitting it where no fitted one is cached.
    """

    name: str
    identity: str
    load: Callable[[], Judge]


def build_judge(
    domain: Domain, spec: str | Judge | JudgeFunction = "auto", device: str = "auto", dtype: str = "auto"
) -> JudgeSpec:
    raise NotImplementedError
