"""One file per subcommand, and what several share; nothing heavy is imported before one runs."""
