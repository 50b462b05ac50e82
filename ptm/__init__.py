"""ptm takes pre-trained models to work: fine-tune, distil and evaluate, one short YAML file an experiment."""

from ptm.base.imports import import_elsewhere

__version__ = "0.1.0"

import_elsewhere()
