"""What evaluations measure: a module a kind of target."""
