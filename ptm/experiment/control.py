"""A distillation and its control: the same student, order of examples, seeds and budget, with and without a teacher.

``OUTPUT/distilled-SEED`` and ``OUTPUT/control-SEED`` are ordinary runs, each with all that a run leaves;
``OUTPUT/verdict.json`` compares them, and every distilled run's results.json and report carry the verdict.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ptm.base import files
from ptm.base.console import Reporter
from ptm.base.regular import read_bytes
from ptm.config.load import dump_config
from ptm.config.spec import RunSpec
from ptm.errors import Interrupted, PtmError, RunDirectoryError, first_line
from ptm.experiment.comparison import Measure, measure_of, paired_scores, require_metric
from ptm.experiment.train import run_training
from ptm.experiment.verdict import PairedScores, compare
from ptm.report.page import write_report
from ptm.run.directory import RunDirectory
from ptm.run.manifest import Manifest, flat
from ptm.run.opening import Mode, read_finished
from ptm.run.ownership import (
    OVERWRITING,
    input_paths,
    is_run,
    refuse_foreign_distillation,
    refuse_inputs_below,
)
from ptm.run.predictions import read_predictions
from ptm.run.results import Judged, write_results
from ptm.run.saved_config import CURE_KEYS, differing_keys, saved_config
from ptm.training.runtime import environment_ranks

ARMS = ("distilled", "control")


def run_with_control(
    spec: RunSpec, seeds: Sequence[int], *, mode: Mode, reporter: Reporter, allow_drift: bool = False
) -> dict[str, Any]:
    """Both arms for every seed, then the verdict, which is also written. Arms that are finished are not run again
    with ``resume``, unless they are left from a comparison that was being overwritten. Bounds of ``expect:`` that are
    missed stand in ``runs`` of the verdict."""
    measure_of(spec)  # before anything is trained
    output = Path(spec.output)
    if is_run(output):
        raise RunDirectoryError(
            "holds a run, not a distillation with its control", where=output, cure="choose another --output"
        )
    refuse_foreign_distillation(output)
    if mode == "overwrite" or (output / OVERWRITING).exists():
        # Of both arms before either begins: a control has no teacher, and would delete the one of the other.
        refuse_inputs_below(output, tuple(input_paths(spec)))
    with _overwriting(spec, seeds, mode):
        for seed in seeds:
            for arm in ARMS:
                reporter.say(f"--- {arm}, seed {seed}")
                now: Mode = "overwrite" if _left_over(spec, f"{arm}-{seed}", mode) else mode
                run_training(arm_spec(spec, arm, seed), mode=now, reporter=reporter, allow_drift=allow_drift)
    verdict = read_verdict(spec, seeds)
    if environment_ranks()[0] == 0:
        refuse_foreign_distillation(output)  # put there meanwhile
        (output / OVERWRITING).unlink(missing_ok=True)
        files.write_json(output / "verdict.json", verdict)
        for seed in seeds:
            _add_to_results(output / f"distilled-{seed}", verdict, seed)
    return verdict


@contextmanager
def _overwriting(spec: RunSpec, seeds: Sequence[int], mode: Mode) -> Iterator[None]:
    """With ``overwrite``, write down which arms are the old ones, for a kill may leave some of them.

    Their records are replaced when they begin anew; until all have, ``--resume`` overwrites those that have not. Where
    nothing could begin, nothing is overwritten, then or later.
    """
    note, names = Path(spec.output) / OVERWRITING, [f"{arm}-{seed}" for seed in seeds for arm in ARMS]
    old = {name: _record(spec, name) for name in names if mode == "overwrite"}
    writes = environment_ranks()[0] == 0 and any(old.values())
    if writes:
        files.write_json(note, {"config": dump_config(spec), "arms": old})
    try:
        yield
    except PtmError as error:
        if (
            writes
            and not isinstance(error, Interrupted)
            and old == {name: _record(spec, name) for name in names}
        ):
            note.unlink(missing_ok=True)
        raise


def _left_over(spec: RunSpec, name: str, mode: Mode) -> bool:
    """Whether an arm is one that this same comparison was to overwrite when it was stopped."""
    if mode != "resume":
        return False
    try:
        content = json.loads(read_bytes(Path(spec.output) / OVERWRITING))
        recorded, config = content["arms"][name], str(content["config"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    same = set(differing_keys(config, dump_config(spec))) <= set(CURE_KEYS)
    return same and recorded is not None and recorded == _record(spec, name)


def _record(spec: RunSpec, name: str) -> str | None:
    """SHA-256 of an arm's manifest.json; None where there is none."""
    try:
        return hashlib.sha256(read_bytes(RunDirectory(Path(spec.output) / name).manifest)).hexdigest()
    except OSError:
        return None


def arm_spec(spec: RunSpec, arm: str, seed: int) -> RunSpec:
    """The spec of one of the two runs; it can be run again by itself."""
    changed = replace(
        spec, output=str(Path(spec.output) / f"{arm}-{seed}"), train=replace(spec.train, seed=seed)
    )
    assert spec.distill is not None
    if arm == "control":
        # The student's views, so that only the teacher is missing, and what only a teacher has an answer to.
        data = replace(spec.data, views=spec.distill.views, unlabelled=None)
        return replace(changed, teacher=None, distill=None, data=data, expect={})
    return replace(changed, distill=replace(spec.distill, control=False))


def read_verdict(spec: RunSpec, seeds: Sequence[int]) -> dict[str, Any]:
    """The comparison of finished runs, from their predictions."""
    output = Path(spec.output)
    results = RunDirectory(output / f"{ARMS[0]}-{seeds[0]}").read_results()
    measure = measure_of(spec, results.labels if results else ())
    pairs = [_pair(spec, measure, seed) for seed in seeds]
    _require_same_inputs(output, seeds)
    runs = {f"{arm}-{seed}": _outline(output / f"{arm}-{seed}") for seed in seeds for arm in ARMS}
    verdict = compare(
        pairs, metric=measure.metric, things=measure.things, higher_is_better=measure.higher_is_better
    )
    split = _judged_split([RunDirectory(output / name) for name in runs])
    return {**verdict, "split": split, "runs": runs}


def _require_alike(output: Path, seed: int, *, may_stop_early: bool, unlabelled: bool) -> None:
    """Raise RunDirectoryError for arms that differ in how they were trained, in length for instance."""
    runs = [RunDirectory(output / f"{arm}-{seed}") for arm in ARMS]
    keys = differing_keys(*(saved_config(run.config) for run in runs))
    differing = [key for key in keys if not key.startswith(_OF_TEACHING)]
    manifests = [_read_record(run) for run in runs]
    if manifests[0].extended != manifests[1].extended:
        differing.append("epochs added to a finished run")
    # With --allow-drift a config may have changed when a part, or all, of an arm was trained already.
    drift = [{change for change in manifest.drift if _is_of_training(change)} for manifest in manifests]
    differing += sorted(drift[0] ^ drift[1])
    differing += _other_inputs(manifests, with_unlabelled=unlabelled)
    results = [run.read_results() for run in runs]
    steps = [each.train.steps if each is not None and each.train else None for each in results]
    if steps[0] != steps[1] and not may_stop_early:
        differing.append(f"{steps[0]} steps and {steps[1]}")
    if differing:
        raise RunDirectoryError(
            f"the two arms of seed {seed} were not trained alike: {', '.join(differing)}",
            where=output,
            expected="arms that differ in the teacher alone",
            cure="train both anew: --control --overwrite",
        )


def _require_same_inputs(output: Path, seeds: Sequence[int]) -> None:
    """Raise RunDirectoryError where data or teachers changed between two seeds: their gains are then not
    of one experiment. Arms of a seed that are finished are not trained again."""
    first, *others = (_read_record(RunDirectory(output / f"{ARMS[0]}-{seed}")) for seed in seeds)
    for seed, other in zip(seeds[1:], others, strict=True):
        before, now = (flat({"digests": asdict(each.digests)}) for each in (first, other))
        # Not the student's weights: a new head is drawn by the seed. Nor what reads the inputs: masks are, too.
        inputs = ("digests.data.", "digests.weights.teacher")
        names = [
            name for name in before if name.startswith(inputs) and before[name] != now.get(name, before[name])
        ]
        if names:
            raise RunDirectoryError(
                f"seeds {seeds[0]} and {seed} are not of one experiment: {', '.join(names)}",
                where=output,
                expected="seeds of the same data and teachers",
                cure="put back what changed, or train all anew: --control --overwrite",
            )


def _read_record(run: RunDirectory) -> Manifest:
    """What an arm was made of. Raises RunDirectoryError where nothing says it."""
    manifest = run.read_manifest()
    if manifest is None:
        raise RunDirectoryError(
            "is missing or damaged, so nothing says what this arm was made of",
            where=run.manifest,
            expected="arms that differ in the teacher alone",
            cure="restore the file, or train both anew: --control --overwrite",
        )
    return manifest


def _other_inputs(manifests: Sequence[Manifest], *, with_unlabelled: bool) -> list[str]:
    """What the records say that the arms were made of, where it differs: a finished arm is not trained again when its
    data or its first weights have changed, and the other one is. ``with_unlabelled``: one arm has more in its train."""
    distilled, control = (flat(asdict(each.digests)) for each in manifests)
    if with_unlabelled:
        labelled = distilled.pop("data.train_labelled", None)
        distilled = {**distilled, "data.train": labelled or control.get("data.train")}
    inputs = ("data.", "weights.model", "models.model")
    names = [name for name in control if name in distilled and name.startswith(inputs)]
    return [f"digests.{name}" for name in names if distilled[name] != control[name]]


# By what the two arms may differ: the teacher and what only it has an answer to, and what changes no answer.
_OF_TEACHING = ("teacher", "distill", "data.views", "data.unlabelled", "expect")
_OF_EVALUATION = tuple(
    f"{start}{split}" for start in ("data.", "data.max_", "digests.data.") for split in ("eval", "test")
)
# What may change between two parts of an arm and not of the other: besides that the machine, and versions.
_ASIDE = ("digests.weights.teacher", "digests.models.teacher", "hardware.", "packages.", "python", "runtime.")


def _is_of_training(change: str) -> bool:
    return not change.startswith((*_OF_TEACHING, *_OF_EVALUATION, *_ASIDE, *CURE_KEYS))


def _pair(spec: RunSpec, measure: Measure, seed: int) -> PairedScores:
    output = Path(spec.output)
    _require_alike(
        output,
        seed,
        may_stop_early=spec.train.early_stopping is not None,
        unlabelled=spec.data.unlabelled is not None,
    )
    runs = [RunDirectory(output / f"{arm}-{seed}") for arm in ARMS]
    split = _judged_split(runs)
    try:
        if problem := next(filter(None, (run.damaged_predictions(split) for run in runs)), None):
            raise ValueError(f"{problem} since the results were written")
        distilled, control = (read_predictions(run.predictions_of(split)) for run in runs)
        pair = paired_scores(measure, distilled, control, seed)
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise RunDirectoryError(
            f"predictions of an arm cannot be read: {first_line(error)}",
            where=output,
            cure=f"restore {runs[0].predictions_of(split).name} of both arms, or run them again with --overwrite",
        ) from None
    if pair is None:
        raise RunDirectoryError("the two arms were evaluated on different examples", where=output)
    for run, value in zip(runs, pair.values, strict=True):
        require_metric(measure, value, read_finished(run.path), run, split)
    return pair


def _judged_split(runs: Sequence[RunDirectory]) -> Judged:
    """The arms read the same data, so that both have a test, or none."""
    tested = all((results := run.read_results()) is not None and results.test is not None for run in runs)
    return "test" if tested else "eval"


def _outline(run: Path) -> dict[str, Any]:
    content = read_finished(run).as_dict()
    return {key: content[key] for key in ("metrics", "test", "train", "model", "expect")}


def _add_to_results(run: Path, verdict: dict[str, Any], seed: int) -> None:
    name = f"control-{seed}"
    control = {key: value for key, value in verdict["runs"][name].items() if key != "expect"}
    comparison = {key: value for key, value in verdict.items() if key != "runs"}
    results = replace(read_finished(run), verdict=comparison, control={"run": f"../{name}", **control})
    write_results(RunDirectory(run).results, results)
    write_report(run)
