"""What a hub says in headers leads to no file outside of the cache."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hub_samples import COMMIT, HubHandler, serving

ROOT = Path(__file__).parents[2]
CODE = """
import sys, ptm
from huggingface_hub import hf_hub_download
from ptm.errors import PtmError
try:
    print("got", hf_hub_download("someone/tiny", sys.argv[1]))
except PtmError as error:
    print(error)
"""


class Hub(HubHandler):
    """``server.etag`` and ``server.commit`` are what it says of ``config.json``; nothing else is there."""

    def do_GET(self):
        there = self.path.partition("?")[0].endswith("/config.json")
        self.send_response(200 if there else 404)
        data = b"import os" if there else b""
        headers = {"ETag": self.server.etag} if there else {"X-Error-Code": "EntryNotFound"}
        headers |= {"X-Repo-Commit": self.server.commit, "Content-Length": str(len(data))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


def download(server, name, tmp_path):
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": server.address,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    command = [sys.executable, "-P", "-c", CODE, name]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.parametrize("case", ["absolute", "upwards", "commit", "commit of what is not there"])
def test_15_01_a_hub_writes_nothing_outside_of_the_cache(tmp_path, case):
    """A file with content of the server's, and an empty one, were made wherever its headers said."""
    outside = tmp_path / "outside"
    with serving(Hub) as server:
        server.etag, server.commit = '"0123456789"', COMMIT
        if case == "absolute":
            server.etag = f'"{outside / "usercustomize.py"}"'
        elif case == "upwards":
            server.etag = '"../../../../outside/usercustomize.py"'
        else:
            server.commit = str(outside)
        said = download(server, "missing.json" if "not there" in case else "config.json", tmp_path)
        assert "leads out of the cache" in said.stdout, said.stderr
        assert not outside.exists() and not list(tmp_path.rglob("*.py"))
        if case == "absolute":
            server.etag = 'W/"0123456789"'
            assert download(server, "config.json", tmp_path).stdout.startswith("got "), "an honest answer"
