"""What commands print for people."""

import os
import shlex

from ptm.cli.show import show_results

MODEL = "/somewhere/" + "a long way/" * 9 + "model"


def test_names_and_paths_stay_whole_and_can_be_pasted(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    show_results(
        {
            "model": {"name": MODEL, "parameters": 1},
            "eval": {"examples": 30},
            "metrics": {"loss": 0.5},
            "train": {"steps": 1, "seconds": 1.0, "examples_per_second": 1.0},
            "output": os.path.join(tmp_path, "über mich", "läuft 1"),  # noqa: PTH118
        },
        as_json=False,
    )
    first, *_, run, following = capsys.readouterr().out.splitlines()
    assert first == f"{MODEL} on 30 examples"
    assert shlex.split(following)[:4] == ["next:", "ptm", "eval", "über mich/läuft 1"]
    assert shlex.split(run)[1::2] == ["über mich/läuft 1", "über mich/läuft 1/report.html"]
