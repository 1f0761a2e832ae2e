"""Benchmarks of this machine: arms side by side, in rounds; what they took, and their ratios."""
