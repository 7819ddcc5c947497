"""What survives a restart: one file per store."""
