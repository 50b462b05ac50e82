from tiny.text_classification import make, strangers_state

__all__ = ["make", "strangers_state"]
