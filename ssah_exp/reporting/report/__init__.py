"""Records -> one HTML page that works offline."""
