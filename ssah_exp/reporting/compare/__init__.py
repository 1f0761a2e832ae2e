"""Arms tested in pairs against each other, from records alone."""
