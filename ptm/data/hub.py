"""Data sets on a hub, through ``datasets``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ptm.base.extras import require_package
from ptm.base.network import reachable
from ptm.data.columns import require_columns
from ptm.data.tables import Table
from ptm.errors import ConfigError, DataError, MissingDownload, Problem


def missing_dataset(place: str) -> list[Problem]:
    """The same for ``hub:`` data."""
    name, config = split_place(place)
    require_package("datasets", "hub", f"data hub:{place}")
    from datasets import config as datasets_config
    from datasets.naming import camelcase_to_snakecase

    owner, _, short = name.partition("/")
    folder = Path(datasets_config.HF_DATASETS_CACHE) / f"{owner}___{camelcase_to_snakecase(short)}"
    if any(folder.glob(f"{config or '*'}/*/*/dataset_info.json")) or reachable():
        return []
    return [
        Problem(
            "are not in the cache, and the hub cannot be reached",
            f"data hub:{place}",
            cure='with a network, once: python -c "import datasets; datasets.load_dataset('
            f'{", ".join(repr(part) for part in (name, config) if part)})"; or use files: '
            "--set data.source=csv:FOLDER --set data.train=train.csv --set data.eval=dev.csv",
        )
    ]


def split_place(place: str) -> tuple[str, str | None]:
    """``owner/name/config`` to (``owner/name``, ``config``)."""
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    parts = place.split("/")
    try:
        if len(parts) not in (2, 3) or not all(parts):
            raise HFValidationError
        validate_repo_id("/".join(parts[:2]))
    except HFValidationError:
        raise ConfigError(
            f"hub:{place} is not the name of a data set",
            where="data.source",
            expected="hub:OWNER/NAME or hub:OWNER/NAME/CONFIG",
        ) from None
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None


def read_dataset(place: str, split: str | None, columns: Sequence[str]) -> Table:
    """A split of a hub data set, through ``datasets``; images stay encoded, for workers to decode."""
    require_package("datasets", "hub", f"data hub:{place}")
    import datasets

    name, config = split_place(place)
    if split is None:
        raise ConfigError(
            "hub: needs data.train and data.eval", where=f"hub:{place}", expected="names of splits"
        )
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    if not reachable():  # else it tries, and tries again, before it looks into its cache
        datasets.config.HF_HUB_OFFLINE = True
    try:  # with hf:// no folder that happens to be called so is read instead
        loaded = datasets.load_dataset(f"hf://datasets/{name}", config, split=split)
    except ValueError as error:  # an unknown split or configuration; the message lists those that exist
        raise ConfigError(_one_line(error), where=f"hub:{place}") from None
    except (ConnectionError, OSError) as error:
        raise MissingDownload(f"cannot be loaded: {_one_line(error)}", where=f"data hub:{place}") from None
    except (datasets.exceptions.DatasetsError, RuntimeError) as error:
        raise DataError(f"cannot be read: {_one_line(error)}", where=f"hub:{place} {split}") from None
    require_columns(columns, loaded.column_names, f"hub:{place} {split}")
    names = None
    for column in columns:
        feature = loaded.features[column]
        names = names or getattr(getattr(feature, "feature", feature), "names", None)  # or of a list of them
        if isinstance(loaded.features[column], datasets.Image):
            loaded = loaded.cast_column(column, datasets.Image(decode=False))
    values = {column: loaded[column][:] for column in columns}
    return Table(
        values,
        lambda row: f"hub:{place} {split}, row {row}",
        _digest(values),
        tuple(names) if names else None,
    )


def _digest(columns: Mapping[str, Sequence[Any]]) -> str:
    """SHA-256 of the values themselves: a data set on the hub can change under its name."""
    digest = hashlib.sha256()
    for name, values in columns.items():
        digest.update(f"{name}\0{len(values)}\0".encode())
        for value in values:
            image = value.get("bytes") if isinstance(value, dict) else None
            content = image if isinstance(image, bytes) else repr(value).encode()
            digest.update(len(content).to_bytes(8, "big"))
            digest.update(content)
    return digest.hexdigest()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
