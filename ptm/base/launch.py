"""Several processes on one machine: ``--nproc N`` is ``torchrun --nproc-per-node N -m ptm`` with exit codes kept."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType

_GRACE_SECONDS = 30.0  # for the others to end after one has failed


def launch(arguments: Sequence[str], processes: int, *, stdout: int | None = None) -> int:
    """Run ``ptm ARGUMENTS`` in ``processes`` processes and return the exit code of the first that failed, or 0.

    ``stdout``: the descriptor that gets their standard output, if not ours. Signals go on to all of them, so that
    they stop together and save. When one dies, the others are ended.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        **os.environ,
        "WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    children = [
        subprocess.Popen(
            [sys.executable, "-m", "ptm", *arguments],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=stdout,
            # A group of their own: Ctrl-C reaches them once, through us, not twice.
            start_new_session=True,
        )
        for rank in range(processes)
    ]

    def forward(number: int, frame: FrameType | None) -> None:
        for child in children:
            if child.poll() is None:
                child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, forward)
    return _wait(children)


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int:
    code = 0
    while any(child.poll() is None for child in children):
        failed = [child.returncode for child in children if child.returncode not in (None, 0)]
        if failed:
            code = failed[0]
            deadline = time.monotonic() + _GRACE_SECONDS
            # A process that stops for a signal stops with its peers; one that failed leaves them waiting.
            if code != 75:
                time.sleep(1.0)
                for child in children:
                    child.terminate()
            while any(child.poll() is None for child in children) and time.monotonic() < deadline:
                time.sleep(0.05)
            for child in children:
                child.kill()
            break
        time.sleep(0.05)
    codes = [child.wait() for child in children]
    code = code or next((c for c in codes if c), 0)
    return code if code >= 0 else 128 - code
