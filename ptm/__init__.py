"""ptm takes pre-trained models to work: fine-tune, distil and evaluate, one short YAML file an experiment."""

__version__ = "0.1.0"
