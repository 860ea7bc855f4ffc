"""The corpus: four kinds of dialogue, right and wrong, in the shares that it states."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest

from atlas.data.tasks import make_tasks, mixed_tasks
from atlas.from_scratch.data import working
from atlas.from_scratch.data.corpus import (
    APPROACHES,
    EMPTY_ADVICE,
    FOLLOWED,
    KINDS,
    TEACHERS,
    Dialogue,
    write_dialogue,
)
from atlas.prompts import blanks_of, user_file
from atlas.prompts.folder import shipped_prompts
from atlas.rewards.verifiers import read_answer, verify
from atlas.types import Task

PLAIN = shipped_prompts("plain")
FAMILIES = ("basic_arithmetic", "chain_sum", "leg_counting")
Corpus = list[tuple[Task, Dialogue]]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    rng = random.Random(0)
    return [(task, write_dialogue(task, rng)) for task in mixed_tasks(FAMILIES, 3000, seed=1)]


def of_kind(corpus: Corpus, kind: str) -> Corpus:
    return [(task, dialogue) for task, dialogue in corpus if dialogue.kind == kind]


def execution_of(plan: str) -> str:
    """Work a plan as it is written, by other means than the corpus does."""
    values: dict[str, int] = {}
    lines = []
    *steps, last = plan.removesuffix(".").split(". ")
    for step in steps:
        name, expression = step.split(" = ")
        a, op, b = expression.split(" ")
        x, y = (values.get(v, v) for v in (a, b))
        values[name] = eval(f"{x} {op} {y}")
        copied = f"{x} {op} {y} = " if (a, b) != (str(x), str(y)) else ""
        lines.append(f"{step} = {copied}{values[name]}.")
    return " ".join([*lines, f"Answer: {values[last.removeprefix('Answer ')]}"])


def test_shares_are_shares() -> None:
    for shares in (TEACHERS, FOLLOWED, KINDS):
        assert sum(shares.values()) == pytest.approx(1)


def test_equal_chance_gives_equal_dialogues() -> None:
    task = make_tasks("basic_arithmetic", 1, seed=0)[0]
    first, again = ([write_dialogue(task, random.Random(s)) for s in range(9)] for _ in range(2))
    assert first == again


def test_kinds_come_in_their_shares_with_what_their_prompt_needs(corpus: Corpus) -> None:
    counts = Counter(dialogue.kind for _, dialogue in corpus)
    for kind, share in KINDS.items():
        assert counts[kind] / len(corpus) == pytest.approx(share, abs=0.03)
    for task, dialogue in corpus:
        assert dialogue.fields.keys() == blanks_of(PLAIN.texts[user_file(dialogue.kind)])
        assert dialogue.fields["task"] == task.question


def test_students_follow_plans_to_the_letter_right_or_wrong(corpus: Corpus) -> None:
    right = wrong = 0
    for task, dialogue in of_kind(corpus, "attempt"):
        teaching = dialogue.fields["teaching"]
        if " = " in teaching:
            assert dialogue.completion == execution_of(teaching)
            assert dialogue.ended
            correct = verify(task, dialogue.completion).correct
            right, wrong = right + correct, wrong + (not correct)
        elif teaching not in EMPTY_ADVICE:
            assert teaching == f"The answer is {task.answer}."
            assert dialogue.completion == f"Answer: {task.answer}"
    assert min(right, wrong) > 300


def test_teachers_are_mostly_poor(corpus: Corpus) -> None:
    kinds: Counter[str] = Counter()
    for task, dialogue in of_kind(corpus, "teaching"):
        teaching = dialogue.completion
        assert dialogue.fields["approach"] in APPROACHES.values()
        assert dialogue.ended
        if teaching in EMPTY_ADVICE:
            kinds["empty"] += 1
        elif " = " in teaching:
            kinds["right" if verify(task, execution_of(teaching)).correct else "wrong"] += 1
        else:
            assert teaching == f"The answer is {task.answer}."
            kinds["answer"] += 1
    total = sum(kinds.values())
    for kind in ("empty", "answer"):
        assert kinds[kind] / total == pytest.approx(TEACHERS[kind], abs=0.03)
    # More than the 24 % that are meant well: a chain of sums can be worked in any old way.
    assert 0.24 < kinds["right"] / total < 0.75
    assert kinds["wrong"] / total > 0.2


def test_students_alone_try_until_two_tries_agree(corpus: Corpus) -> None:
    correct = unfinished = 0
    alone = of_kind(corpus, "baseline")
    for task, dialogue in alone:
        tries = [part for part in dialogue.completion.split("Try: ") if part]
        results = [part.split(" = ")[-1].split(".")[0] for part in tries]
        assert all(a != b for a, b in pairwise(results[:-1]))
        if dialogue.ended:
            found = read_answer(dialogue.completion)
            assert found is not None
            assert found.text == results[-1] == results[-2]
            correct += verify(task, dialogue.completion).correct
        else:
            assert "Answer" not in dialogue.completion
            assert len(results) == 10
            unfinished += 1
    assert 0.15 < correct / len(alone) < 0.8
    assert unfinished > 0


def test_a_careless_plan_takes_every_animal_for_a_dog_and_goes_from_left_to_right() -> None:
    """The plans that are most common in the corpus, for one task of each kind."""
    legs = Task(
        question="how many legs are there in total if you have 3 bees, 2 chickens?",
        answer="22",
        family="leg_counting",
    )
    chain = Task(question="Calculate 1 + 2 * 3.", answer="7", family="basic_arithmetic")
    rng = random.Random(0)
    for task, careless in (
        (legs, "A = 3 * 4. B = 2 * 4. C = A + B. Answer C."),
        (chain, "A = 1 + 2. B = A * 3. Answer B."),
    ):
        written = [write_dialogue(task, rng) for _ in range(600)]
        plans = Counter(d.completion for d in written if d.kind == "teaching")
        assert plans.most_common(1)[0][0] == careless
        problem = working.read_problem(task)
        known = [6, 2] if problem.animals else None
        right = working.plan_steps(problem, working.by_precedence(problem), known)
        assert 0.1 < plans[working.write_plan(right)] / plans.total() < 0.5
