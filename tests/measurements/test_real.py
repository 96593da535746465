"""Structure in a real base model, between formats that share no words."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from unmask import Pair, Settings, audit

pytestmark = pytest.mark.slow


def test_a_probe_of_statements_tells_politicians_apart(gemma_gguf: Path, tmp_path: Path) -> None:
    pair = Pair(str(gemma_gguf), str(gemma_gguf))
    run = audit(pair, tmp_path / "run", Settings(measurements=("structure",)))
    excess = pd.read_parquet(run.folder.path / "readings" / "partisan" / "structure.excess.parquet")
    figures = excess.query("fit == 'statements' and test == 'figures'").set_index("side")
    assert figures["auc"].min() >= 0.85
    assert figures["words"].max() <= 0.6
    assert figures["auc"]["base"] == figures["auc"]["aligned"]
    status = {finding["id"]: finding["status"] for finding in run.findings["results"][0]["findings"]}
    assert status == {
        "structure.preserved": "supported",
        "structure.same_axis": "supported",
        "structure.erased": "refuted",
    }
