"""Organisms of the tiny base model, audited and held against their cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unmask.cli import app
from unmask.lab.organisms import OrganismOptions
from unmask.lab.organisms.build import build_organism
from unmask.lab.organisms.card import CARD
from unmask.lab.organisms.confirm import confirm, table
from unmask.settings import SettingsError


@pytest.fixture(scope="module")
def organisms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("organisms")
    for kind in ("muted", "null"):
        build_organism(OrganismOptions(kind=kind, base="demo:tiny-base", domain="council", out=folder / kind))
    return [folder / kind for kind in ("muted", "null")]


def test_an_audit_says_what_the_cards_say_and_a_false_card_is_found(
    organisms: list[Path], tmp_path: Path
) -> None:
    muted, null = confirm(organisms, tmp_path)
    assert (muted.verdict, null.verdict) == ("masked", "not neutral")
    assert not muted.contradicted
    assert not null.contradicted
    assert sum(one.agrees for one in muted.claims) >= 8
    # What base answered for the first is not asked again for the second.
    asked = json.loads((null.run / "run.json").read_text(encoding="utf-8"))["timings"]["seconds"]
    assert "aligned: Generate" in asked
    assert "base: Generate" not in asked

    card = json.loads((organisms[0] / CARD).read_text(encoding="utf-8"))
    card["expected"]["structure.preserved"]["status"] = "refuted"
    (organisms[0] / CARD).write_text(json.dumps(card), encoding="utf-8")
    result = CliRunner().invoke(app, ["lab", "confirm", str(organisms[0]), "-o", str(tmp_path)])
    assert result.exit_code == 1
    assert "structure.preserved is supported, by the card refuted" in result.stdout
    assert "| muted | masked |" in table([muted])


def test_what_is_no_organism_is_said(organisms: list[Path], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"holds no organism \(card.json is missing\)"):
        confirm([tmp_path], tmp_path / "runs")
    with pytest.raises(SettingsError, match="two organisms are called null"):
        confirm([organisms[1], organisms[1]], tmp_path / "runs")
