"""``python tests/forkserver.py``: runs commands of ptm in forks of a process that has imported all of it, for to start
anew takes longer than most tests train.

Each line of its input is a JSON list of orders, processes that run at once: ``words``, ``environment`` (all of it),
``folder`` to work in, files for ``stdout`` and ``stderr``. The answer is a line with the list of their exit codes.
"""

import json
import os
import signal
import sys
import traceback
from importlib import import_module
from typing import Any

from ptm.base.light_imports import import_lightly

SECONDS = 240  # then SIGALRM ends it
IMPORTED = (
    "torch",
    "transformers",
    "ptm.cli.app",
    "ptm.experiment.train",
    "ptm.text.classification",
    "ptm.vision.classification",
    "ptm.vision.detection",
)


def main() -> None:
    import_lightly()
    for name in IMPORTED:
        import_module(name)
    for line in sys.stdin:
        children = [start(**order) for order in json.loads(line)]
        print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]), flush=True)


def start(words: list[str], environment: dict[str, str], folder: str, stdout: str, stderr: str) -> int:
    if pid := os.fork():
        return pid
    code: Any = 70
    try:
        signal.alarm(SECONDS)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["ptm", *words]
        for stream, file in enumerate(("/dev/null", stdout, stderr)):
            os.dup2(os.open(file, os.O_RDWR | os.O_CREAT, 0o666), stream)
        from ptm.cli.app import main as command

        command()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # as the interpreter would tell it
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
