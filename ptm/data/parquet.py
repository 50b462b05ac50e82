"""What reading parquet files has in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ptm.errors import DataError


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Raises DataError where the file cannot be read, whatever the library raises."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"not a readable parquet file: {error}",
            where=path,
            cure="write it again; a file that was cut off cannot be mended",
        ) from None
