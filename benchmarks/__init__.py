"""Side-by-side measurements of unmask and its peers; ratios, never asserted times."""
