"""Going through steps: lines are means, nothing is forgotten at the end, and a stop saves."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from atlas.config.parts.goals import OnUnhealthy, TeachingGoalsConfig
from atlas.config.parts.run import RunConfig
from atlas.errors import AtlasError
from atlas.run.diagnosis import Finding
from atlas.run.health import Health
from atlas.run.metrics import MetricSink
from atlas.run.progress import Silent
from atlas.run.run_dir import RunDir
from atlas.run.stopping import Stopped, StopRequest
from atlas.training.chain import Chain
from atlas.training.loop import Learned, Loop, Window
from atlas.types import Tokens


def chain(head: str | None = None) -> Chain:
    return Chain(head, RunConfig(output_dir="run"), lambda: "weights")


def learn(step: int, metrics: dict[str, float]) -> Learned:
    return Learned(metrics=metrics, note="", rows=[Tokens.of((1,), (2, 3))])


def gone_through(folder: Path, found: list[dict[str, float]], **options: Any) -> list[Any]:
    """Take a step for each figures; return what the last line was, then all lines."""
    run = RunDir.create(folder, "sft")
    with MetricSink(run, stage="sft", total_steps=len(found)) as sink:
        loop = Loop(
            **{
                "sink": sink,
                "progress": Silent(),
                "stop": StopRequest(),
                "chain": chain(),
                "logging_steps": 2,
            }
            | options
        )
        last = loop.run(
            found,
            lambda _, metrics: Learned(metrics=metrics, note="", rows=[Tokens.of((1,), (2, 3))]),
        )
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [last, *lines]


def untimed(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without the time, and the chain, which is the test's own each time."""
    return [{k: v for k, v in line.items() if k not in ("time", "chain")} for line in lines]


def test_a_line_holds_the_means_since_the_last_one_over_the_steps_that_have_a_figure(
    tmp_path: Path,
) -> None:
    steps = [{"train/loss": 1.0}, {"train/loss": 3.0, "canary/accuracy": 0.5}, {"train/loss": 7.0}]
    last, first, rest = gone_through(tmp_path / "run", steps)
    assert (first["step"], first["train/loss"], first["canary/accuracy"]) == (2, 2.0, 0.5)
    assert (rest["step"], rest["train/loss"]) == (3, 7.0)
    assert "canary/accuracy" not in rest
    assert last == {"train/loss": 7.0}


def test_a_run_that_goes_on_writes_the_lines_of_the_one_that_was_never_stopped(
    tmp_path: Path,
) -> None:
    """What steps before its checkpoint gave is in them; skips in a row are counted across it."""
    steps = [{"train/loss": 0.1 * n, "train/grad_norm": 1.0} for n in range(1, 6)]
    steps[1] |= {"canary/accuracy": 0.5}
    window, kept = Window(), dict[int, dict[str, Any]]()
    options = {"logging_steps": 3, "window": window}
    _, *whole = gone_through(
        tmp_path / "whole", steps, **options, after_step=lambda n: kept.update({n: asdict(window)})
    )
    for done in range(1, 5):
        options = {"logging_steps": 3, "window": Window(**kept[done]), "first_step": done}
        _, *rest = gone_through(tmp_path / f"from_{done}", steps[done:], **options)
        assert untimed(rest) == untimed([line for line in whole if line["step"] > done])
    bad = {"train/grad_norm": math.nan}
    with pytest.raises(AtlasError, match="gradients of 3 steps in a row"):
        gone_through(tmp_path / "bad", [bad], window=Window(num_skipped=2), first_step=2)


def test_the_chain_of_a_line_is_that_of_its_step_and_goes_on_from_where_it_was(
    tmp_path: Path,
) -> None:
    steps = [{"train/loss": 1.0}, {"train/loss": 2.0}]
    _, first, second = gone_through(tmp_path / "whole", steps, logging_steps=1)
    _, again = gone_through(
        tmp_path / "rest", steps[1:], logging_steps=1, first_step=1, chain=chain(first["chain"])
    )
    assert again["chain"] == second["chain"] != first["chain"]
    _, other, _ = gone_through(tmp_path / "other", [{"train/loss": 9.0}, steps[1]], logging_steps=1)
    assert other["chain"] != first["chain"]


def test_steps_that_are_not_finite_are_skipped_and_kept_and_a_row_of_them_is_the_end(
    tmp_path: Path,
) -> None:
    good, bad = {"train/loss": 1.0, "train/grad_norm": 1.0}, {"train/grad_norm": math.nan}
    gone_through(tmp_path / "some", [bad, bad, good, bad, bad, good])
    log = (tmp_path / "some" / "training.log").read_text()
    assert "warning: step 5 is skipped, its gradients are not finite; its batch: " in log
    (row,) = (tmp_path / "some" / "skipped" / "step_000005.jsonl").read_text().splitlines()
    assert json.loads(row)["ids"] == [1, 2, 3]
    with pytest.raises(AtlasError, match="gradients of 3 steps in a row are not finite"):
        gone_through(tmp_path / "row", [good, bad, bad, bad, good])


def test_where_no_step_is_left_there_is_no_line(tmp_path: Path) -> None:
    assert gone_through(tmp_path / "run", []) == [{}]


def test_a_stop_that_is_asked_for_while_data_is_made_saves_what_is_done(tmp_path: Path) -> None:
    stop, saved = StopRequest(), list[int]()

    def steps() -> Iterator[dict[str, float]]:
        yield {"train/loss": 1.0}
        stop.asked = True
        yield {"train/loss": 1.0}

    run = RunDir.create(tmp_path / "run", "sft")
    with MetricSink(run, stage="sft", total_steps=2) as sink:
        loop = Loop(
            sink=sink,
            progress=Silent(),
            stop=stop,
            chain=chain(),
            logging_steps=1,
            after_step=saved.append,
        )
        with pytest.raises(Stopped):
            loop.run(
                steps(),
                lambda _, metrics: Learned(
                    metrics=metrics, note="", rows=[Tokens.of((1,), (2, 3))]
                ),
            )
    assert saved == [1, 1]
    assert len(run.metrics.read_text().splitlines()) == 1


class Sick(Health):
    """Finds the same in every line."""

    def __init__(self, action: OnUnhealthy, rule: str = "train/kl") -> None:
        super().__init__("grpo", TeachingGoalsConfig(on_unhealthy=action))
        self._rule = rule

    def findings(self) -> tuple[Finding, ...]:
        return (Finding(rule=self._rule, what="KL 80", advice="lower it"),)


@pytest.mark.parametrize(
    ("action", "told", "last", "code"),
    [
        ("warn", [], 3, None),
        ("pause", [], 1, 1),
        ("stop", [], 1, 130),
        ("warn", ["train/kl"], 3, None),
        ("pause", ["train/kl"], 3, None),
        ("stop", ["train/kl"], 1, 130),
    ],
)
def test_what_the_doctor_finds_is_told_once_and_ends_the_run_as_is_wanted(
    tmp_path: Path, action: OnUnhealthy, told: list[str], last: int, code: int | None
) -> None:
    run, saved, stop = RunDir.create(tmp_path / "run", "sft"), list[list[str]](), StopRequest()
    window = Window(told=list(told))

    def after_step(step: int) -> None:
        saved.append(list(window.told))

    with MetricSink(run, stage="sft", total_steps=3, health=Sick(action)) as sink:
        loop = Loop(
            sink=sink,
            progress=Silent(),
            stop=stop,
            chain=chain(),
            logging_steps=1,
            window=window,
            after_step=after_step,
        )
        steps = [{"train/loss": 1.0}] * 3
        with contextlib.suppress(Stopped):
            loop.run(steps, learn)
    assert len(run.metrics.read_text().splitlines()) == last
    assert run.log.read_text().count("warning: KL 80; lower it") == (0 if told else 1)
    assert saved[0] == ["train/kl"]  # the checkpoint knows of it
    assert (stop.exit_code if stop.asked else None) == code


def test_what_is_found_at_the_last_step_ends_nothing(tmp_path: Path) -> None:
    stop = StopRequest()
    health = Sick("pause")
    run = RunDir.create(tmp_path / "run", "sft")
    with MetricSink(run, stage="sft", total_steps=1, health=health) as sink:
        loop = Loop(
            sink=sink, progress=Silent(), stop=stop, chain=chain(), logging_steps=1, window=Window()
        )
        loop.run([{"train/loss": 1.0}], learn)
    assert not stop.asked
