"""The workflows of docs/ci.md: they are YAML, and the shell steps in them do what the page says."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from helpers import image_spec
from ptm.cli.app import app
from ptm.config.load import dump_config

PAGE = Path(__file__).parents[1] / "docs" / "ci.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)
BLOCKS = [block for block in BLOCKS if "jobs:" in block or "script:" in block]


def jobs(block):
    """Name of a job → its shell steps, GitHub's or GitLab's."""
    content = yaml.safe_load(block)
    if "jobs" in content:
        return {
            name: [step["run"] for step in job["steps"] if "run" in step]
            for name, job in content["jobs"].items()
        }
    return {name: job["script"] for name, job in content.items()}


def commands(step):
    """The lines of a step, continued ones joined."""
    return [line for line in step.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What the workflows find in a clone: two configs, here tiny ones, and ``make setup``."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "configs").mkdir()
    for name in ("quickstart", "quickstart_images"):
        spec = image_spec(folder / "runs" / name, epochs=1, max_train_examples=32, max_eval_examples=24)
        (folder / "configs" / f"{name}.yaml").write_text(dump_config(spec))
    (folder / "Makefile").write_text("setup:\n\ttouch installed\n")
    return folder


def train_ahead(words):
    """All runs of a batch, but the very first one: it finds them finished, and starts no process for them."""
    output, seeds = (words[words.index(option) + 1] for option in ("--output", "--seeds"))
    runs = [(word, seed) for word in words if word.endswith(".yaml") for seed in seeds.split(",")]
    first = not Path(output).parent.exists()
    for config, seed in runs[first:]:
        place = Path(output) / Path(config).stem / f"seed-{seed}"
        if not place.exists():
            changes = [f"train.seed={seed}", f"output={place.absolute()}"]
            invoke(["finetune", config, *(word for change in changes for word in ("--set", change))])


def invoke(words):
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, (words, done.output)


@pytest.mark.slow
@pytest.mark.processes
def test_12_11_the_steps_of_all_workflows_run(clone, monkeypatch):
    monkeypatch.chdir(clone)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(clone / "step_summary.md"))
    steps = [(name, step) for block in BLOCKS for name, steps in jobs(block).items() for step in steps]
    assert list(dict.fromkeys(name for name, _ in steps)) == ["models", "gate", "nightly"]
    for _, step in steps:
        for line in commands(step):
            words = shlex.split(line.replace("--seeds 1,2,3", "--seeds 1,2"))  # a seed less is as good a test
            if words[0] != ".venv/bin/ptm":
                subprocess.run(["bash", "-euc", line], check=True)
                continue
            if words[1] == "batch":
                train_ahead(words)
            invoke(words[1:])
    made = ("installed", "junit.xml", "summary.md", "step_summary.md", "difference.html")
    assert all((clone / name).exists() for name in made)
    summary = (clone / "summary.md").read_text()
    assert summary.count("| finished |") == 4, summary
    for config in ("quickstart", "quickstart_images"):
        assert len(list((clone / "runs" / "main" / config).glob("seed-*/results.json"))) == 2


def test_12_11_nobody_is_told_to_install_a_package_of_that_name():
    assert not re.search(r"pip install ptm\b", PAGE.read_text(encoding="utf-8"))


def test_12_11_every_block_is_a_workflow_whose_files_are_known_to_it():
    assert len(BLOCKS) == 3
    for block in BLOCKS:
        for steps in jobs(block).values():
            configs = re.findall(r"configs/\w+\.yaml", " ".join(steps))
            assert configs and all((PAGE.parents[1] / config).is_file() for config in configs)


def test_13_07_the_examples_for_clusters_can_be_read():
    """docs/scale.md: a script of Slurm that the shell takes, objects of Kubernetes; both start torchrun."""
    text = (PAGE.parent / "scale.md").read_text(encoding="utf-8")
    (script,) = (block for block in re.findall(r"```bash\n(.*?)```", text, flags=re.S))
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).stderr == ""
    (objects,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.S)
    service, job = yaml.safe_load_all(objects)
    assert (service["kind"], job["kind"]) == ("Service", "Job")
    pod = job["spec"]["template"]["spec"]
    started = [script, pod["containers"][0]["args"][0]]
    for command in started:
        assert "-m ptm finetune /shared/run.yaml --resume" in command and "--master-addr" in command
    # The first pod of an indexed job is found under its own name at the service.
    name, service_name = job["metadata"]["name"], service["metadata"]["name"]
    assert f"--master-addr {name}-0.{service_name} " in started[1] and pod["subdomain"] == service_name
    assert f"--nnodes {job['spec']['completions']} " in started[1]
    assert {mount["name"] for mount in pod["containers"][0]["volumeMounts"]} == {
        v["name"] for v in pod["volumes"]
    }
