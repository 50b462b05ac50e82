"""Names of slices, and what may be said of them in a config before any example is read."""

import pytest

from ptm.config.slices import SliceMetric, bin_names, bin_of, parse_slice_metric


def test_12_06_a_metric_of_a_slice_is_read_and_written():
    assert parse_slice_metric("accuracy[source=mobile]") == SliceMetric("accuracy", "source", "mobile")
    assert parse_slice_metric("f1/PER[file=a=b [c]]") == SliceMetric("f1/PER", "file", "a=b [c]")
    assert str(SliceMetric("f1", "length", "0-31")) == "f1[length=0-31]"
    for name in ("accuracy", "f1[fraud]", "[a=b]", "accuracy[=b]", "accuracy[a=b"):
        assert parse_slice_metric(name) is None


@pytest.mark.parametrize(
    ("number", "name"), [(0, "0-31"), (31, "0-31"), (32, "32-63"), (2047, "1024-2047"), (2048, "2048+")]
)
def test_12_06_bins_do_not_depend_on_the_data(number, name):
    assert bin_of("length", number) == bin_of("size", number) == name
    assert name in bin_names("length")
