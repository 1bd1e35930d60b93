"""The what-if tool: the tables of `trine select`, read into a problem."""
