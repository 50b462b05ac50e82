"""A frozen backbone runs once; the head learns what it would have learned."""

import pytest

from helpers import StopAt, history, image_spec, run, text_spec, weights
from ptm.distill import cache
from ptm.distill import teacher as teachers
from ptm.errors import Interrupted


@pytest.fixture
def make(tiny_bert, reviews, tmp_path, monkeypatch):
    monkeypatch.setenv("PTM_CACHE", str(tmp_path / "cache"))

    def make(kind, name, **changes):
        frozen = {"freeze": "backbone", "epochs": 3, "learning_rate": 0.05, **changes}
        if kind == "text":
            return text_spec(tiny_bert, reviews, tmp_path / name, **frozen)
        return image_spec(tmp_path / name, augment="none", **frozen)

    return make


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "image"])
def test_the_result_is_that_of_running_it_every_time(kind, make, monkeypatch, tmp_path):
    """Dropout before the head included: it draws the same numbers. The bits may differ by how batches are padded."""
    computed: list[int] = []
    original = teachers.Teacher._forward
    monkeypatch.setattr(
        teachers.Teacher, "_forward", lambda self, b: computed.append(len(b)) or original(self, b)
    )
    stored = run(make(kind, "stored"))
    size = stored["train"]["examples"] // 3
    assert sum(computed) == size + 1
    plain = run(make(kind, "plain", store_features="off"))
    assert sum(computed) == size + 1
    assert stored["metrics"]["accuracy"] == plain["metrics"]["accuracy"]
    for a, b in zip(history(tmp_path / "stored"), history(tmp_path / "plain"), strict=True):
        if a["kind"] == "train":
            assert a["loss"] == pytest.approx(b["loss"], rel=1e-4)
            assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=1e-3)
    if kind == "text":  # the image network starts from random weights, which differ with the seed
        run(make(kind, "other_seed", seed=5))
        assert sum(computed) == size + 2 + teachers.SAMPLE


@pytest.mark.slow
def test_a_stopped_run_ends_with_the_same_bits(make, tmp_path):
    run(make("text", "whole"))
    with pytest.raises(Interrupted):
        run(make("text", "parts"), reporter=StopAt(10))
    run(make("text", "parts"), "resume")
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")


@pytest.mark.slow
def test_a_finished_run_leaves_no_store_locked(make, tmp_path):
    run(make("text", "r"))
    assert len(cache.entries(tmp_path / "cache")) == 1
    cache.prune(tmp_path / "cache", 0)
    assert cache.entries(tmp_path / "cache") == []
