"""Adapter baselines, one method a file: ``_target_`` nodes of ``training.arms.*.adapter``."""
