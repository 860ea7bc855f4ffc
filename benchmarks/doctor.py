"""False alarms and misses of ``atlas doctor`` on runs whose health is known.

    python benchmarks/doctor.py                        # the table, from the recorded runs
    python benchmarks/doctor.py --record /tmp/doctor   # train all of them again; half an hour

Each run is a real, short training of the shipped small model: good ones, and ones with one fault,
made by a setting, by data or by a signal. ``benchmarks/doctor_runs.jsonl`` keeps of each the curves
(four digits), the bounds that it was held against, the last lines of its log and how it ended. A
false alarm is a finding in a good run; a miss is a broken run without the finding that names its
fault.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.report.run_files import read_run
from atlas.run.diagnosis import diagnose
from atlas.run.goals import bounds_in
from atlas.run.health import Health
from atlas.run.listing import listed
from atlas.run.run_dir import RunDir

RUNS = Path(__file__).with_name("doctor_runs.jsonl")
_SFT = ("teacher_sft", "data=runtime_traces", "export_path=good.jsonl", "model_name_or_path=base")
_SFT_SHAPE = (
    *("per_device_train_batch_size=8", "gradient_accumulation_steps=1", "learning_rate=3e-4"),
    *("num_train_epochs=8", "eval_split_ratio=0.2", "max_seq_length=256", "results_dir=null"),
)
_GRPO = ("teacher_rcl", "data=runtime_traces", "model_name_or_path=warm/final")
_GRPO_SHAPE = (
    *("student_model=base", "per_device_train_batch_size=8", "gradient_accumulation_steps=1"),
    *("num_generations=8", "max_new_tokens=64", "student_max_new_tokens=192", "top_p=0.95"),
    *("approach_max_new_tokens=32", "learning_rate=5e-4", "max_steps=12", "evaluate_tasks=0"),
    *("max_clipped_share=1.0", "results_dir=null", "advantage_epsilon=0.2", "save_steps=100"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One training."""

    name: str
    job: str
    words: tuple[str, ...] = ()
    """What differs from the good run of this job."""
    fault: str = ""
    """In words; empty for a good run."""
    finding: tuple[str, ...] = ()
    """The rules, any of which names the fault; of a good run what is found all the same."""
    sessions: str = ""
    """The file of sessions, if not the usual one."""
    killed_after: int = 0
    """Lines of metrics after which the training gets SIGKILL."""


CASES = (
    Case(name="sft-0", job="sft"),
    Case(name="sft-1", job="sft", words=("seed=1",)),
    Case(name="sft-lora", job="sft", words=("use_peft=true", "learning_rate=2e-3")),
    Case(name="sft-packed", job="sft", words=("packing=true", "num_train_epochs=16")),
    Case(name="grpo-0", job="grpo"),
    Case(name="grpo-1", job="grpo", words=("seed=1",)),
    # Its KL rises to 14 nats a teaching, out of the guide's range, and the doctor says so.
    Case(name="grpo-beta", job="grpo", words=("beta=0.1", "seed=2"), finding=("train/kl",)),
    Case(name="grpo-four", job="grpo", words=("num_generations=4", "seed=3")),
    Case(name="grpo-dr", job="grpo", words=("loss_type=dr_grpo", "seed=4")),
    Case(name="grpo-lora", job="grpo", words=("use_peft=true", "learning_rate=2e-3", "seed=5")),
    Case(
        name="sft-rate",
        job="sft",
        words=("learning_rate=1.0",),
        fault="learning rate 1.0",
        finding=("train/loss", "train/grad_norm", "eval/loss"),
    ),
    Case(
        name="sft-memorised",
        job="sft",
        words=("limit=8", "num_train_epochs=60", "learning_rate=3e-3", "eval_steps=5"),
        fault="8 sessions, 60 epochs",
        finding=("eval/loss",),
    ),
    Case(
        name="grpo-cut",
        job="grpo",
        words=("max_new_tokens=8",),
        fault="max_new_tokens 8",
        finding=("train/truncated_share",),
    ),
    Case(
        name="grpo-answers-cut",
        job="grpo",
        words=("student_max_new_tokens=8",),
        fault="student_max_new_tokens 8",
        finding=("train/attempt_truncated_share",),
    ),
    Case(
        name="grpo-rate",
        job="grpo",
        words=("learning_rate=0.05",),
        fault="learning rate 0.05",
        finding=("train/kl", "train/grad_norm", "train/truncated_share", "train/reward"),
    ),
    Case(
        name="grpo-greedy",
        job="grpo",
        words=("temperature=0.05",),
        fault="temperature 0.05",
        finding=("train/dead_groups_equal",),
    ),
    Case(
        name="grpo-still",
        job="grpo",
        words=("learning_rate=1e-8",),
        fault="learning rate 1e-8",
        finding=("train/kl",),
    ),
    Case(
        name="grpo-too-hard",
        job="grpo",
        sessions="hard.jsonl",
        fault="tasks that no teaching helps with",
        finding=("train/dead_groups",),
    ),
    Case(
        name="grpo-leaking",
        job="grpo",
        words=("model_name_or_path=leaking/final",),
        fault="a teacher that tells the answer",
        finding=("train/leak_rate",),
    ),
    Case(
        name="grpo-killed",
        job="grpo",
        fault="SIGKILL after step 4",
        finding=("died",),
        killed_after=4,
    ),
)


def record(folder: Path, names: Sequence[str]) -> None:
    """Train the runs in a folder, and keep what the doctor reads of them."""
    folder.mkdir(parents=True, exist_ok=True)
    _sessions(folder)
    warm = [*_SFT, *_SFT_SHAPE, "num_train_epochs=20", "output_dir=warm"]
    _atlas(folder, "sft", *warm, done="warm/final")
    _atlas(
        folder,
        "sft",
        *(w.replace("good.jsonl", "leaking.jsonl") for w in warm[:-1]),
        "output_dir=leaking",
        done="leaking/final",
    )
    kept = {row["name"]: row for row in recorded()}
    for case in CASES:
        if not names or case.name in names:
            _train(folder, case)
            kept[case.name] = _kept(folder / case.name, case)
            rows = [kept[one.name] for one in CASES if one.name in kept]
            text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
            RUNS.write_text(text, encoding="utf-8")


def _sessions(folder: Path) -> None:
    """Record sessions of tasks with a signal and of ones without; copy some with leaks."""
    collect = ("collect", "num_tasks=160", "output_dir=collect", "output=good.jsonl")
    _atlas(folder, *collect, "families=chain_sum,leg_counting", done="good.jsonl")
    hard = ("collect", "num_tasks=24", "output_dir=hard", "output=hard.jsonl", "families=gcd")
    _atlas(folder, *hard, done="hard.jsonl")
    told = []
    for line in (folder / "good.jsonl").read_text(encoding="utf-8").splitlines():
        session = json.loads(line)
        answer = session["session_metadata"]["task"]["answer"]
        for step in session["steps"]:
            step["guidance"] = [{"sequence": 1, "note": f"The answer is {answer}."}]
        told.append(json.dumps(session))
    (folder / "leaking.jsonl").write_text("\n".join(told) + "\n", encoding="utf-8")


def _train(folder: Path, case: Case) -> None:
    if case.job == "sft":
        base = [*_SFT, *_SFT_SHAPE]
    else:
        base = [*_GRPO, f"export_path={case.sessions or 'good.jsonl'}", *_GRPO_SHAPE]
    given = {word.partition("=")[0] for word in case.words}
    base = [word for word in base if word.partition("=")[0] not in given]
    words = [case.job, *base, *case.words, f"output_dir={case.name}"]
    _atlas(
        folder,
        *words,
        done=f"{case.name}/metrics.jsonl" if case.killed_after else f"{case.name}/final",
        killed_after=case.killed_after,
    )


def _atlas(folder: Path, *words: str, done: str, killed_after: int = 0) -> None:
    """Run one command, unless what it makes is there; kill it after so many lines of metrics."""
    if (folder / done).exists():
        return
    _say(f"{words[0]} {words[-1]}")
    with (folder / "output.txt").open("a") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "atlas", *words], cwd=folder, stdout=output, stderr=output
        )
        metrics = folder / done
        while killed_after and process.poll() is None:
            time.sleep(0.2)
            if metrics.is_file() and metrics.read_bytes().count(b"\n") >= killed_after:
                os.kill(process.pid, signal.SIGKILL)
        process.wait()


def _kept(run: Path, case: Case) -> dict[str, Any]:
    files = read_run(run)
    curves = {
        name: [[step, float(f"{value:.4g}")] for step, value in curve]
        for name, curve in files.curves[case.job].items()
        if name.partition("/")[0] in ("train", "eval") and name.count("/") == 1
    }
    bounds = files.bounds[case.job]
    log = (run / "training.log").read_text(encoding="utf-8").splitlines()
    return {
        "name": case.name,
        "state": listed(RunDir.open(run)).state,
        "bounds": {name: getattr(bounds, name) for name in type(bounds).__dataclass_fields__},
        "log": log[-3:],
        "curves": curves,
    }


def recorded() -> Iterator[Mapping[str, Any]]:
    """Yield the recorded runs."""
    if RUNS.is_file():
        for line in RUNS.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def found(row: Mapping[str, Any], case: Case) -> list[str]:
    """Return the rules that find something in a recorded run, and whether it died."""
    curves = {name: tuple((s, v) for s, v in curve) for name, curve in row["curves"].items()}
    findings = diagnose(case.job, curves, bounds_in(case.job, row["bounds"]))
    died = ["died"] if row["state"].startswith("died") else []
    return [*died, *(finding.rule for finding in findings)]


def found_live(row: Mapping[str, Any], case: Case) -> list[str]:
    """Return the rules that would have said something in a recorded run as it went on."""
    health = Health(case.job, bounds_in(case.job, row["bounds"]))
    lines: dict[int, dict[str, float]] = {}
    for name, curve in row["curves"].items():
        for step, value in curve:
            lines.setdefault(step, {})[name] = value
    told: dict[str, None] = {}
    for step in sorted(lines)[:-1]:  # after the last it is over
        health.take(step, lines[step])
        told |= dict.fromkeys(finding.rule for finding in health.findings())
    return list(told)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Print the table; exit code 1 where a run isn't told as it was when the page was written."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--record", type=Path, help="train the runs again in this folder")
    parser.add_argument("names", nargs="*", help="of the runs to train; all where none is named")
    options = parser.parse_args()
    if options.record:
        record(options.record, options.names)
    cases = {case.name: case for case in CASES}
    false = misses = good = broken = first = known = 0
    live = {False: 0, True: 0}
    _say(f"{'run':<18}{'fault':<36}found, causes first")
    for row in recorded():
        case = cases[row["name"]]
        rules = found(row, case)
        hit = [rule for rule in rules if case.fault and rule in case.finding]
        live[bool(case.fault)] += bool(found_live(row, case))
        good += not case.fault
        broken += bool(case.fault)
        false += bool(rules) and not case.fault
        known += bool(rules) and not case.fault and tuple(rules) == case.finding
        misses += bool(case.fault) and not hit
        first += bool(hit) and rules[0] in case.finding
        wrong = "!" if (rules and not case.fault) or (case.fault and not hit) else " "
        _say(f"{wrong}{case.name:<17}{case.fault or '-':<36}{', '.join(rules) or 'nothing'}")
    _say(f"false alarms: {false} of {good} good runs; missed: {misses} of {broken} broken runs")
    _say(f"the fault's own finding comes first in {first} of {broken}")
    _say(f"told of while they went on: {live[False]} good runs, {live[True]} broken ones")
    if missing := [name for name in cases if name not in {row["name"] for row in recorded()}]:
        _say(f"not recorded: {', '.join(missing)}")
    sys.exit(1 if false > known or misses else 0)


if __name__ == "__main__":
    main()
