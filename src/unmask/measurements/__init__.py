"""Measurements: one file each. Third parties add theirs through the entry point `unmask.measurements`."""

from __future__ import annotations

from importlib.metadata import entry_points

from unmask.measurements.base import Measurement


def all_measurements() -> dict[str, Measurement]:
    """Every installed measurement by name; built-in ones come through the same door as anyone's."""
    return {point.name: point.load()() for point in entry_points(group="unmask.measurements")}
