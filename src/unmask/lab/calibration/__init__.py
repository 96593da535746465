"""How often the audit is right: replicates of its analysis, and audits of models whose truth is known."""
