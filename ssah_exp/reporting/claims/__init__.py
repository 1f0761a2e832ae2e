"""Claims written down before the runs, and what the records say to each of them."""
