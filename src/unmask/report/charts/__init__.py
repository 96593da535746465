"""Figures: pure functions from a measurement's tables to charts, and the catalogue that gives them words."""

from unmask.report.charts.catalogue import Figure, Panel, figures
from unmask.report.charts.style import CONFIG

__all__ = ["CONFIG", "Figure", "Panel", "figures"]
