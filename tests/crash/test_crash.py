"""A few of the kills that ``make crash`` does by the hundred."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.processes

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "crash" / "crash.py"
CASES = ("text, accumulation 4", "image, accumulation 4, 2 workers", "distilled text, 2 processes")


def test_runs_killed_anywhere_end_with_the_same_bits():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--kills", "8", "--seed", "5", "--cases", ";".join(CASES)],
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.stdout, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["differences"] == [], done.stderr
    assert found["kills"] == 8
    assert found["in_a_write"] >= 1  # about half of them; how many depends on how fast the machine is
    assert len(found["by_case"]) == len(CASES)
