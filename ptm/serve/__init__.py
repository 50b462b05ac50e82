"""A trained model behind HTTP: ``ptm serve``."""
