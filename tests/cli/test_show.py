"""What commands print for people."""

import os
import shlex

from ptm.cli.show import show_results
from ptm.run.results import ModelSize, Results, Throughput, TrainSummary

MODEL = "/somewhere/" + "a long way/" * 9 + "model"


def test_names_and_paths_stay_whole_and_can_be_pasted(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    output = os.path.join(tmp_path, "über mich", "läuft 1")  # noqa: PTH118
    rate = {"seconds": 1.0, "examples_per_second": 1.0}
    results = Results(
        task="text-classification",
        status="done",
        metrics={"loss": 0.5},
        model=ModelSize(name=MODEL, parameters=1, trainable_parameters=1, bytes=4),
        eval=Throughput(split="test", examples=30, **rate),
        train=TrainSummary(split="train", examples=30, steps=1, epochs=1.0, **rate),
        output=output,
    )
    show_results(results, as_json=False)
    first, *_, run, following = capsys.readouterr().out.splitlines()
    assert first == f"{MODEL} on 30 examples"
    assert shlex.split(following)[:4] == ["next:", "ptm", "eval", "über mich/läuft 1"]
    assert shlex.split(run)[1::2] == ["über mich/läuft 1", "über mich/läuft 1/report.html"]
