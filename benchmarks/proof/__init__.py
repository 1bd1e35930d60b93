"""The benchmark of the log: what its leaves cost, and how long and how fast a proof is."""
