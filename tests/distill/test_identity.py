"""The identity of a store is a format: with other keys no store of an earlier version would be found again."""

import json

import pytest

from helpers import image_spec, run
from ptm.base.cache import digest, entries
from ptm.config.spec import DistillSpec, TeacherSpec


@pytest.mark.slow
def test_the_keys_of_an_identity_stay_as_they_are(tmp_path):
    run(image_spec(tmp_path / "teacher", epochs=1))
    teacher = TeacherSpec(name=str(tmp_path / "teacher"))
    settings = DistillSpec(audit="off", store=str(tmp_path / "cache"))
    run(image_spec(tmp_path / "student", epochs=1, teacher=teacher, distill=settings))
    for entry in entries(tmp_path / "cache"):
        identity = json.loads((entry.path / "identity.json").read_text())
        assert set(identity) == {"weights", "reading", "view", "data", "arithmetic", "block"}
        assert set(identity["data"]) == {"split", "digest", "columns", "labels", "held_out", "limit"}
        assert set(identity["arithmetic"]) == {
            "torch",
            "transformers",
            "device",
            "cpu",
            "threads",
            "precision",
        }


def test_the_name_of_a_store_is_the_digest_of_its_identity_whatever_the_order_of_keys():
    identity = {"weights": "a", "reading": "b", "view": "c", "data": {"split": "eval"}, "block": 64}
    assert digest(identity) == digest(dict(reversed(identity.items())))
    assert digest(identity)[:32] == "83dfc068a6a6fe3f6c5865224300ab25"
