"""What a student does without a teacher: asked once a task, verified once, and kept.

Input: a student, tasks. Output: a `Baseline` a task. With a folder the answers outlive the run's
process: one file for each lot of tasks, whole or not there, each line with the task and a key made
of the student and of all that decides how it answers.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from atlas.environments.students.student import Student
from atlas.errors import AtlasError
from atlas.json_file import parse_json
from atlas.parallel.distributed import ALONE, Ranks
from atlas.prompts import Prompts
from atlas.rewards.verifiers import verified
from atlas.run.files import write_atomic
from atlas.run.progress import Progress
from atlas.types import Attempt, StudentTurn, Task, Utterance

_LOT = 256
"""Tasks that are asked about, and written down, at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """What the student does with one task before it is taught."""

    alone: Attempt
    approach: Utterance


class Baselines:
    """The baselines of one student.

    Args:
        student: Is asked about a task once.
        folder: Where answers are kept; None: in memory only.
        key: Names the student and its settings, see `baseline_key`.
    """

    def __init__(self, student: Student, *, folder: Path | None = None, key: str = "") -> None:
        self.student = student
        self._folder = folder
        self._key = key
        self._known: dict[str, Baseline] = {}
        self._verified: dict[str, Baseline] = {}

    def of(self, tasks: Sequence[Task], *, seed: int = 0) -> list[Baseline]:
        """Return the baseline of each task, verified; the student is asked about new ones."""
        self._known |= self._asked(self._new(tasks), seed)
        new = list({t.id: t for t in tasks if t.id not in self._verified}.values())
        said = [self._known[task.id].alone for task in new]
        alone = verified(new, said, self.student.answer_format)
        for task, attempt in zip(new, alone, strict=True):
            self._verified[task.id] = replace(self._known[task.id], alone=attempt)
        return [self._verified[task.id] for task in tasks]

    def forget_failed(self, tasks: Sequence[Task]) -> None:
        """Ask again about those of the tasks of which the student gave no answer."""
        for task in tasks:
            known = self._known.get(task.id)
            if known is not None and known.alone.abstained:
                del self._known[task.id]
                self._verified.pop(task.id, None)

    def ask(self, tasks: Sequence[Task], progress: Progress, ranks: Ranks = ALONE) -> None:
        """Ask about all tasks ahead; each rank asks about its share, and all know all answers."""
        self._known |= ranks.broadcast(self._read() if ranks.is_main else {}, "known baselines")
        new = self._new(tasks)
        if not new:
            return
        progress.begin(len(new))
        size = _LOT * ranks.size
        for start in range(0, len(new), size):
            lot = new[start : start + size]
            asked = self._asked(ranks.share(lot)[1], 0)
            answers = ranks.gather(asked, "what the student does alone")
            found = {name: one for share in answers for name, one in share.items()}
            self._known |= found
            if ranks.is_main and self._folder is not None:
                self._write(self._folder, found)
            progress.advance(len(lot), note="asked of the student alone")

    def _new(self, tasks: Sequence[Task]) -> list[Task]:
        return list({task.id: task for task in tasks if task.id not in self._known}.values())

    def _asked(self, tasks: Sequence[Task], seed: int) -> dict[str, Baseline]:
        if not tasks:
            return {}
        attempts = self.student.attempt(tasks, [None] * len(tasks), seed=seed)
        approaches = self.student.approach(tasks, seed=seed)
        return {
            task.id: Baseline(alone=alone, approach=approach)
            for task, alone, approach in zip(tasks, attempts, approaches, strict=True)
        }

    def _read(self) -> dict[str, Baseline]:
        files = sorted(self._folder.glob("*.jsonl")) if self._folder is not None else []
        known: dict[str, Baseline] = {}
        for file in files:
            for number, line in enumerate(file.read_bytes().splitlines(), start=1):
                where = f"{file}, line {number}"
                record = parse_json(line, where)
                try:
                    if record["key"] == self._key:
                        known[record["task"]] = Baseline(
                            alone=_attempt(record["alone"]),
                            approach=Utterance(**record["approach"]),
                        )
                except (KeyError, TypeError, AttributeError) as error:
                    raise AtlasError(
                        f"{where} doesn't say what the student does alone; remove {file}, and it "
                        "is asked again"
                    ) from error
        return known

    def _write(self, folder: Path, found: Mapping[str, Baseline]) -> None:
        """Keep a lot; an attempt that abstained is asked for again by the next run."""
        lines = [
            json.dumps(
                {
                    "key": self._key,
                    "task": name,
                    "alone": _record(one.alone),
                    "approach": _utterance(one.approach),
                }
            )
            for name, one in found.items()
            if not one.alone.abstained
        ]
        name = hashlib.sha256("".join(lines).encode()).hexdigest()[:16]
        write_atomic(folder / f"{name}.jsonl", "".join(line + "\n" for line in lines))


def baseline_key(student: str, prompts: Prompts, **settings: Any) -> str:
    """Return what names a student and how it is asked.

    Args:
        student: Folder or hub id; the files of a folder count by size and time.
        prompts: That it reads.
        settings: All else that decides what it answers.
    """
    stats = [(file, file.stat()) for file in sorted(Path(student).glob("*"))]
    files = [(file.name, stat.st_size, stat.st_mtime_ns) for file, stat in stats]
    asked = [student, files, settings, prompts.only(["baseline", "approach"]).digest]
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def _utterance(one: Utterance) -> dict[str, Any]:
    return {field.name: getattr(one, field.name) for field in fields(Utterance)}


def _record(one: Attempt) -> dict[str, Any]:
    more: dict[str, Any] = {
        "turns": [asdict(turn) for turn in one.turns],
        "again": list(map(_record, one.again)),
    }
    return {**_utterance(one), **{name: value for name, value in more.items() if value}}


def _attempt(record: Mapping[str, Any]) -> Attempt:
    turns = tuple(map(StudentTurn.read, record.get("turns", ())))
    again = tuple(map(_attempt, record.get("again", ())))
    return Attempt(**{**record, "turns": turns, "again": again})
