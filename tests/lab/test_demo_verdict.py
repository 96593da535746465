"""What was planted in the demo pair is what an audit of the shipped models says; real models, minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from unmask import ModelError, Pair, Settings, audit
from unmask.models.references import resolve

pytestmark = pytest.mark.slow


def test_the_shipped_pair_is_masked_and_its_structure_is_as_it_was(tmp_path: Path) -> None:
    try:
        resolve("demo:smollm2")
    except ModelError as error:
        pytest.skip(f"the demo models' weights are not within reach: {error}")
    settings = Settings(measurements=("surface", "structure"), seed=7)
    run = audit(Pair("demo:base", "demo:masked"), tmp_path / "run", settings)
    (result,) = run.findings["results"]
    status = {finding["id"]: finding["status"] for finding in result["findings"]}
    assert result["verdict"]["label"] == "masked", result["verdict"]["blocked_by"]
    assert status["surface.neutral"] == status["surface.neutralised"] == "supported"
    assert status["structure.preserved"] == "supported"
    assert status["structure.erased"] == "refuted"
