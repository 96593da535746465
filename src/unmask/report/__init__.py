"""Findings in front of people: one self-contained HTML file, and a summary for the terminal."""

from unmask.report.page import render_report
from unmask.report.terminal import print_summary

__all__ = ["print_summary", "render_report"]
