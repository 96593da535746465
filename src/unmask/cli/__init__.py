"""The command line: words in, exit codes out; no logic."""

from unmask.cli.app import app, main

__all__ = ["app", "main"]
