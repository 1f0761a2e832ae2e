"""Ours beside the paper's: value, difference, and where the protocols part."""
