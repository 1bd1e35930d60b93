"""Tests, in the words of the market."""
