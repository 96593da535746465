"""The page as text: whole, escaped, self-contained, and honest about what is missing."""

from __future__ import annotations

import base64
import copy
import hashlib
import itertools
import json
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from report import fixture
from unmask.report import render_report


class Outline(HTMLParser):
    """Elements, attributes and scripts as an HTML parser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text: list[str] = []
        self._stack: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._stack.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        while self._stack and self._stack.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._stack and self._stack[-1] == "script":
            self.scripts[-1] += data
        elif "style" not in self._stack:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.text))


@pytest.fixture(scope="module")
def outline(page: str) -> Outline:
    return Outline(page)


def test_one_file_below_three_megabytes_that_asks_for_nothing(page: str, outline: Outline) -> None:
    assert len(page.encode()) < 3_000_000
    assert not any(attrs.get("src") for _, attrs in outline.elements)
    assert [attrs["href"][:5] for attrs in outline.all("link") if attrs["href"]] == ["data:"]
    assert all((attrs["href"] or "").startswith("#") for attrs in outline.all("a"))
    assert "@import" not in page
    assert "url(" not in page.split("</style>")[0]


def test_the_policy_names_every_script_and_nothing_else(outline: Outline) -> None:
    policy = next(
        a["content"] for a in outline.all("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "unsafe-eval" not in policy
    data = [attrs.get("type") for attrs in outline.all("script")]
    assert data == [None, "application/json", None, None]
    run = [script for script, kind in zip(outline.scripts, data, strict=True) if kind is None]
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in run
    ]
    assert policy.split("script-src ")[1].split() == hashes


def test_hostile_answers_stay_text(outline: Outline) -> None:
    assert not outline.all("img")
    assert not any(name.startswith("on") for _, attrs in outline.elements for name in attrs)
    for hostile in fixture.HOSTILE:
        assert hostile in outline.words
    carried = json.loads(outline.scripts[1])
    texts = {row[4] for row in carried["tables"]["partisan/surface.answers"]["rows"]}
    assert any(text.startswith(fixture.HOSTILE[0]) for text in texts)
    assert not re.search(r"[<>]", outline.scripts[1])


@pytest.mark.parametrize("hostile", fixture.HOSTILE)
def test_hostile_words_anywhere_stay_text(hostile: str) -> None:
    run, findings = fixture.run(), fixture.findings()
    run |= {"command": hostile, "pair": {"base": hostile, "aligned": hostile}, hostile: {hostile: hostile}}
    findings["pair"] = run["pair"]
    result = findings["results"][0]
    result["domain"] = hostile
    result["verdict"] |= {
        "sentence": hostile,
        "label": hostile,
        "mechanisms": [hostile],
        "blocked_by": [hostile],
    }
    result["failures"] = [{"measurement": hostile, "message": hostile}]
    for finding in result["findings"]:
        finding |= {"claim": hostile, "note": hostile, "measurement": hostile, "id": hostile}
    tables = {f"{hostile}/surface.{hostile}": pd.DataFrame({hostile: [hostile]})}
    outline = Outline(render_report(run, findings, tables))
    assert len(outline.all("script")) == 4
    assert not outline.all("img")
    assert not any(name.startswith("on") for _, attrs in outline.elements for name in attrs)


def test_ids_are_unique_and_every_link_arrives(outline: Outline) -> None:
    ids = Counter(attrs["id"] for _, attrs in outline.elements if attrs.get("id"))
    assert [id_ for id_, count in ids.items() if count > 1] == []
    targets = {(attrs["href"] or "")[1:] for attrs in outline.all("a")}
    labels = {
        label for _, attrs in outline.elements for label in (attrs.get("aria-labelledby") or "").split()
    }
    assert targets | labels <= set(ids)
    assert set(json.loads(outline.scripts[1])["charts"]) <= set(ids)


def test_headings_never_skip_a_level(outline: Outline) -> None:
    levels = [int(tag[1]) for tag, _ in outline.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_every_figure_and_strip_says_what_it_shows(outline: Outline) -> None:
    pictured = [attrs for _, attrs in outline.elements if attrs.get("role") == "img"]
    assert len(pictured) > 40
    assert all(attrs.get("aria-label") for attrs in pictured)


def test_the_verdict_comes_with_its_reasons(outline: Outline) -> None:
    words = outline.words
    assert "Masked" in words
    assert "Rests on 3 claims" in words
    assert "11 of 14 claims are settled" in words
    assert "tokens and weights were not measured" in words
    assert "Durability failed and says nothing" in words
    assert "the option's place decides, not its content" in words
    assert "No corpus to fine-tune demo:masked on" in words


_SHARP = "A sample this sharp "


def test_every_bar_says_what_its_sample_could_have_found(outline: Outline) -> None:
    words = outline.words
    sound = [finding for finding in fixture.FINDINGS if not finding.failed_controls]
    bars = [bar for finding in sound for bar in finding.bars if bar.detectable is not None]
    assert len(sound) < len(fixture.FINDINGS)  # where a control failed there is nothing to find
    assert words.count(_SHARP) == len(bars)
    assert (
        "finds a value of −0.04 or more, 0.06 past the bar, in 80 of 100 draws, and as often rules the claim out at "
        "−0.16" in words
    )
    assert "If the estimate is exactly right, a sample about 8.2 times as large (654 " in words
    assert words.count("times as large") == 1


def test_findings_without_it_are_drawn_all_the_same() -> None:
    findings = fixture.findings()
    for finding in findings["results"][0]["findings"]:
        del finding["detectable"], finding["sample_needed"]
        for bar in finding["bars"]:
            del bar["detectable"]
    words = Outline(render_report(fixture.run(), findings, {})).words
    assert "surface.neutral" in words
    assert _SHARP not in words


def test_an_empty_run_is_told_as_it_is() -> None:
    html = render_report({}, {"schema": "unmask/1", "results": []}, {})
    assert "This run holds no result." in Outline(html).words


def test_a_run_without_tables_says_so_in_every_part() -> None:
    result = fixture.result(verdict=fixture.BLOCKED)
    result |= {"findings": [], "profile_axes": {}, "notes": [], "failures": []}
    words = Outline(render_report({}, fixture.findings(result), {})).words
    assert words.count("Not run: this audit says nothing about it.") == 5
    assert "surface.neutral: control coherent_aligned is 0.31, bar ≥ 0.9" in words
    assert "holds no sampled answers" in words
    assert "holds no tables" in words
    assert words.count("not measured") == 7  # six axes, and "How sure"


def test_a_measurement_may_have_findings_and_no_tables() -> None:
    tables = {key: frame for key, frame in fixture.tables().items() if "/structure." not in key}
    outline = Outline(render_report(fixture.run(), fixture.findings(), tables))
    assert set(json.loads(outline.scripts[1])["tables"]) == set(tables)
    assert "structure.preserved" in outline.words


def test_a_third_party_measurement_keeps_its_findings_and_tables() -> None:
    result = fixture.result()
    finding = copy.deepcopy(result["findings"][0]) | {"id": "mirror.reflects", "measurement": "mirror"}
    result["findings"].append(finding)
    tables = fixture.tables() | {"partisan/mirror.angles": pd.DataFrame({"angle": [1.5, np.nan]})}
    outline = Outline(render_report(fixture.run(), fixture.findings(result), tables))
    assert "mirror.reflects" in outline.words
    assert "mirror.angles" in outline.words
    assert json.loads(outline.scripts[1])["tables"]["partisan/mirror.angles"]["rows"] == [[1.5], [None]]


def test_two_domains_share_a_page_without_sharing_ids() -> None:
    other = fixture.result("refusal", fixture.BLOCKED)
    tables = fixture.tables() | fixture.tables("refusal")
    outline = Outline(render_report(fixture.run(), fixture.findings(fixture.result(), other), tables))
    ids = Counter(attrs["id"] for _, attrs in outline.elements if attrs.get("id"))
    assert max(ids.values()) == 1
    assert {"partisan", "refusal"} <= set(ids)


def test_a_long_table_is_thinned_and_says_so() -> None:
    tables = {"partisan/surface.stances": pd.DataFrame({"stance": np.linspace(-1, 1, 5001)})}
    outline = Outline(render_report(fixture.run(), fixture.findings(), tables))
    rows = json.loads(outline.scripts[1])["tables"]["partisan/surface.stances"]["rows"]
    assert len(rows) == 2000
    assert rows[0] == [-1.0]
    assert rows[-1] == [1.0]
    assert "2,000 of 5,001 rows" in outline.words


def test_the_page_tells_no_folder_of_the_machine_and_calls_a_size_all_but_no_seed() -> None:
    run = fixture.run()
    run["domains"][0]["reference"] = "/home/ann/work/partisan"
    run["resolved"]["base"]["folder"] = "/home/ann/.cache/base"
    run["profile"]["questions"] = run["seed"] = 10**9
    html = render_report(run, fixture.findings(), {})
    assert "/home/ann" not in html
    rows = re.findall(r'<th scope="row">([^<]*)</th><td>([^<]*)</td>', html)
    assert {("reference", "partisan"), ("questions", "all"), ("seed", "1000000000")} <= set(rows)


def test_hostile_tokens_stay_text_and_are_shaded(outline: Outline) -> None:
    marks = outline.all("mark")
    shades = {float((attrs["style"] or "").removeprefix("--fires: ")) for attrs in marks if "style" in attrs}
    assert max(shades) == 1.0
    assert all(0 < shade <= 1 for shade in shades)
    assert f"deserve {fixture.HOSTILE[0]} {fixture.HOSTILE[1]} wage" in outline.words
    rows = json.loads(outline.scripts[1])["tables"]["partisan/features.contexts"]["rows"]
    assert "Working families deserve " in rows[0][4]
    assert re.fullmatch(r"[\d. ]+", rows[0][5])


def test_without_features_nothing_is_said_of_them() -> None:
    run, result = fixture.run(), fixture.result()
    run["rules"] = {}  # those of every claim, made or not
    result["findings"] = [one for one in result["findings"] if one["measurement"] != "features"]
    tables = {key: frame for key, frame in fixture.tables().items() if "/features." not in key}
    html = render_report(run, fixture.findings(result), tables)
    outline = Outline(html)
    assert not any((attrs.get("id") or "").startswith("partisan-features") for _, attrs in outline.elements)
    assert "features." not in outline.words
    assert 'class="latent' not in html


@pytest.mark.parametrize("missing", ["latents", "contexts"])
def test_latents_are_listed_without_contexts_and_not_without_themselves(missing: str) -> None:
    tables = {
        key: frame for key, frame in fixture.tables().items() if not key.endswith(f"features.{missing}")
    }
    outline = Outline(render_report(fixture.run(), fixture.findings(), tables))
    latents = [attrs for attrs in outline.all("details") if "data-latent" in attrs]
    assert len(latents) == (14 if missing == "contexts" else 0)
    assert outline.words.count("No text was kept in which it fires.") == 2 * len(latents)


def test_broken_characters_can_be_written() -> None:
    run = fixture.run() | {"command": "lone \ud83d surrogate"}
    assert b"lone" in render_report(run, fixture.findings(), {}).encode("utf-8")
