"""ptm takes pre-trained models to work: fine-tune, distil and evaluate, one short YAML file an experiment."""

import sys

if sys.argv[:1] == ["-m"] and not sys.flags.safe_path:
    # ``python -m ptm`` puts the working directory first: files in it that are named like modules are none of ours, and
    # the next import would be the first to take one.
    del sys.path[0]

from ptm.base.hub_headers import guard_hub
from ptm.base.imports import import_elsewhere

__version__ = "0.1.0"

import_elsewhere()
guard_hub()
