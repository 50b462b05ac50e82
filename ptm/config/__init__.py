"""A run config: YAML to a frozen spec, and everything that can be wrong with it. No torch in here."""
