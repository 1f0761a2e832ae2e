"""Experiments on the Superficial Safety Alignment Hypothesis (arXiv 2410.10862)."""

__version__ = "0.1.0"
