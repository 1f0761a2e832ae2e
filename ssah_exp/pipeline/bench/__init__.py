"""The training benchmark: full, masked and compact training side by side on one machine."""
