"""Where weights come from, how they are loaded, and where heads and neurons lie in them."""
