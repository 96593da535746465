"""How often intervals hold what was planted: the analysis alone, without models, on many samples."""
