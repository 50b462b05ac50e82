"""Commands that have a module of their own: each parses, calls, prints, and imports nothing heavy at the top."""
