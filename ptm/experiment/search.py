"""``ptm batch --search``: trials of a search are runs of a batch; the study is a file beside them, and goes on.

Optuna proposes (random, or TPE: Bergstra et al., NIPS 2011), :mod:`ptm.experiment.batch` runs. Trial n is proposed by a
sampler that is seeded by ``train.seed`` and n, from the trials that have ended: a search that was stopped goes on as it
would have.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ptm.base import files
from ptm.base.extras import require_package
from ptm.base.regular import NotRegular, kind_of, kind_to_write, open_regular
from ptm.config.evaluation import best_mode
from ptm.config.load import dump_config, load_config
from ptm.config.spec import RunSpec
from ptm.errors import ConfigError, StorageError
from ptm.experiment.batch import Outcome, Watcher, run_batch
from ptm.experiment.batch_plan import (
    BatchPlan,
    Job,
    base_output,
    plan_batch,
    refuse_links,
    split_values,
    stem_of,
)
from ptm.run.opening import refuse_inside_run

Sampler = Literal["tpe", "random"]
STUDY = "study.jsonl"
STUDY_NAME = "ptm"  # what optuna knows it by, in the first line of the file
_LONGEST_LINE = 100_000
_DIGITS = 4  # significant digits of a proposed number, as the config has it


@dataclass(frozen=True, kw_only=True)
class Space:
    """The values of one key: ``choices``, or numbers from ``low`` to ``high``, evenly or by their logarithm."""

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched, in how many trials, proposed by which sampler."""

    spaces: tuple[Space, ...]
    trials: int
    sampler: Sampler = "tpe"


def parse_space(text: str) -> Space:
    """``train.learning_rate=1e-5..1e-3:log``, ``train.batch_size=8..64``, ``train.scheduler=linear,cosine``.

    Both ends of a range written as whole numbers make whole numbers. Raises ConfigError.
    """
    key, _, values = (part.strip() for part in text.partition("="))
    low, dots, rest = values.partition("..")
    if dots:
        high, colon, scale = rest.partition(":")
        whole = all(_is_whole(end.strip()) for end in (low, high))
        try:
            ends = float(low), float(high)
        except ValueError:
            ends = (0.0, 0.0)
        log = scale.strip() == "log"
        fits = -math.inf < ends[0] < ends[1] < math.inf and (not log or ends[0] > 0) and (log or not colon)
        if key and fits:
            return Space(key=key, low=ends[0], high=ends[1], whole=whole, log=log)
    else:
        choices = tuple(split_values(values))
        if key and len(choices) > 1 and all(choices) and len(set(choices)) == len(choices):
            return Space(key=key, choices=choices)
    raise ConfigError(
        f"{text!r} is no space to search",
        where="--search",
        expected="train.learning_rate=1e-5..1e-3:log (above 0), train.epochs=1..5, or train.scheduler=linear,cosine",
    )


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


def run_search(
    config: Path,
    search: Search,
    watcher: Watcher,
    *,
    changes: Sequence[str] = (),
    seeds: Sequence[int] = (),
    output: str | None = None,
    at_once: int = 1,
    keep_going: bool = True,
    options: Sequence[str] = (),
) -> tuple[BatchPlan, tuple[Outcome, ...], dict[str, Any]]:
    """Run trials until there are so many, ``at_once`` side by side: jobs, what came of them, and the search as JSON.

    With ``seeds`` a trial is a run a seed and its value their mean. Finished trials are not run again, interrupted ones
    are resumed. Raises ConfigError, also for a study of another search in that place.
    """
    require_package("optuna", "search")
    spec = load_config(config, changes)
    metric = spec.best.metric if spec.best is not None else spec.evaluation.headline
    _refuse_clashes(search, changes)
    folder = base_output(config, spec, output)
    study = _open(folder, _identity(spec, search, metric, seeds), best_mode(metric))
    jobs: list[Job] = []
    outcomes: list[Outcome] = []
    number = 0
    while number < search.trials:
        trials: list[Any] = []
        while len(trials) < at_once and number + len(trials) < search.trials:
            trials.append(_trial(study, number + len(trials), search, spec.train.seed))
        number += len(trials)
        plans = [_plan(config, trial, folder, changes, seeds) for trial in trials]
        plan = BatchPlan(jobs=tuple(job for each in plans for job in each.jobs), faults=())
        ended = run_batch(plan, watcher, at_once=at_once, keep_going=keep_going, options=options)
        jobs += plan.jobs
        outcomes += ended
        for trial, each in zip(trials, plans, strict=True):
            _tell(study, trial, [o for o in ended if o.job in each.jobs], metric)
        if any(outcome.status in ("stopped", "not run") for outcome in ended) or (
            not keep_going and any(outcome.exit_code for outcome in ended)
        ):
            break
    return BatchPlan(jobs=tuple(jobs), faults=()), tuple(outcomes), _record(study, search, metric, folder)


def _refuse_clashes(search: Search, changes: Sequence[str]) -> None:
    keys = [space.key for space in search.spaces]
    for key in keys:
        if keys.count(key) > 1:
            raise ConfigError(f"{key} stands twice", where="--search", cure="name its space once")
        if any(change.partition("=")[0].strip() == key for change in changes):
            raise ConfigError(f"{key} is set and searched", where="--search", cure="leave out one of them")


def _identity(spec: RunSpec, search: Search, metric: str, seeds: Sequence[int]) -> str:
    """SHA-256 of what decides the proposals; the number of trials may grow."""
    parts = (
        dump_config(replace(spec, output=".")),
        repr(search.spaces),
        search.sampler,
        metric,
        repr(list(seeds)),
    )
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _require_study_place(folder: Path) -> None:
    """Raise RunDirectoryError for a folder that is, or lies in, a run; ConfigError and StorageError where something
    else than a study stands in its place: optuna would write into it, through a link as well."""
    refuse_inside_run(folder / STUDY)
    file = folder / STUDY
    lock = folder / f"{STUDY}.lock"  # optuna's, which asks for ever after a link that leads nowhere
    with files.storage_errors(lock):
        if (kind := kind_of(lock)) is not None:
            raise NotRegular(kind)
        if lock.exists() and lock.stat().st_size:  # optuna's is empty; it removes one that stays
            raise ConfigError(
                "holds what ptm did not write there", where=lock, cure="choose another --output"
            )
    try:
        with files.storage_errors(file):
            if (kind := kind_to_write(file)) is not None:
                raise NotRegular(kind)
            with open_regular(file) as opened:
                begin = opened.readline(_LONGEST_LINE)
        if not begin or json.loads(begin).get("study_name") == STUDY_NAME:  # not a study of somebody's own
            return
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    except StorageError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return
        raise
    raise ConfigError("holds what ptm did not write there", where=file, cure="choose another --output")


def _drop_torn_line(file: Path) -> None:
    """Cut off a last line that was not written to its end: optuna would write its next one behind it. Raises
    StorageError."""
    with files.storage_errors(file):
        if not file.exists():
            return
        with open_regular(file, "r+b") as opened:
            content: bytes = opened.read()
            if content and not content.endswith(b"\n"):
                opened.truncate(content.rfind(b"\n") + 1)


def _open(folder: Path, identity: str, mode: str) -> Any:
    _require_study_place(folder)
    _drop_torn_line(folder / STUDY)
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / STUDY
    try:
        storage = JournalStorage(JournalFileBackend(str(file), lock_obj=JournalFileOpenLock(str(file))))
        study = optuna.create_study(
            storage=storage,
            study_name=STUDY_NAME,
            direction="maximize" if mode == "max" else "minimize",
            load_if_exists=True,
        )
        for trial in study.get_trials(deepcopy=False):
            if trial.values is not None and [type(value) for value in trial.values] != [float]:
                raise ValueError(f"trial {trial.number} has {str(trial.values)[:40]} as its value")
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError) as error:
        cure = "choose another --output, or remove the folder"
        raise ConfigError(f"is damaged: {type(error).__name__}: {error}", where=file, cure=cure) from None
    known = study.user_attrs.get("identity")
    if known is None:
        study.set_user_attr("identity", identity)
    elif known != identity:
        raise ConfigError(
            "holds a study of another search: other config, spaces, sampler or seeds",
            where=file,
            cure="choose another --output, or remove the folder",
        )
    return study


def _trial(study: Any, number: int, search: Search, seed: int) -> Any:
    """Trial ``number``: the one that is there, or a new one that is proposed."""
    import optuna

    present = study.get_trials(deepcopy=False)
    if number < len(present):
        trial = present[number]
        # Of a study that was received, they would go into commands as they are.
        changes = trial.user_attrs.get("changes")
        if not isinstance(changes, Mapping) or set(changes) != {space.key for space in search.spaces}:
            what = f"trial {number + 1} of the study changes other keys than are searched"
            raise ConfigError(what, where=STUDY, cure="choose another --output, or remove the folder")
        return trial
    kinds = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    study.sampler = kinds[search.sampler](seed=(seed + number) % 2**32)
    trial = study.ask()
    values = {space.key: _propose(trial, space) for space in search.spaces}
    trial.set_user_attr("changes", values)
    return study.get_trials(deepcopy=False)[number]


def _propose(trial: Any, space: Space) -> str:
    """A value as ``--set`` writes it."""
    if space.choices:
        return str(trial.suggest_categorical(space.key, list(space.choices)))
    if space.whole:
        return str(trial.suggest_int(space.key, int(space.low), int(space.high), log=space.log))
    value = trial.suggest_float(space.key, space.low, space.high, log=space.log)
    return f"{min(max(float(f'{value:.{_DIGITS}g}'), space.low), space.high):.{_DIGITS}g}"


def _plan(config: Path, trial: Any, folder: Path, changes: Sequence[str], seeds: Sequence[int]) -> BatchPlan:
    """The runs of a trial, in ``trial-0007`` of the folder. Raises ConfigError for what the config does not take."""
    values: Mapping[str, str] = trial.user_attrs["changes"]
    name = f"trial-{trial.number + 1:04d}"
    own = [*changes, *(f"{key}={value}" for key, value in values.items())]
    refuse_links(folder, [name])
    own.append(f"output={json.dumps(str(folder / name))}")
    plan = plan_batch([config], seeds=seeds, changes=own)
    if plan.faults:
        raise ConfigError(plan.faults[0].problems)
    named = (
        replace(job, name=f"{name}{job.name.removeprefix(stem_of(config))}", grid=values) for job in plan.jobs
    )
    return BatchPlan(jobs=tuple(named), faults=())


def _tell(study: Any, trial: Any, outcomes: Sequence[Outcome], metric: str) -> None:
    """The value of a trial, where it has ended and the study does not know it."""
    from optuna.trial import TrialState

    if trial.state.is_finished():
        return
    if any(outcome.status in ("stopped", "not run") for outcome in outcomes):
        return  # it goes on with the next call
    values = [
        outcome.eval_metrics[metric]  # a test is for judging what was chosen
        for outcome in outcomes
        if outcome.eval_metrics is not None and metric in outcome.eval_metrics
    ]
    if len(values) < len(outcomes) or not values:
        study.tell(trial.number, state=TrialState.FAIL)
    else:
        study.tell(trial.number, sum(values) / len(values))


def _record(study: Any, search: Search, metric: str, folder: Path) -> dict[str, Any]:
    from optuna.trial import TrialState

    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = study.best_trial if done else None
    return {
        "study": str(folder / STUDY),
        "sampler": search.sampler,
        "metric": metric,
        "trials": len(study.get_trials(deepcopy=False)),
        "complete": len(done),
        "best": best
        and {
            "trial": best.number + 1,
            "value": best.value,
            "changes": best.user_attrs["changes"],
            "output": str(folder / f"trial-{best.number + 1:04d}"),
        },
    }
