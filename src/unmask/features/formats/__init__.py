"""Dictionaries on disk: unmask's own layout, which is SAELens', and those of others that can be read exactly."""

from unmask.features.formats.open import open_dictionary
from unmask.features.formats.saelens import read_saelens, write_saelens
from unmask.features.formats.sparsify import read_sparsify

__all__ = ["open_dictionary", "read_saelens", "read_sparsify", "write_saelens"]
