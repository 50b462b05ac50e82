"""The command line: a module a command or family of commands."""
