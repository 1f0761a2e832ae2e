"""Data sets, chat templates, label masks and loaders."""
