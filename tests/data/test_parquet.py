"""Parquet files that cannot be read are one message, whoever reads them."""

import pytest

from ptm.data.parquet import parquet_errors
from ptm.errors import DataError


@pytest.mark.parametrize("error", [OSError("cut off"), ValueError("cut off")])
def test_what_a_reader_raises_names_the_file_and_a_cure(tmp_path, error):
    with pytest.raises(DataError) as caught, parquet_errors(tmp_path / "a.parquet"):
        raise error
    (problem,) = caught.value.problems
    assert problem.what == "not a readable parquet file: cut off"
    assert problem.where == str(tmp_path / "a.parquet") and problem.cure.startswith("write it again")


def test_a_file_of_something_else_is_refused(tmp_path):
    import pyarrow.parquet

    path = tmp_path / "a.parquet"
    path.write_bytes(b"no parquet at all")
    with pytest.raises(DataError, match="not a readable parquet file"), parquet_errors(path):
        pyarrow.parquet.read_table(path)
