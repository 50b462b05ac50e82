"""Learning from a teacher: the losses, one small pure function each."""
