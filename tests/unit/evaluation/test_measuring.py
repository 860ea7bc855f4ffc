"""Chunks that are measured once, whatever stops the run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.tiny_models import tiny_renderer

from atlas.config.evaluate import EvaluateConfig
from atlas.environments.actor import Actor
from atlas.environments.students.baselines import Baselines
from atlas.environments.students.model import ModelStudent
from atlas.environments.teaching.plan import PlanTeaching
from atlas.errors import AtlasError
from atlas.evaluation.measuring import Arm, arm_names, arms_prompts, forget_outdated, measure
from atlas.models.checkpoints import load_tokenizer
from atlas.prompts import TEACHERS, Prompts
from atlas.prompts.folder import shipped_prompts
from atlas.rollouts.generator import Sampling
from atlas.run.progress import Silent
from atlas.run.prompts_kept import keep_prompts
from atlas.run.run_dir import RunDir
from atlas.run.stopping import Stopped, StopRequest
from atlas.types import Completion, Lesson, Task

TASKS = [Task(question=f"Calculate {n} + 1.", answer=str(n + 1), family="") for n in range(5)]
RENDERER = tiny_renderer(load_tokenizer("base"))


class Counting:
    """Says the same to everything, and counts what it was asked."""

    def __init__(self, text: str) -> None:
        self.text, self.asked = text, 0

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        num_samples: int = 1,
        seed: int = 0,
        first_place: int = 0,
    ) -> list[list[Completion]]:
        self.asked += len(prompts)
        return [
            [
                Completion(
                    prompt_ids=tuple(ids),
                    token_ids=(1,),
                    logprobs=(),
                    text=self.text,
                    finish_reason="stop",
                )
            ]
            for ids in prompts
        ]


class StopAfter:
    """Asks for a stop when so many chunks are done."""

    def __init__(self, chunks: int, stop: StopRequest) -> None:
        self.left, self.stop = chunks, stop

    def begin(self, total: int, done: int = 0) -> None: ...

    def say(self, line: str) -> None: ...

    def advance(self, units: int = 1, note: str = "") -> None:
        self.left -= 1
        if self.left == 0:
            self.stop.asked = True


def run(pieces: Path, teachers: dict[str, Counting], chunks: int = 0) -> list[Lesson]:
    sampling = Sampling(max_new_tokens=8)

    def actor(one: Counting) -> Actor:
        return Actor(generator=one, renderer=RENDERER, sampling=sampling)

    baselines = Baselines(ModelStudent(actor(Counting("Answer: 3")), approach_tokens=4))

    def loader(one: Counting) -> Callable[[], Arm]:
        return lambda: (PlanTeaching(RENDERER, baselines), actor(one))

    stop = StopRequest()
    return measure(
        {name: loader(one) for name, one in teachers.items()},
        TASKS,
        seed=1,
        chunk_size=2,
        pieces=pieces,
        progress=StopAfter(chunks, stop) if chunks else Silent(),
        stop=stop,
    )


def test_every_arm_is_measured_on_every_task_in_order(tmp_path: Path) -> None:
    pairs = run(tmp_path / "pieces", {"a": Counting("x"), "b": Counting("y")})
    assert [(pair.arm, pair.task.id, pair.teaching.text) for pair in pairs] == [
        (arm, task.id, text) for arm, text in (("a", "x"), ("b", "y")) for task in TASKS
    ]
    assert not (tmp_path / "pieces").exists()


def test_a_stopped_run_goes_on_behind_its_last_chunk(tmp_path: Path) -> None:
    first = {"a": Counting("x"), "b": Counting("y")}
    with pytest.raises(Stopped):
        run(tmp_path / "pieces", first, chunks=4)
    assert (first["a"].asked, first["b"].asked) == (5, 2)
    second = {"a": Counting("x"), "b": Counting("y")}
    resumed = run(tmp_path / "pieces", second)
    assert (second["a"].asked, second["b"].asked) == (0, 3)
    whole = run(tmp_path / "others", {"a": Counting("x"), "b": Counting("y")})
    assert resumed == whole


def test_results_of_other_models_tasks_or_prompts_are_dropped_finished_or_not(
    tmp_path: Path,
) -> None:
    for name in ("teacher", "other", "student"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(name)
    link = tmp_path / "link"
    link.symlink_to("teacher")
    run = RunDir.create(tmp_path / "run", "evaluate")
    config = EvaluateConfig(
        teachers=(str(link),), student_model=str(tmp_path / "student"), prompts="plain"
    )
    said: list[str] = []

    def left(config: EvaluateConfig = config, tasks: list[Task] = TASKS) -> tuple[bool, bool]:
        forget_outdated(run, config, {"link": str(link)}, tasks, say=said.append)
        found = (run.stage_done("evaluate"), (run.pieces / "link-0.jsonl").is_file())
        (run.pieces / "link-0.jsonl").parent.mkdir(exist_ok=True)
        (run.pieces / "link-0.jsonl").write_text("measured")
        run.finish_stage("evaluate", {}, 1.0)
        return found

    assert left() == (False, False)
    assert left() == (True, True)
    assert said == []
    link.unlink()
    link.symlink_to("other")
    assert left() == (False, False)
    (tmp_path / "student" / "config.json").write_text("trained")
    assert left() == (False, False)
    assert left(tasks=[replace(TASKS[0], answer="7"), *TASKS[1:]]) == (False, False)
    assert left(replace(config, prompts="chat")) == (False, False)
    assert [line.partition("anew: ")[2] for line in said] == [
        "teacher link changed",
        "student changed",
        "tasks changed",
        "prompts of link, tasks changed",
    ]
    (run.pairs.parent / "inputs.json").unlink()
    assert left(replace(config, prompts="chat")) == (False, False)
    assert said[-1].endswith("nothing says what they are of")


def test_an_arm_is_named_by_the_folder_that_says_most() -> None:
    folders = ["runs/quickstart/sft/final", "results/rl_checkpoint", "Qwen/Qwen3-8B", "base"]
    names = ["sft", "rl_checkpoint", "Qwen3-8B", "base"]
    assert arm_names([*folders, "runs/grpo/final/adapter"]) == [*names, "grpo"]


def test_two_arms_of_one_name_are_refused() -> None:
    with pytest.raises(AtlasError, match="two teachers would be called sft"):
        arm_names(["a/sft/final", "b/sft/final"])


def test_teachers_whose_students_were_asked_differently_need_to_be_told_what_to_ask(
    tmp_path: Path,
) -> None:
    plain = shipped_prompts("plain")
    other = Prompts(texts={**plain.texts, "baseline.txt": "{task} Answer:"})
    teaches = Prompts(texts={**plain.texts, "teaching.txt": "{task} Teach."})
    for name, prompts in (("one", plain), ("other", other), ("teaches", teaches)):
        keep_prompts(tmp_path / name / "prompts", prompts)
    config = EvaluateConfig(teachers=("one",), output_dir=str(tmp_path / "run"))

    def found(config: EvaluateConfig, *names: str) -> dict[str, Prompts]:
        run = RunDir(path=tmp_path / "-".join((config.prompts, *names)), kind="evaluate")
        return arms_prompts(run, config, {name: str(tmp_path / name) for name in names})

    assert found(config, "one", "teaches") == {"one": plain, "teaches": teaches}
    with pytest.raises(AtlasError, match=r"student of other was asked .* of one; .* prompts=plain"):
        found(config, "one", "other")
    # One who was trained without a student teaches as it was trained, one that is asked as the
    # other's was.
    keep_prompts(tmp_path / "warmed" / "prompts", teaches.only(TEACHERS))
    assert found(config, "warmed", "other")["warmed"] == teaches.only(TEACHERS).over(other)
    begun = RunDir(path=tmp_path / "auto-one-teaches", kind="evaluate")
    keep_prompts(begun.prompts / "one", plain)
    gone = replace(config, prompts=str(tmp_path / "gone"))
    assert arms_prompts(begun, gone, {"one": "elsewhere"}) == {"one": plain}
    with pytest.raises(AtlasError, match="gone"):
        arms_prompts(begun, gone, {"two": "elsewhere"})
    named = replace(config, prompts="chat")
    assert found(named, "one", "other") == dict.fromkeys(("one", "other"), shipped_prompts("chat"))
