"""Typed configuration: Hydra composes YAML, the schema refuses what no stage would use."""
