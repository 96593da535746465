"""Models whose truth is known because they were built so."""
