"""How cycles are started: the command line, Dagster's definitions, and a market to try them on."""
