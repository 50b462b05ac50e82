"""What each command does: puts data, models, engine and records together."""
