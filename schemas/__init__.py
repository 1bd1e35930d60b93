"""What data must look like. Nothing here reads files, runs SQL or knows Dagster."""
