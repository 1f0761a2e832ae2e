"""Options of every subcommand, one file each; nothing heavy is imported here."""
