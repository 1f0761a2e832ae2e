"""Claims written down before the runs, and what the records say about each of them."""
