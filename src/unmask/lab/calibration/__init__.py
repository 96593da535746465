"""How often the audit is right, on models whose truth is known."""
