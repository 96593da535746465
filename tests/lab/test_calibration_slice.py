"""A small slice of the calibration: organisms of the shipped tiny base model, seen plainly and then audited."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from unmask.lab.calibration.audits import audit_samples
from unmask.lab.calibration.grid import EDITED, Recipe, samples_of
from unmask.lab.calibration.rates import Tables, audits_table, coverage
from unmask.lab.calibration.samples import Audited
from unmask.lab.calibration.tables import write_calibration
from unmask.models.demo import TINY

NAMES = ("base", "cut, muted", "decoy cut, muted")
SHIPPED = (
    Recipe("tiny-masked", "dpo", trained="masked", mechanisms=("reactivates",)),
    Recipe("tiny-erased", "erase", trained="erased"),
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
    out = tmp_path_factory.mktemp("calibration")
    recipes = [*(one for one in EDITED if one.name in NAMES), *SHIPPED]
    trained = {name: TINY / name for name in ("masked", "erased")}
    samples = samples_of(recipes, TINY / "base", "council", "council", trained, out, out / "seen")
    return audit_samples(list(samples), (0,), out)


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
