"""What is to be said of the examples of a data set, whatever model is trained on them."""
