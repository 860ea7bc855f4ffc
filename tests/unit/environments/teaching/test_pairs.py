"""Pairs from a student and a teacher that say what the test wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerBase

from atlas.environments.teaching.dialogue import Student, Teacher
from atlas.environments.teaching.pairs import evaluate_pairs
from atlas.machine.shipped import model_path
from atlas.models.checkpoints import load_tokenizer
from atlas.rollouts.generator import Sampling
from atlas.types import Completion, Task

TASKS = [
    Task(question="Calculate 2 + 3 * 4.", answer="14", family="basic_arithmetic"),
    Task(question="Calculate 1 + 1 + 5.", answer="7", family="basic_arithmetic"),
]


class Scripted:
    """Answers each prompt by a function of its text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, say: Callable[[str], str]) -> None:
        self.tokenizer, self.say = tokenizer, say

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        num_samples: int = 1,
        seed: int = 0,
        first_place: int = 0,
    ) -> list[list[Completion]]:
        """See `Generator.generate`."""
        texts = [self.say(str(self.tokenizer.decode(list(ids)))) for ids in prompts]
        return [
            [
                Completion(
                    prompt_ids=tuple(ids),
                    token_ids=tuple(self.tokenizer.encode(text)),
                    logprobs=(),
                    text=text,
                    finish_reason="stop",
                )
            ]
            for ids, text in zip(prompts, texts, strict=True)
        ]


def student_says(prompt: str) -> str:
    """Right when told to multiply first, and on the easy task."""
    if "how will you" in prompt:
        return "I go from left to right."
    if "1 + 1 + 5" in prompt:
        return "Answer: 7"
    _, told, teaching = prompt.partition("Teacher:")
    return "Answer: 14" if told and "3 * 4" in teaching else "no idea"


def teacher_says(prompt: str) -> str:
    """A plan for the hard task, the bare answer for the easy one."""
    assert "I go from left to right." in prompt
    return "A = 3 * 4. B = 2 + A. Answer B." if "3 * 4" in prompt else "The answer is 7."


def test_pairs_say_what_happened() -> None:
    tokenizer = load_tokenizer(model_path("base"))
    student = Student(Scripted(tokenizer, student_says), tokenizer, Sampling(max_new_tokens=9))
    teacher = Teacher(Scripted(tokenizer, teacher_says), tokenizer, Sampling(max_new_tokens=9))
    hard, easy = evaluate_pairs("grpo", student, teacher, TASKS, seed=0)
    assert not hard.alone.correct
    assert not hard.alone.parsed
    assert not hard.leaked
    assert hard.teaching == "A = 3 * 4. B = 2 + A. Answer B."
    assert easy.alone.correct
    assert easy.leaked
    assert easy.num_teaching_tokens == len(tokenizer.encode("The answer is 7."))
