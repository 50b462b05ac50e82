"""What everything else stands on: files, signals, processes, what is printed, seeds."""
