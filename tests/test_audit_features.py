"""An audit with a dictionary from end to end on tiny models: clamped for real, judged again from its copy, and every
dictionary that cannot be used is refused in one sentence."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import auditing
import numpy as np
import pytest
import torch
from auditing import TINY, Pairs
from command import Command
from torch import Tensor

from unmask import Pair, Run, SettingsError, audit, judge_again
from unmask.domains import load_domain
from unmask.features.autoencoder import JumpReLU, SparseAutoencoder, TopK
from unmask.features.crosscoder import Crosscoder
from unmask.features.dictionary import Dictionary
from unmask.features.errors import DictionaryError
from unmask.features.formats.crosscoder import write_crosscoder
from unmask.features.formats.saelens import write_saelens
from unmask.folder import INDEX
from unmask.measurements.profiles import PROFILES
from unmask.models import Frame, load_model
from unmask.planning import plan_audit

pytestmark = pytest.mark.usefixtures("quick_audits")
tiny_pairs, quick_audits = auditing.tiny_pairs, auditing.quick_audits
LAYER, LATENTS = 2, 64


@pytest.fixture
def unmask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture(scope="module")
def states(tiny_pairs: Pairs) -> Tensor:
    """`[statements, d]`, base's, a then b of every pair."""
    model = load_model(str(tiny_pairs.base), "cpu", "float32")
    texts = [text for pair in load_domain(str(tiny_pairs.domain)).statements for text in (pair.a, pair.b)]
    rows = [model.tokenize(Frame.plain(text)) for text in texts]
    return torch.from_numpy(np.stack([found[0] for found in model.read(rows, (LAYER,), "mean")]))


@pytest.fixture(scope="module")
def sae(states: Tensor) -> SparseAutoencoder:
    """Its latents span the space; of so many some tell the poles apart."""
    rows = torch.randn(LATENTS, states.shape[1], generator=torch.Generator().manual_seed(0))
    rows /= rows.norm(dim=1, keepdim=True)
    centre, spread = states.mean(0), states.std()
    threshold = JumpReLU(torch.full((LATENTS,), 0.01) * spread)
    return SparseAutoencoder(
        rows, torch.zeros(LATENTS), 0.4 * rows, centre, threshold, facts={"model": "tiny", "layer": LAYER}
    )


@pytest.fixture(scope="module")
def folder(sae: SparseAutoencoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sae") / "sae"
    write_saelens(sae, place)
    return place


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_pairs: Pairs, folder: Path) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PROFILES, "tiny", TINY)
        patch.setenv("UNMASK_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr("unmask.opening.build_judge", auditing.by_code)
        out = tmp_path_factory.mktemp("run") / "whole"
        settings = tiny_pairs.settings(sae=str(folder), measurements=("features",))
        return audit(Pair(str(tiny_pairs.base), str(tiny_pairs.aligned)), out, settings)


def test_an_audit_reads_its_dictionary_and_keeps_it(whole: Run, sae: SparseAutoencoder) -> None:
    (result,) = whole.findings["results"]
    assert not result["failures"]
    assert {finding["id"] for finding in result["findings"]} >= {"features.deactivated", "features.steerable"}
    tables = {name.partition(".")[2] for name in whole.tables if "/features." in name}
    assert tables == {
        "fit", "decomposition", "latents", "silence", "contexts", "curves", "gains", "ablation",
    }  # fmt: skip
    latents = whole.tables["made-up/features.latents"]
    assert len(latents) >= 1
    assert (latents[["effect_base", "effect_aligned"]].to_numpy() != 0).all()  # the models were clamped
    recorded = whole.facts["dictionary"]
    assert (recorded["layer"], recorded["n_latents"], recorded["kind"]) == (LAYER, LATENTS, "autoencoder")
    kept = Dictionary.open(str(whole.folder.dictionary))
    assert kept.digest == recorded["digest"] == Dictionary("again", sae, LAYER).digest


def test_it_is_judged_again_from_its_copy(whole: Run, tmp_path: Path, folder: Path) -> None:
    shutil.copytree(whole.folder.path, tmp_path / "run")
    hidden = folder.rename(folder.with_name("elsewhere"))
    try:
        again = judge_again(tmp_path / "run")
    finally:
        hidden.rename(folder)
    assert json.dumps(again.findings) == json.dumps(whole.findings)
    for name, table in whole.tables.items():
        assert again.tables[name].equals(table), name


def test_another_dictionary_in_its_place_is_refused(
    whole: Run, tmp_path: Path, sae: SparseAutoencoder
) -> None:
    shutil.copytree(whole.folder.path, tmp_path / "run")
    write_saelens(replace(sae, bias=sae.bias + 1), tmp_path / "run" / "dictionary")
    with pytest.raises(DictionaryError, match="is not the dictionary that the run was audited with"):
        judge_again(tmp_path / "run")


def test_the_plan_asks_what_the_audit_asks(tiny_pairs: Pairs, folder: Path, whole: Run) -> None:
    """Made-up answers select as many latents as there may be, so a plan asks at least as much."""
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned))
    plan = plan_audit(pair, tiny_pairs.settings(sae=str(folder), measurements=("features",)))
    assert not plan.failures
    found = plan.record()["requests"]
    batches = [whole.folder.records.read(key) for key in whole.folder.read(INDEX)["batches"]]
    asked = {row for batch in batches if batch is not None for row in batch.rows}
    assert found >= len(asked) > 500
    without = plan_audit(pair, tiny_pairs.settings(measurements=("structure",))).record()["requests"]
    assert found > without + 200
    assert {row.claim for row in plan.foreseen["made-up"]} >= {"features.steerable"}


def test_without_one_the_measurement_is_left_out(tiny_pairs: Pairs, unmask: Command) -> None:
    pair = [str(tiny_pairs.base), str(tiny_pairs.aligned), *tiny_pairs.words()]
    assert unmask.refused("audit", *pair, "--only", "features") == (
        "unmask: the measurement 'features' reads a sparse autoencoder; name one with --sae."
    )
    assert "name that with --sae" in unmask.refused("audit", *pair, "--sae-layer", "2")


def test_one_that_cannot_be_of_the_pair_is_refused(
    tiny_pairs: Pairs, unmask: Command, sae: SparseAutoencoder, folder: Path, tmp_path: Path
) -> None:
    pair = [str(tiny_pairs.base), str(tiny_pairs.aligned), *tiny_pairs.words()]
    out = tmp_path / "run"

    def refused(place: Path, *words: object) -> str:
        line = unmask.refused("audit", *pair, "--out", out, "--sae", place, *words)
        assert not out.exists()  # before anything is loaded or written
        return line

    assert "holds no dictionary" in refused(tiny_pairs.base)
    assert "does not exist" in refused(tmp_path / "nowhere")
    assert "is of layer 40, but" in refused(folder, "--sae-layer", 40)
    nameless = replace(sae, facts={})
    write_saelens(nameless, tmp_path / "nameless")
    assert "does not say which layer it reads; name it with --sae-layer" in refused(tmp_path / "nameless")
    narrow = replace(
        sae, encoder=sae.encoder[:, :8], decoder=sae.decoder[:, :8].contiguous(), bias=sae.bias[:8]
    )
    write_saelens(narrow, tmp_path / "narrow")
    assert "reads states that are 8 wide, but those of" in refused(tmp_path / "narrow")


def test_a_crosscoder_has_its_part_of_the_report(tiny_pairs: Pairs, tmp_path: Path, states: Tensor) -> None:
    draws = torch.Generator().manual_seed(0)
    rows = torch.randn(LATENTS, 2, states.shape[1], generator=draws)
    bias = states.mean(0).repeat(2, 1)
    coder = Crosscoder(
        torch.ones(2), rows, torch.zeros(LATENTS), rows / 200, bias, TopK(8), {"layer": LAYER, "models": []}
    )
    write_crosscoder(coder, tmp_path / "both")
    settings = tiny_pairs.settings(sae=str(tmp_path / "both"), measurements=("features",))
    run = audit(Pair(str(tiny_pairs.base), str(tiny_pairs.aligned)), tmp_path / "run", settings)
    (result,) = run.findings["results"]
    assert not result["failures"]
    statuses = {one["status"] for one in result["findings"] if one["measurement"] == "features"}
    assert statuses == {"inconclusive"}
    assert len(run.tables["made-up/features.crosscoder"]) == LATENTS
    assert "after latent scaling" in run.folder.report.read_text(encoding="utf-8")
    assert json.dumps(judge_again(tmp_path / "run").findings) == json.dumps(run.findings)


def test_a_layer_without_a_dictionary_is_a_mistake(tiny_pairs: Pairs, tmp_path: Path) -> None:
    pair = Pair(str(tiny_pairs.base), str(tiny_pairs.aligned))
    with pytest.raises(SettingsError, match="--sae-layer says which layer"):
        audit(pair, tmp_path / "run", tiny_pairs.settings(sae_layer=2))
