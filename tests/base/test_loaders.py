"""Something around the import of a module, which afterwards is as if nothing had been there."""

import importlib
import importlib.util
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader

import pytest

from ptm.base.loaders import WrappedLoader, wrapped_spec

EVENTS = []


class Around(WrappedLoader):
    def exec_module(self, module):
        EVENTS.append("before")
        super().exec_module(module)
        EVENTS.append("after")


class Finder(MetaPathFinder):
    def find_spec(self, fullname, path, target=None):
        return wrapped_spec(self, Around, fullname, path, target) if "loaders_sample" in fullname else None


@pytest.fixture
def finder(tmp_path, monkeypatch):
    (tmp_path / "loaders_sample.py").write_text("value = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    finder = Finder()
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    EVENTS.clear()
    yield finder
    sys.modules.pop("loaders_sample", None)


def test_an_import_is_wrapped_and_to_ask_imports_nothing(finder):
    assert importlib.util.find_spec("loaders_sample") is not None
    assert importlib.util.find_spec("loaders_sample_absent") is None
    assert EVENTS == [] and "loaders_sample" not in sys.modules
    module = importlib.import_module("loaders_sample")
    assert EVENTS == ["before", "after"] and module.value == 3
    assert isinstance(module.__loader__, SourceFileLoader)
    assert module.__spec__.loader is module.__loader__
