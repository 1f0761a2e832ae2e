"""Sentences and small tables that stand below a table, so that nobody misreads it."""
