"""Measurements that anybody can repeat. Nothing in the pipeline imports from here."""
