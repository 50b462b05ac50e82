"""Text pipelines: tokens, transformers' models, one module a task."""
