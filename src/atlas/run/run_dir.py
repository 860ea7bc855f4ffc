"""The run directory: the contract between stages, and the memory of what is done.

::

    runs/quickstart/
      run.json            layout_version, kind, created_at, atlas_version, command, environment
      config.yaml         resolved
      metrics.jsonl       training.log    tensorboard/
      stages/sft.json     one file per finished stage
      rollouts/           checkpoints/    final/    trainer_state.json    lineage.json
      prompts/            what student and teacher were asked
      eval/               report.html
      sft/  grpo/         run directories of their own
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import atlas
from atlas.errors import AtlasError
from atlas.json_file import read_json
from atlas.masking import mask_secrets
from atlas.prompts import FOLDER as PROMPTS
from atlas.run.environment import environment_now
from atlas.run.files import append_line, disk_errors, in_use, open_lock, try_lock, write_atomic
from atlas.run.lineage import FILE as LINEAGE
from atlas.run.progress import Progress

LAYOUT_VERSION = 1
"""Of the folders and files named above. It rises when an older run can no longer be read."""

_LOCK = ".lock"
_EARLIER = ".earlier"
"""Where ``fresh`` puts an earlier run, until the new one has done something in its place."""
_KEPT = "student_alone"
"""Answers that took long to get, and are keyed by all that they depend on: other settings may use
them, too."""
_SET_UP = frozenset(
    {
        *("run.json", "config.yaml", "settings.json", "inputs.json", "training.log"),
        *("held_out.jsonl", LINEAGE, PROMPTS),
    }
)
"""What is written before the first step."""


class Place:
    """Where something is in a run directory."""

    def __init__(self, *names: str) -> None:
        self._names = names

    def __get__(self, run: RunDir, owner: type[RunDir]) -> Path:
        return run.path.joinpath(*self._names)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunDir:
    """A folder that belongs to one run of one kind of job."""

    path: Path
    kind: str
    """The job: ``quickstart``, ``sft``, ``grpo``, ``base_model``."""
    new: bool = field(default=False, compare=False)
    """The folder was made for it."""

    config = Place("config.yaml")
    """The resolved configuration."""
    metrics = Place("metrics.jsonl")
    """One JSON object per logged step."""
    log = Place("training.log")
    """The same for a person, made for ``tail -f``."""
    tensorboard = Place("tensorboard")
    """TensorBoard's event files."""
    prompts = Place(PROMPTS)
    """What student and teacher were asked; of an evaluation, a folder for each teacher."""
    rollouts = Place("rollouts")
    """One parquet file per GRPO step."""
    checkpoints = Place("checkpoints")
    """One folder per checkpoint to resume from."""
    final = Place("final")
    """The trained model as stock `transformers` loads it."""
    student_alone = Place(_KEPT)
    """What the student of a GRPO run does alone with its tasks."""
    student_errors = Place("student_errors.jsonl")
    """Attempts in which the student's agent failed, with their tracebacks."""
    lineage = Place(LINEAGE)
    """Which sessions the model in `final` was trained on."""
    trainer_state = Place("trainer_state.json")
    """How far the training has come."""
    postgres = Place("pg")
    """Data of the embedded PostgreSQL."""
    pairs = Place("eval", "pairs.jsonl")
    """Held-out tasks with and without teaching, one a line."""
    pieces = Place("eval", "pieces")
    """Chunks of the evaluation that are finished, while others are not."""
    claims = Place("eval", "claims.json")
    """The claims, measured on the pairs."""
    held_out = Place("held_out.jsonl")
    """Tasks that a GRPO run keeps out of its training, to be measured on."""
    measured = Place("evaluate")
    """The measurement of a GRPO run's teacher on them: a run directory of its own."""
    report = Place("report.html")
    """The page that shows it all."""

    @classmethod
    def create(cls, path: Path | str, kind: str, *, fresh: bool = False) -> RunDir:
        """Make the run directory, or go on with the one that is there.

        One that was given settings and did nothing with them is made anew: a check before the first
        step refused them, and what it advised must be possible.

        Args:
            path: The folder. It may be missing or empty.
            kind: The job. A folder of another job is refused.
            fresh: Start over, whatever an earlier run of this kind left there, of any layout
                version. It goes with the first step, or stage, of the new run; where that ends
                before, it is as it was.

        Raises:
            AtlasError: The folder holds something else, belongs to another kind of job or another
                layout version, is in use (with ``fresh``) or can't be written.
        """
        path = Path(path)
        new = not path.exists()
        if path.exists() and not path.is_dir():
            raise AtlasError(f"{path} is a file; choose another output_dir")
        if (path / _EARLIER).is_dir():
            with _locked(path):
                _bring_back(path)
        if fresh and path.is_dir() and not _is_empty(path):
            _check_kind(path, _read_run_json(path), kind)
            _set_aside(path)
        if path.is_dir() and not _is_empty(path):
            run = cls.open(path, kind)
            if not _only_set_up(path):
                return run
            _delete_contents(path, keep=(_KEPT, "run.json"))
        written = {
            "layout_version": LAYOUT_VERSION,
            "kind": kind,
            "created_at": _now(),
            "atlas_version": atlas.__version__,
            "command": [mask_secrets(word) for word in (Path(sys.argv[0]).name, *sys.argv[1:])],
            "environment": environment_now(),
        }
        try:
            path.mkdir(parents=True, exist_ok=True)
            write_atomic(path / "run.json", json.dumps(written, indent=2) + "\n")
        except OSError as error:
            raise AtlasError(
                f"output_dir {path} can't be written: {error.strerror}; choose another"
            ) from error
        return cls(path=path, kind=kind, new=new)

    @classmethod
    def open(cls, path: Path | str, kind: str | None = None) -> RunDir:
        """Open a run directory that is there.

        Raises:
            AtlasError: It isn't there, isn't a run directory, or is of another kind or version.
        """
        path = Path(path)
        run = _read_run_json(path)
        if kind is not None:
            _check_kind(path, run, kind)
        if run["layout_version"] != LAYOUT_VERSION:
            raise AtlasError(
                f"{path} has layout version {run['layout_version']} (Atlas "
                f"{run.get('atlas_version', 'unknown')}), but Atlas {atlas.__version__} reads "
                f"version {LAYOUT_VERSION}; choose another output_dir, or start over with --fresh"
            )
        return cls(path=path, kind=run["kind"])

    def sub(self, name: str, *, fresh: bool = False) -> RunDir:
        """Make, or go on with, the run directory ``name`` within this one; its kind is its name."""
        return RunDir.create(self.path / name, name, fresh=fresh)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other process out for as long as the block runs.

        Temporary files of a run that was killed are removed first.

        The system lets go of the lock when the process ends, however it ends. A run that is refused
        before it did anything leaves nothing, and gives an earlier one its place back.

        Raises:
            AtlasError: Another process has it; its number is named.
        """
        with _locked(self.path):
            # What a killed run was in the middle of writing; nobody else writes here now.
            # A model that was replaced counts until its successor has its name.
            replaced = [
                old
                for old in self.path.rglob(".*.old")
                if old.with_name(old.name[1 : -len(".old")]).exists()
            ]
            unfinished = (*self.path.rglob(".*.tmp"), *self.path.rglob(".*.partial"))
            for leftover in (*replaced, *unfinished):
                if leftover.is_dir() and not leftover.is_symlink():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)
            try:
                with in_use(self.path):
                    yield
            except AtlasError:
                new = self.new and self.path.is_dir()
                if new and _did_nothing(self.path) and not self.student_alone.exists():
                    shutil.rmtree(self.path, ignore_errors=True)
                raise
            finally:
                _bring_back(self.path)
                self.forget_earlier()

    @property
    def in_use(self) -> bool:
        """Whether a process works here now."""
        if not (self.path / _LOCK).exists():
            return False
        handle = open_lock(self.path / _LOCK)
        try:
            return not try_lock(handle)
        finally:
            os.close(handle)

    @property
    def command(self) -> tuple[str, ...]:
        """The command line that the run was begun with, without secrets; empty if none was kept."""
        words = read_json(self.path / "run.json").get("command")
        return tuple(map(str, words)) if isinstance(words, list) else ()

    def forget_earlier(self) -> None:
        """Delete the earlier run that this one replaces, since it has something of its own."""
        shutil.rmtree(self.path / _EARLIER, ignore_errors=True)

    def stage_done(self, name: str) -> bool:
        """Say whether the stage ``name`` has finished here."""
        return self._stage_path(name).is_file()

    def stage_summary(self, name: str) -> Mapping[str, Any]:
        """Return what the finished stage ``name`` had to say; empty where it hasn't finished."""
        if not self.stage_done(name):
            return {}
        summary = read_json(self._stage_path(name)).get("summary")
        if not isinstance(summary, dict):
            raise AtlasError(f"{self._stage_path(name)} lacks the stage's summary")
        return summary

    def finish_stage(self, name: str, summary: Mapping[str, Any], seconds: float) -> None:
        """Record that the stage ``name`` has finished; from now on a run goes past it.

        Args:
            summary: Its key figures, as JSON can hold them.
        """
        record = {
            "stage": name,
            "finished_at": _now(),
            "seconds": seconds,
            "summary": dict(summary),
        }
        write_atomic(self._stage_path(name), json.dumps(record, indent=2) + "\n")
        self.forget_earlier()
        self.note(name, f"done in {timedelta(seconds=round(seconds))}")

    def forget_stage(self, name: str) -> None:
        """Take back that the stage ``name`` has finished: what it made is outdated."""
        self._stage_path(name).unlink(missing_ok=True)

    def note(self, stage: str, text: str) -> None:
        """Write a line of plain text to ``training.log``.

        Raises:
            AtlasError: The disk is full.
        """
        with disk_errors(self.log), self.log.open("ab", buffering=0) as file:
            append_line(file, stamped(stage, text))

    def teller(self, stage: str, progress: Progress) -> Callable[[str], None]:
        """Return what shows a line and writes it to ``training.log``."""

        def tell(line: str) -> None:
            progress.say(line)
            self.note(stage, line)

        return tell

    def _stage_path(self, name: str) -> Path:
        return self.path / "stages" / f"{name}.json"


def no_run(path: Path) -> AtlasError:
    """Return the error of a run directory that isn't there, or whose place is a stale link."""
    link = f": it is a link to {os.readlink(path)}, which is gone" if path.is_symlink() else ""
    return AtlasError(f"run directory {path} isn't there{link}; name the folder that a run wrote")


def _read_run_json(path: Path) -> dict[str, Any]:
    if not path.is_dir():
        raise no_run(path)
    run = read_json(path / "run.json") if (path / "run.json").exists() else {}
    if not (isinstance(run.get("kind"), str) and "layout_version" in run):
        raise AtlasError(
            f"{path} holds files but isn't a run directory of Atlas; choose another output_dir"
        )
    return run


def _check_kind(path: Path, run: Mapping[str, Any], kind: str) -> None:
    if run["kind"] != kind:
        raise AtlasError(
            f"{path} belongs to the job {run['kind']}, not {kind}; choose another output_dir"
        )


def _is_empty(path: Path) -> bool:
    """Hidden files don't count: our lock, an interrupted write, a file manager's."""
    return all(entry.name.startswith(".") for entry in path.iterdir())


def _only_set_up(path: Path) -> bool:
    """Tell whether a run was given its settings, and has done nothing yet."""
    return (path / "config.yaml").exists() and _did_nothing(path)


def _did_nothing(path: Path) -> bool:
    """Tell whether nothing is there but what is written before the first step, if that."""
    names = {entry.name for entry in path.iterdir() if not entry.name.startswith(".")}
    return names <= _SET_UP | {_KEPT}


def _set_aside(path: Path) -> None:
    """Move a run away, ``run.json`` first: where that lies the run is, should this be cut short."""
    if _did_nothing(path):
        _delete_contents(path)
        return
    with _locked(path):
        earlier = path / _EARLIER
        shutil.rmtree(earlier, ignore_errors=True)
        earlier.mkdir()
        for entry in sorted(path.iterdir(), key=lambda entry: entry.name != "run.json"):
            if entry.name not in (_LOCK, _EARLIER):
                entry.replace(earlier / entry.name)


def _bring_back(path: Path) -> None:
    """Give an earlier run its place back, if the one that was to replace it did nothing."""
    earlier = path / _EARLIER
    cut_short = not (path / "run.json").exists()
    if not (earlier / "run.json").is_file() or not (cut_short or _did_nothing(path)):
        return
    if not cut_short:
        for name in sorted(_SET_UP, key=lambda name: name == "run.json"):
            if (path / name).is_dir():
                shutil.rmtree(path / name)
            (path / name).unlink(missing_ok=True)
    for entry in sorted(earlier.iterdir(), key=lambda entry: entry.name == "run.json"):
        if (path / entry.name).is_dir():
            shutil.rmtree(path / entry.name)
        entry.replace(path / entry.name)
    earlier.rmdir()


def _delete_contents(path: Path, *, keep: Sequence[str] = ()) -> None:
    """Delete all but the lock, which is held meanwhile: who comes next must meet the same one."""
    with _locked(path):
        # run.json goes last: until then the folder is known as ours, should this be interrupted.
        for entry in sorted(path.iterdir(), key=lambda entry: entry.name == "run.json"):
            if entry.name in (_LOCK, *keep):
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = open_lock(path / _LOCK)
    try:
        if not try_lock(handle):
            raise AtlasError(
                f"{path} is in use by process {os.pread(handle, 32, 0).decode(errors='replace')}; "
                "wait until it ends, or choose another output_dir"
            )
        with disk_errors(path / _LOCK):
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)


def stamped(stage: str, text: str) -> str:
    """Return a line of ``training.log``, which begins with the local time."""
    return f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {stage}  {text}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
