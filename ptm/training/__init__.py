"""How weights are changed: optimizer and schedule, the order of examples, the machine."""
