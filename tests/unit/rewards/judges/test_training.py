"""Judges over HTTP in a whole GRPO run: rewarded, logged, explained, and counted over a restart."""

from __future__ import annotations

import json
import re
import threading
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.conftest import StopAfter
from tests.unit.endpoint.chat_server import ChatServer
from tests.unit.rewards.judge_server import agree
from tests.unit.tiny_models import tiny_renderer
from tests.unit.training.test_grpo import config_for
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from atlas.environments.actor import Actor
from atlas.environments.rollout import roll_out
from atlas.environments.students.baselines import Baselines
from atlas.environments.students.model import ModelStudent
from atlas.environments.teaching.plan import PlanTeaching
from atlas.rewards.composition import JUDGES, Reward, parts_of
from atlas.rollouts.generator import Sampling
from atlas.rollouts.local.engine import LocalGenerator
from atlas.run.progress import Silent
from atlas.run.run_dir import RunDir
from atlas.run.stopping import Stopped, StopRequest
from atlas.training.grpo import train_grpo
from atlas.types import Lesson, Score, Task


def judges_file(folder: Path, url: str, **settings: Any) -> str:
    content = {
        "active_judges": {"helpfulness": True, "process": True},
        "small": {"base_url": url, "model": "judge-model"},
        "cache_path": None,
        **settings,
    }
    path = folder / "rim.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def score_of(request: Any) -> float:
    """A score by what is judged, not by what each call is given at random (nonce and fence), nor
    by the order in which calls arrive: every run would learn something else.
    """
    text = re.sub(r"\b[0-9a-f]{8,}\b", "", json.dumps(request["messages"]))
    return 0.5 + zlib.crc32(text.encode()) % 5 / 10


def test_judges_are_rewarded_logged_explained_and_go_on_counting(
    tmp_path: Path, model_folder: Path, tasks: list[Task]
) -> None:
    run = RunDir.create(tmp_path / "run", "grpo")
    with ChatServer(lambda request, _: agree(request, score_of(request))) as server:
        config = config_for(
            model_folder,
            run.path,
            max_steps=3,
            reward="rim_offline",
            rim_config=judges_file(tmp_path, server.url),
        )
        stop = StopRequest()
        with pytest.raises(Stopped):
            train_grpo(run, config, tasks, progress=StopAfter(stop, 2), stop=stop)
        so_far = len(server.requests)
        train_grpo(run, config, tasks, progress=Silent(), stop=StopRequest())
        calls = len(server.requests)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    for line in lines:
        # A teaching that gives the answer away, as random text may, earns nothing unjudged.
        earned = (1 - line["train/leak_rate"]) * line["rim_rewards"]
        assert line["train/reward"] == pytest.approx(earned)
        assert line["reward/rim"] == pytest.approx(earned)
        assert 0 <= line["escalation_rate"] <= 1
    assert sum(line["judges/calls"] for line in lines) == calls
    assert 0 < so_far < calls
    explained = (run.path / "rim_explanations.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in explained] == [1, 2, 3]
    assert json.loads(explained[0])["rim_explanations"][0].keys() == {"helpfulness", "process"}


def test_scorers_read_one_share_while_the_next_is_generated(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, tasks: list[Task]
) -> None:
    """The first share's scorer waits until the second share has been generated."""
    generated = [threading.Event() for _ in range(4)]
    calls: list[int] = []

    class Watched(LocalGenerator):
        def generate(self, *arguments: Any, **keywords: Any) -> Any:
            made = super().generate(*arguments, **keywords)
            generated[len(calls)].set()
            calls.append(len(calls))
            return made

    seen: list[str] = []

    def scorer(lessons: Sequence[Lesson]) -> list[Score]:
        if not seen:
            assert generated[1].wait(30), "the second share waited for the first one's scorer"
        seen.extend(lesson.task.id for lesson in lessons)
        return [Score(value=tasks.index(lesson.task) / 10) for lesson in lessons]

    renderer = tiny_renderer(tokenizer)
    sampling = Sampling(max_new_tokens=4, temperature=1.0)
    student = ModelStudent(
        Actor(
            generator=LocalGenerator(model, tokenizer),
            renderer=renderer,
            sampling=replace(sampling, temperature=0.0),
        ),
        approach_tokens=4,
    )
    reward = Reward(parts=parts_of("rim_offline", available={JUDGES}), scorers={JUDGES: scorer})
    groups = roll_out(
        PlanTeaching(renderer, Baselines(student), reward=reward),
        Actor(generator=Watched(model, tokenizer), renderer=renderer, sampling=sampling),
        tasks[:4],
        num_samples=2,
        seed=0,
    )
    assert seen == [task.id for task in tasks[:4] for _ in range(2)]
    assert [group[0].task for group in groups] == tasks[:4]
    assert [group[0].score.value for group in groups] == pytest.approx([0, 0.1, 0.2, 0.3])
