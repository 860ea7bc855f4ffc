"""What the stages were worth: each model on prompts that none of them has learned from.

Input: models by name, validation examples, tasks with their verifiers. Output: the figures of
``training_stats.json`` and every answer, for ``eval/answers.json``.

    random     the untrained weights: ranks by chance, answers nothing
    stage_0    after the pre-training, before the ranked stage
    ranked     after both

Rates carry Wilson intervals; the gain of the ranked stage is paired by task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from atlas.evaluation.stats import Interval, paired_bootstrap, wilson
from atlas.from_scratch.greedy import GreedyAnswer, greedy_answers
from atlas.from_scratch.training.group_steps import Precision
from atlas.from_scratch.training.ranking import ranking_figures
from atlas.run.progress import Progress
from atlas.run.stopping import StopRequest
from atlas.training.micro_batches import Group
from atlas.types import Task

RANDOM, BEFORE, AFTER = "random", "stage_0", "ranked"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProofSetup:
    """What models are measured on, and how."""

    examples: Sequence[Group]
    """Validation prompts with their ranked responses."""
    tasks: Sequence[Task]
    """Those of them whose answers can be verified."""
    tokenizer: PreTrainedTokenizerBase
    precision: Precision
    max_new_tokens: int
    """Longest own answer."""
    max_rows: int = 512
    """Answers written at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProofResult:
    """What was found."""

    figures: Mapping[str, Any]
    """By name; a rate with its interval is ``{"value", "low", "high"}``."""
    answers: Sequence[Mapping[str, Any]] = field(default_factory=list)
    """One a task: its prompt and each model's answer, verified."""


def measure(
    models: Mapping[str, Callable[[], PreTrainedModel]],
    proof: ProofSetup,
    *,
    progress: Progress,
    stop: StopRequest,
) -> ProofResult:
    """Measure the models one after the other; only one is in memory at a time.

    Args:
        models: What loads each, by `RANDOM`, `BEFORE` and `AFTER`; any may be missing.
    """
    progress.begin(len(models))
    figures: dict[str, Any] = {
        "validation_prompts": len(proof.examples),
        "verified_prompts": len(proof.tasks),
    }
    answered: dict[str, Sequence[GreedyAnswer]] = {}
    for name, load in models.items():
        stop.check()
        figures |= _figures_of(name, load(), proof, answered)
        progress.advance(note=f"{name}: ranking accuracy {figures[f'{name}_ranking_accuracy']:.3f}")
    if BEFORE in answered and AFTER in answered:
        pairs = zip(answered[BEFORE], answered[AFTER], strict=True)
        differences = [float(after.correct) - float(before.correct) for before, after in pairs]
        figures["verified_gain"] = _plain(paired_bootstrap(differences))
    return ProofResult(figures=figures, answers=_rows(proof.tasks, answered))


def _figures_of(
    name: str,
    model: PreTrainedModel,
    proof: ProofSetup,
    answered: dict[str, Sequence[GreedyAnswer]],
) -> dict[str, Any]:
    """Return one model's figures, and add its answers."""
    ranked = ranking_figures(model, proof.examples, proof.precision)
    figures: dict[str, Any] = {
        f"{name}_ranking_accuracy": ranked.accuracy,
        f"{name}_loss": ranked.loss,
    }
    if proof.tasks and name != RANDOM:
        answers = greedy_answers(
            model,
            proof.tokenizer,
            proof.tasks,
            max_new_tokens=proof.max_new_tokens,
            max_rows=proof.max_rows,
        )
        right = sum(answer.correct for answer in answers)
        figures[f"{name}_verified"] = _plain(wilson(right, len(answers)))
        answered[name] = answers
    return figures


def _rows(tasks: Sequence[Task], answered: Mapping[str, Sequence[GreedyAnswer]]) -> list[Any]:
    if not answered:
        return []
    return [
        {
            "prompt": task.question,
            **{
                name: {"text": answers[place].text, "correct": answers[place].correct}
                for name, answers in answered.items()
            },
        }
        for place, task in enumerate(tasks)
    ]


def _plain(interval: Interval) -> Mapping[str, float]:
    return {"value": interval.value, "low": interval.low, "high": interval.high}
