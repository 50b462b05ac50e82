"""Reading labelled examples from files and hubs; knows nothing of text or images."""
