"""The stages in order; what is cached is skipped."""
