"""Our values beside the paper's: value, difference, and where the protocols differ."""
