"""``ptm push`` and the card for a hub, against a hub that is served here."""

import base64
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from helpers import copy_of
from hub_samples import COMMIT, HubHandler, serving
from ptm.base.files import seal
from ptm.cli.app import app, run
from ptm.errors import ConfigError
from ptm.experiment.push import plan_push
from ptm.models.seals import require_intact

pytestmark = pytest.mark.slow  # trains, once a session


@pytest.fixture
def hub(monkeypatch):
    """A hub that takes everything; ``hub.received``: name → content; ``hub.refuse``: a status instead."""

    class Hub(HubHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            server.asked.append(self.path)
            if server.refuse:
                self.answer({"error": "no"}, server.refuse)
            elif self.path == "/api/repos/create":
                server.created = json.loads(body)
                self.answer({"url": f"{server.address}/me/reviews"})
            elif self.path.endswith("/preupload/main"):
                names = [file["path"] for file in json.loads(body)["files"]]
                self.answer(
                    {
                        "files": [
                            {"path": n, "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                            for n in names
                        ]
                    }
                )
            elif self.path.endswith("/commit/main"):
                for line in map(json.loads, body.splitlines()):
                    if line["key"] == "file":
                        server.received[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
                self.answer(
                    {"commitOid": COMMIT, "commitUrl": f"{server.address}/me/reviews/commit/{COMMIT}"}
                )
            else:
                self.answer({})

        def do_GET(self):
            server.asked.append(self.path)
            self.answer({"error": "no"}, server.refuse or 404)

    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    for name in ("PTM_OFFLINE", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    with serving(Hub) as server:
        server.received, server.refuse, server.created = {}, 0, None
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


def is_private(created):
    """Of a repository that was asked for; clients before 2.0 of the hub say it by another name."""
    return created.get("visibility") == "private" or created.get("private") is True


def pushed(*words):
    done = CliRunner().invoke(app, ["push", *map(str, words), "--to", "me/reviews", "--json"])
    assert done.exit_code == 0, done.exception
    return json.loads(done.stdout)


def test_14_06_a_run_is_sent_as_a_stranger_loads_it(hub, reviews_run, tmp_path):
    listed = pushed(reviews_run, "--licence", "mit", "--dry-run")
    assert listed["sent"] is None and hub.asked == []
    names = {file["name"] for file in listed["files"]}
    model = {path.name for path in (reviews_run / "model").iterdir()}
    assert names == model | {"README.md"}
    assert listed["bytes"] == sum(file["bytes"] for file in listed["files"])

    done = pushed(reviews_run, "--licence", "mit")
    assert done["sent"].endswith(COMMIT) and is_private(hub.created)
    assert hub.received.keys() == names
    for name in model:
        assert hub.received[name] == (reviews_run / "model" / name).read_bytes()
    card = hub.received["README.md"].decode()
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["license"] == "mit" and head["pipeline_tag"] == "text-classification"
    (result,) = head["model-index"][0]["results"]
    metrics = json.loads((reviews_run / "results.json").read_text())["metrics"]
    assert {m["type"]: m["value"] for m in result["metrics"]} == pytest.approx(metrics, abs=1e-6)
    assert 'model="me/reviews"' in card and "base_model" not in head
    # Neither where the data nor where the run stood.
    for content in hub.received.values():
        assert str(reviews_run.parent).encode() not in content
        assert b"/tmp/" not in content
    # What was sent is a whole model for ptm as well.
    for name, content in hub.received.items():
        (tmp_path / name).write_bytes(content)
    require_intact(tmp_path)


def test_14_06_of_an_export_a_program_and_its_graph_are_sent(hub, exported_reviews):
    pushed(exported_reviews, "--public", "--include", "export.json")
    assert not is_private(hub.created)
    assert {"model.onnx", "predict.py", "settings.json", "requirements.txt", "model/tokenizer.json"} <= set(
        hub.received
    )
    # It was named: as it is.
    assert hub.received["export.json"] == (exported_reviews / "export.json").read_bytes()
    assert not {"config.yaml", "manifest.json"} & set(hub.received)
    head = yaml.safe_load(hub.received["README.md"].decode().split("---\n")[1])
    accuracy = json.loads((exported_reviews / "export.json").read_text())["after"]["metrics"]["accuracy"]
    values = {m["type"]: m["value"] for m in head["model-index"][0]["results"][0]["metrics"]}
    assert values["accuracy"] == pytest.approx(accuracy, abs=1e-6)


@pytest.mark.parametrize(("status", "words"), [(401, "hf auth login"), (404, "--to"), (500, "try again")])
def test_14_06_what_the_hub_refuses_is_one_message(hub, reviews_run, status, words, capsys):
    hub.refuse = status
    assert run(["push", str(reviews_run), "--to", "me/reviews", "--quiet"]) == 6
    said = capsys.readouterr().err
    assert "me/reviews: the hub refuses" in said and words in said and "Traceback" not in said


def test_14_06_without_a_network_nothing_is_tried(hub, reviews_run, monkeypatch, capsys):
    monkeypatch.setenv("PTM_OFFLINE", "1")
    assert run(["push", str(reviews_run), "--to", "me/reviews"]) == 2
    assert "--dry-run" in capsys.readouterr().err
    monkeypatch.delenv("PTM_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert run(["push", str(reviews_run), "--to", "me/reviews"]) == 6
    assert "cannot be reached" in capsys.readouterr().err
    assert hub.asked == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: (r / "results.json").unlink(), "not a finished run"),
        (lambda r: (r / "manifest.json").write_text("{"), "manifest.json"),
        (lambda r: (r / "model" / "config.json").write_text("{}"), "the model is damaged"),
    ],
)
def test_14_06_a_run_that_is_not_whole_is_refused(hub, reviews_run, tmp_path, spoil, words, capsys):
    copy_of(reviews_run, tmp_path / "r")
    spoil(tmp_path / "r")
    assert run(["push", str(tmp_path / "r"), "--to", "me/reviews"]) in (2, 3)
    assert words in capsys.readouterr().err
    assert hub.asked == []


def test_14_06_paths_of_this_machine_are_refused_unless_the_file_is_named(reviews_run, tmp_path, capsys):
    from ptm.base import files

    copy_of(reviews_run, tmp_path / "r")
    (tmp_path / "r" / "model" / "notes.txt").write_text(f"from {tmp_path}/secret data.csv")
    files.seal(tmp_path / "r" / "model")
    words = ["push", str(tmp_path / "r"), "--to", "me/reviews", "--dry-run"]
    assert run(words) == 3
    said = capsys.readouterr().err
    assert "notes.txt: names a place of this machine" in said
    cure = said.split("--include ")[1].split()[0]
    assert run([*words, "--include", cure, "--json"]) == 0
    assert "notes.txt" in {file["name"] for file in json.loads(capsys.readouterr().out)["files"]}


def test_15_01_only_what_ptm_wrote_is_sent(reviews_run, exported_reviews, tmp_path, capsys):
    """What lies beside the files of a model is somebody's own: keys, notes; also where a seal lists it."""
    for source, folder in ((reviews_run, "model"), (exported_reviews, ".")):
        target = copy_of(source, tmp_path / folder.replace(".", "export"))
        before = {upload.name for upload in plan_push(target, "me/reviews", licence=None).uploads}
        place = target / folder
        for name in (".env", ".git/config", "notes.txt", "deep/key.pem"):
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text("secret")
        plan = plan_push(target, "me/reviews", licence=None)
        assert {upload.name for upload in plan.uploads} == before
        names = {Path(name).name for name in plan.left_behind}
        assert names == {".env", "config", "notes.txt", "key.pem"}
        seal(place)
        assert not {"deep/key.pem", ".env", ".git/config"} & {
            upload.name for upload in plan_push(target, "me/reviews", licence=None).uploads
        }
        named = plan_push(target, "me/reviews", licence=None, include=[f"{folder}/deep"])
        assert any(upload.name.endswith("key.pem") for upload in named.uploads)
        (tmp_path / "mine").mkdir(exist_ok=True)
        (tmp_path / "mine" / "id_rsa").write_text("secret")
        (target / "link").symlink_to(tmp_path / "mine")
        for name in ("link/id_rsa", "./link/./id_rsa", "link"):
            with pytest.raises(ConfigError, match="is no file or folder of it"):
                plan_push(target, "me/reviews", licence=None, include=[name])
