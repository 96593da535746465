"""Figures carry the numbers of their tables, keep base and aligned apart, and are left out when they have none."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from report import fixture
from unmask.report.charts import causality, features, figures, surface, variance
from unmask.report.charts.style import MAX_POINTS, thin
from unmask.report.words import CORE

MEASURED = (*CORE, "features")
KINDS = {"a": "Democratic", "b": "Republican", "neutral": "neutral"}


def _own(measurement: str) -> dict[str, pd.DataFrame]:
    prefix = f"partisan/{measurement}."
    tables = fixture.tables()
    return {key.removeprefix(prefix): frame for key, frame in tables.items() if key.startswith(prefix)}


def _data(spec: Any) -> list[dict[str, Any]]:
    return [row for rows in spec["datasets"].values() for row in rows]


@pytest.mark.parametrize("measurement", MEASURED)
def test_every_measurement_draws_all_its_figures_from_full_tables(measurement: str) -> None:
    counts = {"surface": 6, "structure": 7, "variance": 3, "causality": 5, "features": 7, "reactivation": 3}
    drawn = figures(measurement, _own(measurement), KINDS)
    assert len(drawn) == counts[measurement]
    assert len({figure.name for figure in drawn}) == len(drawn)
    for figure in drawn:
        assert set(figure.tables) <= set(_own(measurement))
        for panel in figure.panels:
            assert panel.spec["width"] == "container"
            assert panel.height > 100


@pytest.mark.parametrize("measurement", [*MEASURED, "unheard_of"])
def test_no_tables_no_figures(measurement: str) -> None:
    assert figures(measurement, {}, KINDS) == []
    empty = {name: frame.iloc[:0] for name, frame in _own(measurement).items()}
    assert figures(measurement, empty, KINDS) == []


@pytest.mark.parametrize("measurement", MEASURED)
def test_a_missing_table_costs_its_own_figures_only(measurement: str) -> None:
    tables = _own(measurement)
    everything = {figure.name: figure for figure in figures(measurement, tables, KINDS)}
    for missing in tables:
        rest = {name: frame for name, frame in tables.items() if name != missing}
        left = {figure.name for figure in figures(measurement, rest, KINDS)}
        assert left == {name for name, figure in everything.items() if missing not in figure.tables}


@pytest.mark.parametrize("measurement", MEASURED)
def test_colours_are_the_page_s_and_sides_differ_by_mark_too(measurement: str) -> None:
    for figure in figures(measurement, _own(measurement), KINDS):
        for panel in figure.panels:
            text = json.dumps(panel.spec, default=str)
            assert '"#' not in text
            if "var(--base)" in text and "var(--aligned)" in text:
                assert "circle" in text
                assert "diamond" in text


def test_intensity_shows_the_summary_s_numbers() -> None:
    chart = surface.intensity(_own("surface"))
    assert chart is not None
    shown = {(row["side"], row["read-out"]): row["intensity"] for row in _data(chart.to_dict())}
    assert shown["base", "free text"] == 0.71
    assert shown["aligned", "completion"] == 0.33


def test_topics_average_what_was_scored_and_leave_refusals_out() -> None:
    frame = pd.DataFrame(
        {
            "side": ["base", "base", "base", "aligned"],
            "read_out": "text",
            "topic": "tax",
            "stance": [1.0, 0.0, np.nan, -1.0],
        }
    )
    chart = surface.topics({"stances": frame}, "text")
    assert chart is not None
    means = {row["side"]: row["stance"] for row in _data(chart.to_dict()) if "side" in row}
    assert means == {"base": 0.5, "aligned": -1.0}


def test_densities_hold_one_unit_of_probability() -> None:
    panels = variance.projection_panels(_own("variance"))
    frame = pd.DataFrame(
        [row for row in _data(panels["with the chat template"].to_dict()) if "density" in row]
    )
    curves = frame.drop_duplicates().sort_values("projection")
    for side, group in curves.groupby("side"):
        area = np.trapezoid(group["density"], group["projection"])
        assert area == pytest.approx(1.0, abs=0.03), side


def test_specificity_counts_every_random_axis() -> None:
    chart = variance.specificity(_own("variance"))
    assert chart is not None
    assert sum(row["axes"] for row in _data(chart.to_dict()) if "axes" in row) == 1000


def test_thinning_keeps_both_ends() -> None:
    frame = pd.DataFrame({"x": range(10_001)})
    kept = thin(frame)["x"].tolist()
    assert len(kept) == MAX_POINTS
    assert kept[0] == 0
    assert kept[-1] == 10_000


def test_gains_by_layer_are_drawn_for_several_layers_and_their_ratio_where_base_s_is_beyond_chance() -> None:
    rows = _own("causality")["by_layer"]
    drawn = {
        n: figure for n in (1, 3) for figure in figures("causality", {"by_layer": rows.iloc[: 2 * n]}, KINDS)
    }
    assert list(drawn) == [3]
    assert [panel.title for panel in drawn[3].panels] == ["gain", "aligned over base"]
    (figure,) = figures("causality", {"by_layer": rows.assign(random_q95=1.0)}, KINDS)
    assert [panel.title for panel in figure.panels] == ["gain"]
    unbounded = rows.assign(ratio_low=-np.inf, ratio_high=np.inf)
    (figure,) = figures("causality", {"by_layer": unbounded}, KINDS)
    assert [panel.title for panel in figure.panels] == ["gain"]


def test_patching_has_a_panel_a_group_of_positions_on_one_scale() -> None:
    rows = _own("causality")["patching"]
    (figure,) = figures("causality", {"patching": rows}, KINDS)
    assert [panel.title for panel in figure.panels] == list(causality.POSITIONS.values())
    for panel, positions in zip(figure.panels, causality.POSITIONS, strict=True):
        spec: Any = panel.spec
        scales = [layer["encoding"]["y"]["scale"]["domain"] for layer in spec["layer"][1:]]
        assert scales == [[rows["low"].min(), rows["high"].max()]] * 3
        assert {row["positions"] for row in _data(spec) if "effect" in row} == {positions}


def test_parts_of_the_decomposition_start_where_the_last_one_ended_and_add_up_to_the_total() -> None:
    panels = features.decomposition(_own("features"))
    assert len(panels) == 2
    for panel in panels.values():
        steps = pd.DataFrame([row for row in _data(panel.to_dict()) if "step" in row]).drop_duplicates()
        for side, rows in steps.groupby("side"):
            *parts, total = rows.sort_values("step").to_dict("records")
            starts, ends = [part["start"] for part in parts], [part["end"] for part in parts]
            assert starts == [0.0, *ends[:-1]]
            assert total["part"] == "total"
            assert total["start"] == 0
            assert total["end"] == pytest.approx(ends[-1]), side
            assert total["end"] == pytest.approx(sum(part["value"] for part in parts))


def test_firing_is_drawn_up_to_what_the_hits_allow() -> None:
    rows = _own("features")["latents"]
    chart = features.firing({"latents": rows})
    assert chart is not None
    bounds = {row["latent"]: row["bound"] for row in _data(chart.to_dict()) if "bound" in row}
    assert bounds == dict(zip(rows["latent"], rows["bound"], strict=True))
    assert features.firing({"latents": rows.assign(said_base=np.nan)}) is None


def test_latents_that_never_fired_are_not_drawn_and_selected_ones_never_thinned() -> None:
    rows = _own("features")["crosscoder"]
    many = pd.concat([rows, *[rows[~rows["selected"]]] * 4])
    bars, kinds = features.crosscoder({"crosscoder": many}).values()
    assert sum(row["latents"] for row in _data(bars.to_dict()) if "latents" in row) == 954 + 4 * 948
    drawn = [row for row in _data(kinds.to_dict()) if "kind" in row]
    assert {row["kind"] for row in drawn} == {"base-only", "shared", "other", "aligned-only"}
    assert {0, 1, 2, 3, 4, 5} <= {row["latent"] for row in drawn}
    assert len(drawn) == MAX_POINTS + 6
