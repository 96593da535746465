"""Organisms by weight edit: models whose truth is exact, because what was done to them is known.

`build_organism` takes a model, edits its weights, saves an ordinary transformers folder and writes `card.json` beside
it: what was done, what an audit of (base, organism) must therefore say of every claim, and numbers that show it,
measured with plain forward passes.
"""

from unmask.lab.organisms.options import KINDS, OrganismOptions

__all__ = ["KINDS", "OrganismOptions"]
