"""13.6: images that training decodes each time are looked at whole once, not at each start."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ptm.base.console import Silent
from ptm.data.examples import Dataset, Examples
from ptm.data.image_listing import list_images
from ptm.data.image_reading import AS_STORED, ImageReading
from ptm.errors import DataError
from ptm.vision import looked_at as looking
from ptm.vision import pipeline as pipelines
from ptm.vision.looked_at import LEAST_IMAGES, headers_read, looked_at
from ptm.vision.preprocessing import Preprocessing


def png(value):
    content = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(content, "PNG")
    return content.getvalue()


def data(images, digest="a" * 64):
    split = Examples({"image": images}, None, lambda row: f"row {row}")
    return Dataset(split, split, (), {"train": digest, "eval": digest})


class Images(pipelines.ImagePipeline):
    """As much of a pipeline as looks at images."""

    def __init__(self, dataset, spec, kept=()):
        self._data, self._spec, self._decoded = dataset, spec, kept

    _reading = AS_STORED

    def _splits(self):
        return ["train", "eval"]

    def _kept(self, split):
        return split in self._decoded


Images.__abstractmethods__ = frozenset()


@pytest.fixture
def looks(tmp_path, monkeypatch):
    """Numbers of images that were decoded, a split each."""
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pipelines, "WORTH_KEEPING", 0.0)
    seen, real = [], pipelines.find_unreadable

    def counted(images, *args, **kwargs):
        seen.append(len(images))
        return real(images, *args, **kwargs)

    monkeypatch.setattr(pipelines, "find_unreadable", counted)
    return seen


def spec():
    from types import SimpleNamespace

    return SimpleNamespace(
        runtime=SimpleNamespace(threads=1), data=SimpleNamespace(source="imagefolder:images")
    )


def test_13_06_images_are_looked_at_once(looks):
    images = data([png(value) for value in range(6)])
    for _ in range(2):
        assert Images(images, spec(), kept=("eval",)).unreadable_inputs(Silent(), 0, 1) == []
    assert looks == [6]
    for rank in (0, 1, 0, 1):  # each process its share
        assert Images(images, spec(), kept=("eval",)).unreadable_inputs(Silent(), rank, 2) == []
    assert looks == [6, 3, 3]


def test_13_06_other_bytes_other_images_and_another_reading_are_looked_at(looks):
    images = data([png(value) for value in range(6)])
    rows = range(6)
    looked_at(images, "train", rows, AS_STORED).keep({"images": "6"})
    assert looked_at(images, "train", rows, AS_STORED).done
    fewer = replace(images, train=images.train.select(np.arange(3)))
    others = [
        looked_at(data(images.train.columns["image"], "b" * 64), "train", rows, AS_STORED),
        looked_at(fewer, "train", range(3), AS_STORED),
        looked_at(images, "train", rows, ImageReading(page=1)),
        looked_at(replace(images, digests={}), "train", rows, AS_STORED),
    ]
    assert not any(other.done for other in others)


def test_13_06_what_cannot_be_decoded_is_told_each_time(looks):
    images = data([png(1), png(2)[:40]])
    for _ in range(2):
        found = Images(images, spec(), kept=("eval",)).unreadable_inputs(Silent(), 0, 1)
        assert [problem.where for problem in found] == ["row 1"]
    assert looks == [2, 2]


def test_13_06_what_takes_no_time_is_not_kept(looks, monkeypatch):
    monkeypatch.setattr(pipelines, "WORTH_KEEPING", 60.0)
    for _ in range(2):
        Images(data([png(1)]), spec(), kept=("eval",)).unreadable_inputs(Silent(), 0, 1)
    assert looks == [1, 1]


def test_13_06_headers_of_files_are_looked_at_once_for_a_view(tmp_path, looks, monkeypatch):
    monkeypatch.setattr(looking, "WORTH_KEEPING", 0.0)
    folder = tmp_path / "images"
    folder.mkdir()
    for value in range(3):
        (folder / f"{value}.png").write_bytes(png(value))
    files, seen = list_images(folder).hashed(folder), []
    view = Preprocessing(image_size=8, resize=None, interpolation="bilinear", mean=(0.5,) * 3, std=(0.5,) * 3)
    others = [
        (files.select(np.array([0, 1])), view, AS_STORED),
        (files, replace(view, image_size=9), AS_STORED),
        (files, view, ImageReading(page=1)),
    ]
    for what in ((files, view, AS_STORED), *others):
        for _ in range(2):
            looking.headers_looked_at(*what).once(lambda: seen.append(1), "imagefolder:images")
    assert len(seen) == 4
    for _ in range(2):  # what is no file has no digest
        looking.headers_looked_at([png(1)], view, AS_STORED).once(lambda: seen.append(1), "")
    assert len(seen) == 6


def test_13_06_files_are_looked_at_once_wherever_they_lie(tmp_path, looks):
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        for value in range(3):
            (tmp_path / place / f"{value}.png").write_bytes(png(value))
        files = list_images(tmp_path / place).hashed(tmp_path / place)
        assert Images(data(files), spec(), kept=("eval",)).unreadable_inputs(Silent(), 0, 1) == []
    assert looks == [3]


def test_13_06_headers_of_many_images_are_read_once_for_what_they_have_to_fit(tmp_path, monkeypatch):
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))
    many, reads = [f"{number}.png" for number in range(LEAST_IMAGES)], []

    def headers(images, fits="any", digest="a" * 64):
        def read():
            reads.append(fits)
            return [(row % 7, 5, 1) for row in range(len(images))]

        found = headers_read(data(images, digest), "train", AS_STORED, fits, read)
        assert found.tolist() == [[row % 7, 5, 1] for row in range(len(images))]
        return len(reads)

    assert [headers(many), headers(many)] == [1, 1]
    assert headers(many, fits="square") == 2, "the sizes that fit are others"
    assert headers(many, digest="b" * 64) == 3, "the images are others"
    assert [headers(many[:9]), headers(many[:9])] == [4, 5], "not worth it"
    assert [headers(many, digest=None), headers(many, digest=None)] == [6, 7], "nobody knows which these are"

    def refused():
        raise DataError("not an image", where="3.png")

    for _ in range(2):
        with pytest.raises(DataError, match="not an image"):
            headers_read(data(many), "eval", AS_STORED, "other", refused)
