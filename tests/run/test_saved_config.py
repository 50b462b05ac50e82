"""By what a run's config differs from another."""

from ptm.config.load import dump_config, load_config
from ptm.run.saved_config import config_changes, config_values, differing_keys, saved_config

OLD = "train: {epochs: 1, seed: 1, micro_batch_size: null}\nruntime: {workers: 0}\noutput: a\n"


def test_values_by_dotted_names():
    assert config_values("a: {b: 1, c: [x]}\nd: null\n") == {"a.b": 1, "a.c": ["x"], "d": None}
    for text in ("- a list", "a: [", "[" * 100_000):
        assert config_values(text) == {"config.yaml": text}


def test_what_changes_no_bit_and_what_was_left_open_is_no_difference():
    new = "train: {epochs: 2, seed: 1, micro_batch_size: 8}\nruntime: {workers: 4}\noutput: b\n"
    assert differing_keys(OLD, new) == differing_keys(new, OLD) == ("train.epochs",)
    decided = OLD.replace("null", "4")
    assert differing_keys(decided, new) == ("train.epochs", "train.micro_batch_size")
    assert differing_keys(OLD, OLD.replace("seed: 1, ", "")) == ("train.seed",)


def test_a_saved_config_reads_as_this_version_writes_it(finished_run, tmp_path):
    spec = load_config(finished_run / "config.yaml")
    assert saved_config(finished_run / "config.yaml") == dump_config(spec)
    assert config_changes(finished_run / "config.yaml", dump_config(spec)) == ()
    path = tmp_path / "old.yaml"
    path.write_text((finished_run / "config.yaml").read_text().replace("seed: ", "seed: 1", 1))
    (change,) = config_changes(path, dump_config(spec))
    assert change == f"train.seed: 1{spec.train.seed} → {spec.train.seed}"
    path.write_text("no: [config")
    assert saved_config(path) == "no: [config"
