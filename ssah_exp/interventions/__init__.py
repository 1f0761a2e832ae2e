"""What is done with a set of units, and what training moved: ablations, plans, deltas."""
