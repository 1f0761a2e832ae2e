"""Adapters that stay beside a model's weights and act on it through hooks."""
