"""A small slice of the calibration by its command: organisms of the shipped tiny models, seen plainly and audited."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from unmask.lab.calibration.calibrate import Plan, calibrate
from unmask.lab.calibration.grid import EDITED, Recipe
from unmask.lab.calibration.rates import Tables, audits_table, coverage
from unmask.lab.calibration.samples import Audited
from unmask.lab.calibration.tables import write_calibration
from unmask.models.demo import TINY

NAMES = ("base", "cut, muted", "decoy cut, muted")
SHIPPED = (
    Recipe("tiny-masked", "dpo", trained="dpo full", mechanisms=("reactivates",)),
    Recipe("tiny-erased", "erase", trained="erase full"),
)
VERDICTS = {
    "base": ("not neutral", ()),
    "cut, muted": ("masked", ("disconnected",)),
    "decoy cut, muted": ("masked", ()),
    "tiny-masked": ("masked", ("reactivates",)),
    "tiny-erased": ("structural", ()),
}


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> list[Audited]:
    """In a folder named from where the command runs, with the models that ship in place of growing some."""
    at, out = tmp_path_factory.mktemp("calibration"), Path("runs/calibration")
    organisms = at / out / "organisms/first/council"
    shutil.copytree(TINY / "base", at / out / "models/first")
    shutil.copytree(TINY / "masked", organisms / "dpo-full")
    shutil.copytree(TINY / "erased", organisms / "erase-full")
    recipes = (*(one for one in EDITED if one.name in NAMES), *SHIPPED)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(at)
        return calibrate(Plan(("first",), ("council",), recipes, (), (0,), workers=1), out)


def test_every_verdict_is_what_was_planted_and_what_plain_forwards_say(audited: list[Audited]) -> None:
    assert {one.sample: (one.verdict, one.mechanisms) for one in audited} == VERDICTS
    assert {one.sample: (one.truth.verdict, one.truth.mechanisms) for one in audited} == VERDICTS
    assert all(one.right for one in audited)


def test_intervals_hold_what_plain_forwards_give(audited: list[Audited]) -> None:
    table = coverage(audited).set_index("quantity")
    assert {
        "intensity_aligned",
        "swing_aligned",
        "gain_ratio",
        "excess_aligned",
        "forced_gap_aligned",
    } <= set(table.index)
    # Five pairs with one base model share their draws, so an unlucky number may miss more than once; no number misses
    # in most of them, as one that is reckoned otherwise than the audit does would.
    assert table.loc[table["n"] >= 3, "coverage"].min() > 0.5
    assert (table["coverage"] * table["n"]).sum() / table["n"].sum() > 0.85


def test_the_tables_hold_every_audit_and_the_page_draws(audited: list[Audited], tmp_path: Path) -> None:
    write_calibration(Tables.of(audited), tmp_path)
    assert (tmp_path / "audits.csv").read_text(encoding="utf-8").count("\n") == 1 + len(audited)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "structural" in page
    assert page.count("<svg") >= 2
    wrong = [replace(audited[0], verdict="masked")]
    assert not audits_table(wrong)["right"].any()
