"""``ptm fetch`` against a hub that is served here: listed, downloaded, and then used without it."""

import hashlib
import json
from types import SimpleNamespace

import pytest

from helpers import text_spec
from hub_samples import COMMIT, HubHandler, serving
from ptm.base.console import Silent
from ptm.cli.app import run
from ptm.config.load import dump_config
from ptm.errors import MissingDownload
from ptm.experiment.fetch import Download, _fetch_files, _wanted, described, fetch_all, needs


@pytest.fixture
def hub(tiny_bert):
    """The address of a hub that has one model, ``someone/tiny``; ``hub.asked`` are the paths that were asked for."""
    files = {path.name: path.read_bytes() for path in tiny_bert.iterdir() if path.is_file()}
    files["training.log"] = b"not needed"

    class Hub(HubHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            path = self.path.partition("?")[0]
            if "/tree/" in path:
                self.answer([])
            elif path.startswith("/api/models/someone/tiny"):
                self.answer(about("someone/tiny", files, "mit"))
            elif path.startswith("/someone/tiny/resolve/") and path.rpartition("/")[2] in files:
                self.answer(files[path.rpartition("/")[2]])
            else:
                self.miss("RepoNotFound" if "/api/" in path else "EntryNotFound")

    with serving(Hub) as server:
        server.files = files
        yield server


def about(name, files, licence):
    siblings = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
    return {"id": name, "sha": COMMIT, "siblings": siblings, "cardData": {"license": licence}, "tags": []}


@pytest.mark.slow
@pytest.mark.processes
def test_12_07_what_is_fetched_is_enough_offline(hub, run_cli, reviews, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(dump_config(text_spec("someone/tiny", reviews, tmp_path / "r", epochs=1)))
    other = tmp_path / "other.yaml"
    other.write_text(config.read_text().replace("seed: 42", "seed: 1"))
    env = {
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }

    done = run_cli("fetch", config, other, "--list", "--json", env=env)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["downloads"]
    needed = {name for name in hub.files if name.endswith((".json", ".txt", ".safetensors"))}
    assert set(row["files"]) == needed and "training.log" not in row["files"]
    assert row["bytes"] == sum(len(hub.files[name]) for name in needed)
    assert (row["licence"], row["commit"], row["here"]) == ("mit", COMMIT, False)
    assert row["needed_by"] == [str(config), str(other)]
    assert not list((tmp_path / "hf").rglob("*.safetensors"))

    # Offline before it was fetched: told, and nothing was asked for.
    count = len(hub.asked)
    done = run_cli("finetune", config, "--offline", env=env)
    assert done.returncode == 6 and "someone/tiny" in done.stderr and len(hub.asked) == count

    done = run_cli("fetch", config, "--json", env=env)
    assert done.returncode == 0 and json.loads(done.stdout)["downloads"][0]["here"], done.stderr
    count = len(hub.asked)
    done = run_cli("finetune", config, "--offline", "--json", env=env)
    assert done.returncode == 0 and len(hub.asked) == count, done.stderr
    snapshots = [path.name for path in (tmp_path / "hf").glob("hub/models--someone--tiny/snapshots/*")]
    assert snapshots == [COMMIT]
    # The commit is in the record of the run, and what ptm lock pins, with a network and without.
    assert json.loads((tmp_path / "r/manifest.json").read_text())["revisions"] == {"model": COMMIT}
    elsewhere = env | {"HF_HOME": str(tmp_path / "hf2")}
    done = run_cli("lock", config, env=elsewhere)
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run.lock").read_text())["revisions"] == {"model": COMMIT}


DATA = {
    "data/train.csv": "text,label\n" + "".join(f"good film {i},1\nbad film {i},0\n" for i in range(12)),
    "data/test.csv": "text,label\ngood soup,1\nbad soup,0\n",
    "README.md": "---\nlicense: cc0-1.0\n---\n",
}


@pytest.fixture
def data_hub():
    """As ``hub``, with one data set, ``someone/reviews``: what ``datasets`` asks of a hub."""
    files = {name: text.encode() for name, text in DATA.items()}
    place = "/api/datasets/someone/reviews"

    def entry(name):
        digest = hashlib.sha1(files[name]).hexdigest()
        return {"type": "file", "path": name, "size": len(files[name]), "oid": digest}

    class Hub(HubHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            path = self.path.partition("?")[0]
            file = path.partition("/resolve/")[2].partition("/")[2]
            if path.startswith(f"{place}/tree/"):
                folder = path.removeprefix(f"{place}/tree/").partition("/")[2]
                listed = [entry(name) for name in files if name.rpartition("/")[0] == folder]
                listed += [] if folder else [{"type": "directory", "path": "data", "oid": "0" * 40}]
                self.answer(listed)
            elif path == place or path.startswith(f"{place}/revision/"):
                self.answer(about("someone/reviews", files, "cc0-1.0"))
            elif file in files:
                self.answer(files[file])
            else:
                self.miss("EntryNotFound")

    with serving(Hub) as server:
        yield server


@pytest.mark.slow
@pytest.mark.processes
def test_12_07_a_data_set_that_is_fetched_is_enough_offline(data_hub, run_cli, tiny_bert, tmp_path):
    config = tmp_path / "run.yaml"
    config.write_text(
        f"""
version: 1
task: text-classification
model: {{name: {tiny_bert}}}
data: {{source: "hub:someone/reviews", train: train, eval: test}}
train: {{steps: 1, batch_size: 8, learning_rate: 1e-3}}
runtime: {{device: cpu, threads: 1}}
output: {tmp_path / "r"}
"""
    )
    env = {
        "HF_HUB_OFFLINE": "0",
        "HF_ENDPOINT": data_hub.address,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_XET": "1",
    }
    done = run_cli("fetch", config, "--json", env=env)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["downloads"]
    assert (row["kind"], row["name"], row["licence"], row["here"]) == (
        "data",
        "someone/reviews",
        "cc0-1.0",
        True,
    )
    assert set(row["files"]) == set(DATA) and row["bytes"] == sum(map(len, DATA.values()))
    assert "\r" not in done.stderr
    count = len(data_hub.asked)
    done = run_cli("finetune", config, "--offline", "--json", env=env)
    assert done.returncode == 0 and len(data_hub.asked) == count, done.stderr
    assert json.loads(done.stdout)["status"] == "done"
    assert len((tmp_path / "r/predictions.jsonl").read_text().splitlines()) == 2


@pytest.mark.slow
@pytest.mark.processes
def test_12_07_all_that_cannot_be_had_is_told_at_once(hub, run_cli, reviews, tmp_path):
    spec = text_spec("someone/tiny", reviews, tmp_path / "r")
    (tmp_path / "a.yaml").write_text(dump_config(spec))
    (tmp_path / "b.yaml").write_text(dump_config(text_spec("someone/other", reviews, tmp_path / "q")))
    done = run_cli(
        "fetch", tmp_path / "a.yaml", tmp_path / "b.yaml", "--json", env={"HF_HOME": str(tmp_path)}
    )
    assert done.returncode == 6
    problems = json.loads(done.stdout)["error"]["problems"]
    assert [problem["where"] for problem in problems] == ["model someone/tiny", "model someone/other"]
    env = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "hf")}
    done = run_cli("fetch", tmp_path / "b.yaml", "--json", env=env)
    assert done.returncode == 6 and "the hub does not have it" in done.stdout


def test_12_05_a_check_without_what_is_to_be_downloaded_names_all_of_it(reviews, tmp_path, capsys):
    for name in ("tiny", "other"):
        spec = text_spec(f"someone/{name}", reviews, tmp_path / name)
        (tmp_path / f"{name}.yaml").write_text(dump_config(spec))
    configs = [str(tmp_path / f"{name}.yaml") for name in ("tiny", "other")]
    assert run(["check", *configs, "--data", "--offline", "--json"]) == 6
    answer = json.loads(capsys.readouterr().out)
    assert answer["error"]["exit_code"] == 6
    assert [p["where"] for p in answer["error"]["problems"]] == [
        "model 'someone/tiny'",
        "model 'someone/other'",
    ]
    more = ["--set", "data.source=hub:someone/reviews"]
    assert run(["check", configs[0], *more, "--data", "--offline"]) == 6
    told = capsys.readouterr().err
    assert "model 'someone/tiny'" in told and "data hub:someone/reviews" in told
    assert told.count("data hub:someone/reviews") == 1
    # What no download cures is the data's own exit code.
    (tmp_path / "bad.csv").write_text("text,label\nfine,7 of 9\n")
    more = ["--set", f"data.eval={tmp_path / 'bad.csv'}"]
    assert run(["check", configs[0], *more, "--data", "--offline"]) == 3
    told = capsys.readouterr().err
    assert "model 'someone/tiny'" in told and "7 of 9" in told


@pytest.mark.slow
def test_12_07_weights_of_torchvision_have_a_size_and_a_place(tmp_path, monkeypatch):
    monkeypatch.setenv("PTM_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    config = tmp_path / "run.yaml"
    config.write_text(
        "version: 1\ntask: image-classification\nmodel: {name: resnet18}\nteacher: {name: resnet34}\n"
        "data: {source: 'builtin:digits', train: train, eval: test}\n"
        "train: {epochs: 1, learning_rate: 0.1}\noutput: r\n"
    )
    student, teacher = needs([config])
    assert student.url.endswith("resnet18-f37072fd.pth") and 44e6 < student.bytes < 48e6
    assert not student.here and teacher.name.startswith("ResNet34_Weights")


def test_12_07_what_is_here_is_not_fetched():
    assert fetch_all([Download(kind="model", name="x/y", here=True)], None) == []


def test_12_07_a_commit_that_was_fetched_can_be_pinned(monkeypatch, tmp_path, reviews, capsys):
    def info(self, name, **_):
        return SimpleNamespace(siblings=(), card_data=None, sha=COMMIT)

    monkeypatch.setattr("ptm.base.network.reachable", lambda: True)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", info)
    config = tmp_path / "run.yaml"
    config.write_text(dump_config(text_spec("someone/tiny", reviews, tmp_path / "r")))
    (download,) = needs([config])
    assert download.pin == f"model.revision={COMMIT}"
    assert run(["fetch", str(config), "--list"]) == 0
    assert f"--set model.revision={COMMIT}" in capsys.readouterr().out
    (pinned,) = needs([config], [download.pin])  # as it was proposed
    assert pinned.revision == COMMIT and pinned.pin is None


def test_15_17_what_a_mirror_says_of_sizes_is_not_believed(monkeypatch):
    said = {
        "config.json": "x",
        "model.safetensors": -(10**30),
        "tokenizer.json": 7,
        None: 3,
        "vocab.txt": None,
    }
    siblings = [SimpleNamespace(rfilename=name, size=size) for name, size in said.items()]
    info = SimpleNamespace(siblings=siblings, card_data=None, sha=COMMIT)
    api = SimpleNamespace(model_info=lambda *names, **how: info, dataset_info=None)
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
    monkeypatch.setattr("ptm.base.network.reachable", lambda: True)
    download = described(Download(kind="model", name="someone/tiny"))
    assert download.bytes == 7 and download.commit == COMMIT


@pytest.mark.parametrize("name", ["model.safetensors", "1_Pooling/config.json"])
def test_15_09_what_is_downloaded_is_what_the_hub_says_it_is(monkeypatch, tmp_path, name):
    """Files in LFS lie under their SHA-256, which nobody compared with them: a page of a proxy's could stay."""
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots" / COMMIT
    blobs.mkdir()
    (snapshot / name).parent.mkdir(parents=True)

    def download(repository, file, revision):
        blob = blobs / hashlib.sha256(b"weights").hexdigest()
        blob.write_bytes(content)
        (snapshot / file).unlink(missing_ok=True)
        (snapshot / file).symlink_to(blob)
        return str(snapshot / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    wanted = Download(kind="model", name="someone/tiny", files=(name,), commit=COMMIT)
    content = b"weights"
    _fetch_files(wanted, Silent())
    content = b"a proxy"
    with pytest.raises(MissingDownload, match="is not what the hub says"):
        _fetch_files(wanted, Silent())
    assert not list(blobs.iterdir()), "the same command downloads it again"
    assert _wanted(
        ("config.json", "1_Pooling/config.json", "x/config.json", "model.safetensors"), wanted
    ) == (
        "config.json",
        "1_Pooling/config.json",
        "model.safetensors",
    )
