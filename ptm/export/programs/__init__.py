"""predict.py of an export, a program a task: each is copied as it stands, and imports nothing of ptm."""
