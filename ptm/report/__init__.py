"""A run's report page and model card."""
