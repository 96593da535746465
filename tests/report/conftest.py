"""The report of the made-up run, drawn once."""

from __future__ import annotations

from pathlib import Path

import pytest

from report import fixture
from unmask.report import render_report


@pytest.fixture(scope="session")
def page() -> str:
    return render_report(fixture.run(), fixture.findings(), fixture.tables())


@pytest.fixture(scope="session")
def page_file(page: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path
