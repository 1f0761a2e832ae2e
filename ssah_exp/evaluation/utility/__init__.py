"""Benchmarks through lm-evaluation-harness, on the model in memory."""
