"""What a bug report needs, and nothing that is secret."""

import json
import platform
from importlib.metadata import version

import pytest

import ptm
from ptm.experiment.environment import environment


def test_12_10_the_record_has_versions_and_hardware_and_no_secrets(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_ENDPOINT", "https://someone:secret@mirror.example/hub")
    record = environment()
    assert record["ptm"] == ptm.__version__ and record["python"] == platform.python_version()
    assert record["packages"]["required"]["torch"] == version("torch")
    assert "peft" in record["packages"]["extras"]
    assert record["network"] == "forbidden"
    assert record["variables"]["HF_ENDPOINT"] == "https://…@mirror.example/hub"
    assert "secret" not in json.dumps(record)


@pytest.mark.parametrize(
    "value", ["user:secret@proxy:3128", "http://proxy/?token=secret", "//user:secret@proxy"]
)
def test_15_07_no_form_of_an_address_shows_its_secrets(value, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HTTPS_PROXY", value)
    record = environment()
    assert "secret" not in json.dumps(record) and "proxy" in record["variables"]["HTTPS_PROXY"]
