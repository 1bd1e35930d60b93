"""Evidence: what an auditor takes away, and checks without us."""
