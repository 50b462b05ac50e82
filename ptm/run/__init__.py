"""The run directory: its files, its record, its checkpoints and its log."""
