"""Tests; run with `pytest`."""
