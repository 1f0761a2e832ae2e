"""Records -> tables beside the published values."""
