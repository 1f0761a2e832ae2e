"""One record per run, written last and atomically; trackers mirror it."""
