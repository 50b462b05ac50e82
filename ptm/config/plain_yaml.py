"""A config that ptm wrote, read again for its values alone."""

from __future__ import annotations

from typing import Any

import yaml

MAX_CHARACTERS = 1 << 20  # as in a config of a user's
MAX_DEPTH = 40
MAX_EVENTS = 200_000


def read_plain(text: str) -> Any:
    """YAML without aliases: ptm writes none, and a few of them may stand for any number of values.

    Raises yaml.YAMLError, ValueError or RecursionError.
    """
    if len(text) > MAX_CHARACTERS:
        raise ValueError("it is longer than a config can be")
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it has an alias, which no config has")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or count > MAX_EVENTS:  # PyYAML takes time with the square of the depth
            raise ValueError("it is deeper or has more values than a config can have")
    return yaml.safe_load(text)
