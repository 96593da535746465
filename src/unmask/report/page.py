"""The report as one HTML file that needs nothing but itself.

Scripts, styles, figures and data are all inside; a content security policy forbids the page every request, and
runs no script but the three whose hashes it names, so an answer that tries to be code stays text.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import vl_convert
from markupsafe import Markup

from unmask.report.charts import CONFIG
from unmask.report.content import DomainView, domain_view, slug
from unmask.report.error_rates import error_rates
from unmask.report.numbers import interval, number, percent
from unmask.report.power import could_find, larger_sample
from unmask.report.provenance import provenance, without_places
from unmask.report.words import GLOSSARY, MECHANISMS, STATUS_ICONS, humanise

_ASSETS = Path(__file__).parent / "assets"


def render_report(
    run: Mapping[str, Any], findings: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]
) -> str:
    """Draw a run.

    Args:
        run: run.json.
        findings: findings.json, schema `unmask/1`.
        tables: "DOMAIN/MEASUREMENT.TABLE" → its rows. Any may be missing: the report says so and goes on.

    Returns:
        HTML that opens from a file, without a network.
    """
    run = without_places(run)
    domains = [domain_view(run, result, tables) for result in findings["results"]]
    head, body = _asset("theme.js"), _asset("script.js")
    vega = _vega()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
        f"script-src {' '.join(_hash(script) for script in (head, vega, body))}"
    )
    html = (
        _environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            pair=findings.get("pair") or run.get("pair") or {},
            domains=domains,
            provenance=provenance(run),
            glossary=GLOSSARY,
            mechanisms=MECHANISMS,
            icons=STATUS_ICONS,
            interval=interval,
            slug=slug,
            policy=policy,
            style=Markup(_asset("style.css")),
            head_script=Markup(head),
            vega_script=Markup(vega),
            body_script=Markup(body),
            data=_embedded(_data(domains)),
        )
    )
    # A model's text may hold half a surrogate pair, which no file can.
    return html.encode("utf-8", "replace").decode("utf-8")


def _data(domains: list[DomainView]) -> dict[str, object]:
    """What the page's script works on: figure specifications by place, and tables by key."""
    charts: dict[str, object] = {}
    for domain in domains:
        for group in domain.groups:
            for item in (*group.figures, *(item for finding in group.findings for item in finding.figures)):
                charts |= {f"{item.anchor}-{i}": panel.spec for i, panel in enumerate(item.figure.panels)}
    return {
        "config": CONFIG,
        "charts": charts,
        "tables": {table.key: table.data for domain in domains for table in domain.tables},
    }


def _embedded(value: object) -> Markup:
    """JSON that no HTML parser takes for anything else, whatever text it holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=str)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def stylesheet() -> str:
    """The look of a report, for other pages."""
    return _asset("style.css")


@cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, from the wheel of vl-convert."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


@cache
def _asset(name: str) -> str:
    return (_ASSETS / name).read_text(encoding="utf-8")


@cache
def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "number": number,
        "percent": percent,
        "humanise": humanise,
        "could_find": could_find,
        "error_rates": error_rates,
        "larger_sample": larger_sample,
        "signs": _signs,
        "pretty": _pretty,
    }
    environment.filters.update(filters)
    return environment


def _signs(words: object) -> str:
    return str(words).replace("-", "−")


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
