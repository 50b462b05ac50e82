"""The state of training as one value that JSON carries."""

import json
from dataclasses import asdict

from ptm.training.progress import Progress


def test_a_new_run_has_done_nothing():
    fresh = Progress()
    assert (fresh.step, fresh.examples, fresh.evaluated_step, fresh.finished) == (0, 0, 0, False)
    assert (fresh.best_value, fresh.best_step, fresh.worse_evaluations) == (None, None, 0)


def test_it_reads_back_from_json_as_it_was():
    progress = Progress(step=7, best_value=0.1 + 0.2, window={"loss": 1e-300}, counts={"used": 3.0})
    assert Progress(**json.loads(json.dumps(asdict(progress)))) == progress


def test_two_runs_share_no_sums():
    one, other = Progress(), Progress()
    one.window["loss"] = 1.0
    one.counts["used"] = 2.0
    one.scaler["scale"] = 4.0
    assert other.window == other.counts == other.scaler == {}
