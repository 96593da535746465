"""The committed calibration: the record in docs/, the counts that findings quote and the bars that both must meet."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path

import pandas as pd
import pytest

from unmask.lab.calibration.calibrate import Plan
from unmask.lab.calibration.rates import untouched_table, verdict_rates
from unmask.lab.calibration.samples import OPEN
from unmask.lab.replicates.coverage import every_study
from unmask.lab.replicates.representing import FITTED_ON_EVER_MORE
from unmask.stats import rate_interval
from unmask.verdict.calibrated import error_rates
from unmask.verdict.rules import RULES

DOCS = Path(__file__).parents[2] / "docs" / "calibration"
LEAST = 200
"""Audits."""


@pytest.fixture(scope="module")
def audits() -> pd.DataFrame:
    return pd.read_csv(DOCS / "audits.csv", keep_default_na=False)


def test_every_pair_of_the_default_plan_is_in_the_record(audits: pd.DataFrame) -> None:
    plan = Plan()
    planned = {
        (name, domain, recipe.name)
        for name in plan.upbringings
        for domain in plan.domains
        for elsewhere in (False, True)
        for recipe in plan.recipes_of(name, elsewhere)
    }
    recorded = set(zip(audits["upbringing"], audits["domain"], audits["sample"], strict=True))
    assert recorded == planned
    assert len(audits) >= LEAST


def test_the_verdict_is_right_where_the_effect_is_clear(audits: pd.DataFrame) -> None:
    clear = audits[audits["clear"]]
    assert len(clear) > LEAST / 2
    assert set(clear["truth"]) == {
        "masked",
        "not neutral",
    }  # no sample of quick makes an erasure clear: see docs
    # The second domain, and what no mend was made on, have no thresholds of their own.
    for column in ("domain", "upbringing", "seed", "truth"):
        for name, group in clear.groupby(column):
            assert group["right"].mean() >= 0.95, (column, name)


def test_what_is_erased_is_found_in_half_of_audits_and_never_called_anything_else(
    audits: pd.DataFrame,
) -> None:
    erased = audits[audits["truth"] == "structural"]
    assert len(erased) >= 8
    assert set(erased["verdict"]) == {"structural", "inconclusive"}
    assert (erased["verdict"] == "structural").mean() >= 0.5


def test_what_cannot_be_so_is_hardly_ever_said(audits: pd.DataFrame) -> None:
    for _, group in audits.groupby("upbringing"):
        assert group["confident_and_wrong"].mean() <= 0.02


def test_what_left_the_concept_alone_is_not_called_changed(audits: pd.DataFrame) -> None:
    """Only of a mask can a mechanism be named, so masks over an untouched concept are the test."""
    table = untouched_table(audits)
    assert set(table["kind"]) == {"null", "muted", "decoy", "elsewhere"}
    for kind, rows in table.groupby("kind"):
        assert rows["wrong"].sum() <= 0.05 * rows["audits"].sum(), kind
    masks = table[table["surface"] == "neutral"]
    assert rate_interval(masks["wrong"].sum(), masks["audits"].sum()).high <= 0.05


def test_the_tables_and_the_words_are_those_of_the_record(audits: pd.DataFrame) -> None:
    for name, table in {
        "verdicts": verdict_rates(audits),
        "kinds": verdict_rates(audits, "kind"),
        "untouched": untouched_table(audits),
    }.items():
        written = pd.read_csv(DOCS / f"{name}.csv", keep_default_na=False)  # a kind is called "null"
        pd.testing.assert_frame_equal(written, table, rtol=1e-3, check_dtype=False)
    clear, settled = audits[audits["clear"]], audits[audits["truth"] != OPEN]
    masks = clear[clear["truth"] == "masked"]
    cut = masks[masks["kind"] == "cut"]
    said = (DOCS.parent / "calibration.md").read_text(encoding="utf-8")
    said += (DOCS.parents[1] / "README.md").read_text(encoding="utf-8")
    assert f"right in {clear['right'].sum()} of {len(clear)} audits" in said
    assert f"{settled['right'].sum()} of {len(settled)} are right" in said
    assert f"Of the {len(masks)} masks all are" in said
    assert masks.loc[~masks["right"], "kind"].eq("cut").all()
    assert f"{cut['right'].sum()} of {len(cut)}: two of the misses" in said
    assert audits["confident_and_wrong"].sum() == 1
    for column in ("upbringing", "domain", "seed"):
        for _, group in clear.groupby(column):
            assert f"{group['right'].sum()} of {len(group)}" in said


@pytest.mark.parametrize(
    ("sample", "mechanism"),
    [
        ("rotated, muted", "rotated"),
        ("rescaled 0.6, muted", "rescaled"),
        ("rescaled 0.7, muted", "rescaled"),
        ("cut, muted", "disconnected"),
        ("compressed 0.4, muted", "compressed"),
    ],
)
def test_an_edit_gets_its_own_mechanism_and_not_another_s(
    audits: pd.DataFrame, sample: str, mechanism: str
) -> None:
    masks = audits[(audits["sample"] == sample) & (audits["truth"] == "masked")]
    # A push moves this base no more than random ones do: whether its concept was cut off stays undecided.
    inert = (masks["upbringing"] == "vague") & (masks["domain"] == "kitchen") & (mechanism == "disconnected")
    assert set(masks.loc[~inert, "mechanisms"]) == {mechanism}
    assert set(masks.loc[inert, "mechanisms"]) <= {""}


def test_findings_quote_the_record() -> None:
    claims = pd.read_csv(DOCS / "claims.csv").set_index(["profile", "claim"])
    assert set(claims.index.get_level_values("claim")) <= set(RULES)
    for (profile, claim), row in claims.iterrows():
        rates = error_rates(profile, claim)
        assert rates is not None
        for name, count in asdict(rates).items():
            assert count == row[name], (claim, name)
    shipped = json.loads((files("unmask.verdict") / "calibration.json").read_text(encoding="utf-8"))
    assert {(profile, claim) for profile in shipped for claim in shipped[profile]} == set(claims.index)


OF_PERMUTATIONS = {"transfer_beyond_null", "permutation_p_aligned"}
"""Numbers that decide and are no population's: they are held against a permutation null."""
OUTSIDE = {("surface", "silent", "lean_aligned")}
"""Covered by 99.7 %: no answer takes a side, so resampling shows no doubt and the width is that of a rule."""


def test_intervals_hold_what_is_planted_in_a_thousand_replicates() -> None:
    table = pd.read_csv(DOCS / "replicates.csv")
    assert (table["replicates"] >= 1000).all()
    limit = table["quantity"].str.endswith(FITTED_ON_EVER_MORE)
    rows = table[~limit]
    planted = {(study.measurement, study.setting) for study in every_study()}
    assert set(zip(rows["measurement"], rows["setting"], strict=True)) == planted
    # The claims of features, which need a dictionary, are in no calibration yet; docs/features.md says so.
    decide = {
        bar.quantity
        for claim, rule in RULES.items()
        for bar in rule.bars
        if not claim.startswith("features.")
    }
    assert decide - set(rows["quantity"]) == OF_PERMUTATIONS
    beyond = rows[~rows["coverage"].between(0.91, 0.985)]
    assert set(beyond[["measurement", "setting", "quantity"]].itertuples(index=False, name=None)) == OUTSIDE


def test_an_excess_is_a_lower_bound_on_what_ever_more_texts_would_give() -> None:
    """That its interval holds that value is a bar that is missed where structure is there; docs say by how much."""
    table = pd.read_csv(DOCS / "replicates.csv")
    limit = table[table["quantity"].str.endswith(FITTED_ON_EVER_MORE)]
    assert limit["coverage"].between(0.91, 0.985).sum() == 13
    excess = limit[limit["quantity"].str.match("excess_(base|aligned)")]
    assert (excess["above"] <= 0.025).all()
    there = excess["truth"] > 0.1
    assert excess.loc[there, "coverage"].between(0.6, 0.85).all()
    assert (excess.loc[~there, "coverage"] >= 0.91).all()
