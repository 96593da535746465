"""How long work takes on this machine: guessed from its arithmetic, known from earlier runs, corrected by what is seen.

Kinds of request differ in speed, so each has its own seconds a token.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from unmask.models.cache import cache_dir
from unmask.runner.requests import Request, batch_shape, digest
from unmask.writing import write_atomically

EFFICIENCY: Mapping[str, float] = {"Look": 0.25, "Generate": 0.12, "Classify": 0.65}
"""The share of a bare matmul's speed, at the model's width and dtype, that each kind of work is served at. It is
used only where no earlier run on this machine tells."""
_LEAST_SECONDS = 1.0
"""Of serving a kind, below which its speed is not worth keeping."""


def work_kind(request: Request) -> str:
    """Which kind of work a request is: "Look" (reads and scores), "Generate" or "Classify"."""
    return str(batch_shape(request)[0])


@dataclass
class Pace:
    """Seconds that work takes.

    Attributes:
        guessed: seconds a token by kind of request, before anything is seen.
    """

    guessed: Mapping[str, float]
    _tokens: dict[str, float] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)

    def learn(self, kind: str, tokens: float, seconds: float) -> None:
        """So many tokens of a kind took so long."""
        self._tokens[kind] = self._tokens.get(kind, 0.0) + tokens
        self._seconds[kind] = self._seconds.get(kind, 0.0) + seconds

    def seconds(self, work: Mapping[str, float]) -> float | None:
        """How long so many tokens by kind will take; None where nothing was guessed and nothing seen.

        A kind that was not seen yet is as far off its guess as those that were.
        """
        if not self.guessed and not self._tokens:
            return None
        guessed = sum(tokens * self._guess(kind) for kind, tokens in self._tokens.items())
        off = sum(self._seconds.values()) / guessed if guessed else 1.0
        return sum(
            tokens
            * (
                self._seconds[kind] / self._tokens[kind]
                if self._tokens.get(kind)
                else off * self._guess(kind)
            )
            for kind, tokens in work.items()
        )

    def _guess(self, kind: str) -> float:
        if not self.guessed:
            return 1.0  # all kinds alike
        return self.guessed.get(kind) or max(self.guessed.values())


@dataclass(frozen=True)
class Known:
    """What earlier runs on this machine took.

    Attributes:
        a_token: seconds a token by kind of request.
        beside: by what was audited, the seconds in which no request was served: loading, statistics, the report.
    """

    a_token: Mapping[str, float]
    beside: Mapping[str, float]


def recall_pace(engine: Mapping[str, object]) -> Known | None:
    """What earlier runs took, or None where there were none.

    Args:
        engine: all that speed hangs on: the models' shape, dtype, device, threads.
    """
    try:
        held = json.loads(_path(engine).read_text(encoding="utf-8"))
        numbers = [
            {str(name): float(seconds) for name, seconds in held[part].items()}
            for part in ("a_token", "beside")
        ]
        return Known(*numbers)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # none, or a damaged one: it is only a guess that is lost


def keep_pace(
    engine: Mapping[str, object],
    served: Mapping[str, tuple[float, float]],
    what: str,
    beside: float | None,
) -> None:
    """Keep what a run took for the next one's estimate, where there is room for it.

    Args:
        engine: as for `recall_pace`.
        served: tokens that were served by kind of work, and the seconds that they took.
        what: the sample sizes, measurements and domains that were audited, in words.
        beside: seconds in which no request was served; None where they say nothing of a whole run.
    """
    known = recall_pace(engine) or Known({}, {})
    seen = {kind: seconds / tokens for kind, (tokens, seconds) in served.items() if seconds >= _LEAST_SECONDS}
    aside = {} if beside is None else {what: beside}
    held = {"a_token": {**known.a_token, **seen}, "beside": {**known.beside, **aside}}
    with suppress(OSError):  # the audit is done, and the next one can guess
        path = _path(engine)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(held))


def guess_pace(blocks: Mapping[str, int], width: int, dtype: str, device: str) -> dict[str, float]:
    """Seconds a token by kind of request, from what a matmul reaches here and now.

    Args:
        blocks: by kind, the parameters of the model's blocks, with which every token is multiplied.
        width: of the residual stream.
        dtype: as torch names it.
        device: a torch device.
    """
    speed = _matmul_speed(width, dtype, device)
    return {kind: 2.0 * parameters / (speed * EFFICIENCY[kind]) for kind, parameters in blocks.items()}


def _matmul_speed(width: int, dtype: str, device: str, seconds: float = 0.3) -> float:
    """Floating-point operations a second in a matmul of a model's width; the fastest of many, since others may be at
    work on this machine."""
    import torch

    here, kind = torch.device(device), getattr(torch, dtype)
    rows = 512 if here.type == "cpu" else 8192
    left = torch.ones(rows, width, dtype=kind, device=here)
    right = torch.ones(width, width, dtype=kind, device=here)

    def once() -> float:
        begun = time.perf_counter()
        torch.mm(left, right)
        if here.type != "cpu":
            torch.get_device_module(here).synchronize()
        return time.perf_counter() - begun

    once()  # the first one sets things up
    begun, fastest = time.perf_counter(), once()
    while time.perf_counter() - begun < seconds:
        fastest = min(fastest, once())
    return 2.0 * rows * width**2 / fastest


def _path(engine: Mapping[str, object]) -> Path:
    return cache_dir() / "pace" / f"{digest(dict(engine))[:32]}.json"
