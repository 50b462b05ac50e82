"""A few of the kills that ``make crash`` does by the hundred."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "crash" / "crash.py"


def test_runs_killed_anywhere_end_with_the_same_bits():
    done = subprocess.run(
        [sys.executable, SCRIPT, "--kills", "10", "--seed", "5"], capture_output=True, text=True, timeout=280
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["differences"] == [], done.stderr
    assert found["kills"] == 10
    assert found["in_a_write"] >= 1  # about half of them; how many depends on how fast the machine is
    assert len(found["by_case"]) >= 2
