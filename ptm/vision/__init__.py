"""Images: decoding, views, models and the tasks on them. Imports neither the text package nor the engine."""
