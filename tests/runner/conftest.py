"""Fixtures of the runner's tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from unmask.runner import local
from unmask.runner.requests import Request


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Request]]:
    """The batches that reach a model, as they come."""
    batches: list[Sequence[Request]] = []
    serve = local.serve

    def counting(engine: Any, requests: Sequence[Request]) -> Any:
        batches.append(requests)
        return serve(engine, requests)

    monkeypatch.setattr(local, "serve", counting)
    return batches
