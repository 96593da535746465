"""The command line, run in this process."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from unmask import cli


class Command:
    """Runs `unmask WORDS` in this process."""

    def __init__(self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.patch, self.capsys = patch, capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        self.patch.setattr(sys, "argv", ["unmask", *map(str, words)])
        self.capsys.readouterr()
        try:
            cli.main()
            code: Any = 0
        except SystemExit as stop:
            code = stop.code
        out, err = self.capsys.readouterr()
        return code or 0, out, err

    def refused(self, *words: object) -> str:
        """The one line of a mistake."""
        code, out, err = self(*words)
        assert code == 2, (code, err)
        assert out == ""
        assert "Traceback" not in err
        (line,) = err.strip().splitlines()
        assert line.startswith("unmask: ")
        return line
