"""A config that ptm wrote, read again for its values alone."""

from __future__ import annotations

from typing import Any

import yaml

MAX_CHARACTERS = 1 << 20  # as in a config of a user's


def read_plain(text: str) -> Any:
    """YAML without aliases: ptm writes none, and a few of them may stand for any number of values.

    Raises yaml.YAMLError, ValueError or RecursionError.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError("it is longer than a config can be")
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
        raise ValueError("it has an alias, which no config has")
    return yaml.safe_load(text)
