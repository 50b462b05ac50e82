"""The config of a run, and by what another one differs from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ptm.base.regular import read_bytes
from ptm.config.load import dump_config, parse_config
from ptm.config.plain_yaml import read_plain
from ptm.errors import ConfigError
from ptm.run.manifest import flat

# What changes no bit of a run, so that it may be another when the run goes on.
FREE_KEYS = ("output", "track", "runtime.workers", "train.save_every_steps", "train.keep_checkpoints")
# What ptm advises where memory runs out: it may be changed when the run goes on, and stands in the record as drift.
CURE_KEYS = ("train.micro_batch_size", "train.eval_batch_size", "runtime.precision")
# What a config may leave open and the model or the task then decides; in the config of a run they stand decided.
DECIDED_KEYS = (
    "train.micro_batch_size",
    "runtime.precision",
    *(f"teacher.{key}" for key in ("max_length", "image_size", "mean", "std")),
    *(f"data.{key}" for key in ("text", "target_text", "image", "label", "max_length", "image_size")),
    *(
        f"data.{key}"
        for key in ("longest_side", "mean", "std", "mask_share", "whole_words", "pack", "labels")
    ),
    "data.mask_values",
    *(f"data.{key}" for key in ("question", "answers", "answer_start", "no_answer")),
    *(f"generate.{key}" for key in ("beams", "max_length", "length_penalty")),
)


# Of these, the ones that are left open by the word `auto`.
AUTO_KEYS = ("runtime.precision", "train.micro_batch_size")


def saved_config(path: Path) -> str:
    """The config of a run as this version writes it, so that defaults which an earlier one did not write are no change;
    as it stands where it cannot be read."""
    text = read_bytes(path).decode(errors="replace")
    try:
        return dump_config(parse_config(text, str(path), base=path.parent, cwd=Path.cwd()))
    except ConfigError:
        return text


def config_changes(saved: Path, config: str) -> tuple[str, ...]:
    """Keys by which a run's config differs from another, as ``train.seed: 1 → 2``, but those that change nothing."""
    before, after = config_values(saved_config(saved)), config_values(config)
    return tuple(f"{name}: {before.get(name)} → {after.get(name)}" for name in _differing(before, after))


def differing_keys(old: str, new: str) -> tuple[str, ...]:
    """Dotted names by which two configs differ, without those that change nothing, and those that one of them leaves
    open."""
    return _differing(config_values(old), config_values(new))


def _differing(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    names = [name for name in dict.fromkeys((*after, *before)) if before.get(name) != after.get(name)]
    open_ = {
        name
        for name in DECIDED_KEYS
        if None in (before.get(name), after.get(name))
        or (name in AUTO_KEYS and "auto" in (before.get(name), after.get(name)))
    }
    return tuple(name for name in names if name not in (*FREE_KEYS, *open_, "generate"))


def config_values(config: str) -> dict[str, Any]:
    """Values by dotted names: ``{"train.epochs": 3, …}``; what is no YAML is one value."""
    try:
        content = read_plain(config)
    except (yaml.YAMLError, ValueError, RecursionError):
        content = None
    return flat(content) if isinstance(content, dict) else {"config.yaml": config}
