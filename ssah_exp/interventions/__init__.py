"""What is done with units: one file per intervention, all of them take a set of units."""
