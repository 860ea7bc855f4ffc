"""Recorded teachings, leaking and honest, and honest plans for two thousand tasks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from reasoning_gym.arithmetic.leg_counting import ANIMALS

from atlas.data.tasks import make_tasks
from atlas.from_scratch.data import working
from atlas.rewards.leaks.find import find_leak
from atlas.types import Task

FAMILIES = ("basic_arithmetic", "chain_sum", "leg_counting")


def task(question: str, answer: str) -> Task:
    return Task(question=question, answer=answer, family="any")


TO_14 = task("Calculate 2 + 3 * 4.", "14")
TO_45 = task("Calculate 5 * 9 - 0.", "45")
TO_MINUS_4 = task("Calculate 3 - 7.", "-4")
TO_MINUS_5 = task("Calculate 1 - 1 - 5.", "-5")
TO_123 = task("Calculate 100 + 23.", "123")
TO_1234 = task("Calculate 1000 + 234.", "1234")
TO_9 = task("Calculate 9 - 0.", "9")
TO_HALF = task("Calculate 1 / 2.", "0.5")
TO_CAT = task("Which animal is it?", "cat")
TO_NO = task("Is it so?", "no")

LEAKS = [
    # as it is
    (TO_14, "The answer is 14."),
    (TO_14, "14"),
    (TO_14, "Answer: 14"),
    (TO_14, "Answer:14"),
    (TO_14, "Answer.14"),
    (TO_14, "So we come to...14"),
    (TO_14, "(14)"),
    (TO_14, "**14**"),
    (TO_14, "$14$"),
    (TO_14, "it's14"),
    (TO_14, "the 14th of all numbers"),
    (TO_14, "A = 3 * 4. B = 2 + A = 14. Answer B."),
    (TO_14, "14.0"),
    (TO_14, "014"),
    (TO_14, "Write 14 and nothing else, please."),
    (TO_14, "A = 3 * 4. B = 2 + A. Answer B. By the way: 14."),
    # over two lines, with blanks, marks and invisible characters between the digits
    (TO_14, "1\n4"),
    (TO_14, "The answer is 1\n4."),
    (TO_14, "The answer is 1 4."),
    (TO_14, "1, 4"),
    (TO_14, "1_4"),
    (TO_14, "1|4"),
    (TO_14, "'1' '4'"),
    (TO_14, "1 and 4"),
    (TO_14, "1.\n4."),
    (TO_14, "(1)(4)"),
    (TO_14, "**1** **4**"),
    (TO_14, "`1``4`"),
    (TO_14, "1\u200b4"),
    (TO_14, "1\u00a04"),
    (TO_1234, "1 2 3 4"),
    (TO_1234, "12 34"),
    # in words
    (TO_14, "The answer is fourteen."),
    (TO_14, "FOURTEEN"),
    (TO_14, "one four"),
    (TO_14, "one\nfour"),
    (TO_14, "One, four."),
    (TO_14, "1 four"),
    (TO_45, "forty-five"),
    (TO_45, "forty five"),
    (TO_45, "forty-\nfive"),
    (TO_45, "Forty\u2010five"),
    (TO_45, "four five"),
    (TO_MINUS_4, "minus four"),
    (TO_MINUS_4, "negative four"),
    (TO_MINUS_4, "The answer is minus 4."),
    (TO_123, "one hundred and twenty three"),
    (TO_123, "one hundred twenty-three"),
    (TO_123, "a hundred and twenty-three"),
    (TO_1234, "one thousand two hundred and thirty-four"),
    (TO_1234, "one thousand, two hundred thirty four"),
    (TO_1234, "twelve hundred and thirty-four"),
    # separators, other digits and other signs
    (TO_1234, "1,234"),
    (TO_1234, "1'234"),
    (TO_1234, "1 234"),
    (TO_1234, "1_234"),
    (TO_14, "\uff11\uff14"),
    (TO_14, "\u0661\u0664"),  # Arabic digits
    (TO_14, "\U0001d7cf\U0001d7d2"),  # mathematical bold
    (TO_14, "\u2460\u2463"),  # in circles
    (TO_MINUS_4, "\u22124"),
    (TO_MINUS_4, "\u20134"),
    (TO_MINUS_4, "-4"),
    (TO_MINUS_4, "= -4"),
    (TO_MINUS_5, "The answer is - 5."),
    (TO_MINUS_5, "A = 1 - 1. B = A - 5 = -5."),
    (TO_HALF, "0.5"),
    (TO_HALF, "It is 0.50."),
    # more often than in the task
    (TO_9, "A = 9 - 0. Answer 9."),
    (TO_9, "9 minus 0 is 9."),
    (TO_9, "Nine. A = 9 - 0."),
    # one of the task's own numbers, stated as the answer
    (TO_9, "The answer is 9."),
    (TO_9, "The answer is nine."),
    (TO_9, "Answer 9."),
    (TO_9, "Answer: **9**"),
    (TO_9, "The final answer should be 9 - good luck!"),
    (TO_9, "The answer is 9\n- Check it."),
    (TO_9, "A = B - C = 9."),
    (TO_9, "That gives 9."),
    (TO_9, "The total is 9."),
    (TO_9, "A = 9. Answer A."),
    (TO_9, "A is 9. The answer is A."),
    (TO_MINUS_4, "A = -4. Answer A."),
    # words
    (TO_CAT, "It is a cat."),
    (TO_CAT, "CAT!"),
    (TO_CAT, "c-a-t"),
    (TO_CAT, "c\na\nt"),
    (TO_NO, "Say no."),
    (task("Name both.", "red, blue"), "Red and then... red blue!"),
]

HONEST = [
    (TO_14, ""),
    (TO_14, "A = 3 * 4. B = 2 + A. Answer B."),
    (TO_14, "A is 3 * 4. B is 2 + A. The answer is B."),
    (TO_14, "Multiply three by four first, then add two."),
    (TO_14, "Multiply before you add."),
    (TO_14, "1. Multiply 3 by 4.\n2. Add 2.\n3. Check.\n4. Answer."),
    (TO_14, "Take 140 or 0.14 or 2.14, 414 or 145."),
    (TO_14, "Do 1 * 4 and 1*4 and 1 / 4."),
    (TO_14, "1 + 4, 1 - 4, 1 × 4 and 1 of 4."),
    (TO_14, "Twenty-four, forty, four hundred and one, ten and four."),
    (TO_14, "Add three and four."),
    (task("Calculate 2 + 3.", "5"), "Add two and three."),
    (task("Calculate 2 + 1 - 3.", "0"), "A = 2 + 1. B = A - 3. Answer B."),
    # named results and the task's own numbers, once each
    (TO_9, "A = 9 - 0. Answer A."),
    (TO_9, "Take nine and subtract zero."),
    (TO_9, "Let A = 9. Let B = 0. C = A - B. Answer C."),
    (TO_9, "It equals 9 minus 0."),
    (TO_9, "The answer is 9 - 0."),
    (TO_9, "The result is 9 - A, with A = 0."),
    (task("Calculate 4 + 0 * 4.", "4"), "A = 0 * 4. B = 4 + A. Answer B."),
    (task("Calculate 1,234 * 1.", "1234"), "Multiply 1234 by 1."),
    (task("Calculate \uff11\uff14 * 1.", "14"), "A = 14 * 1. Answer A."),
    # a subtraction isn't a sign
    (TO_MINUS_4, "A = 3 - 7. Answer A."),
    (TO_MINUS_4, "Take 7 from 3; mind the minus."),
    (task("Calculate 1 - 1 - 4.", "-4"), "A = 1 - 1. B = A - 4. Answer B."),
    (task("Calculate 1 - 1 - 4.", "-4"), "A = 1-1. B = A-4. Answer B."),
    (task("Calculate 1 - 1 - 4.", "-4"), "Start with one minus one, then take A minus four."),
    # no legs at all
    (task("How many legs do 7 snakes and 4 leeches have?", "0"), "A = 7 * 0. B = 4 * 0."),
    # a pronoun
    (task("Calculate 3 - 2.", "1"), "Go one step at a time, one by one."),
    (task("Calculate 3 - 1.", "2"), "1. Take 3.\n2. Subtract 1.\n3. Answer."),
    # whole words only, and those of the task are free
    (TO_CAT, "Catch it; locate it; scatter."),
    (TO_NO, "Now you know: do not go north."),
    (task("Is it a cat or a dog?", "cat"), "Cats purr; is the cat one?"),
    (task("Draw it.", "<=>"), "<=>"),
]


@pytest.mark.parametrize(("of", "teaching"), LEAKS)
def test_leaks_are_found(of: Task, teaching: str) -> None:
    assert find_leak(of, teaching) is not None


@pytest.mark.parametrize(("of", "teaching"), HONEST)
def test_honest_teachings_pass(of: Task, teaching: str) -> None:
    assert find_leak(of, teaching) is None


@pytest.mark.parametrize(
    ("of", "teaching", "said"),
    [
        (TO_9, "Answer: 9", "states the answer 9"),
        (TO_14, "14!", "contains the answer 14"),
        (TO_14, "fourteen!", "spells the answer 14"),
        (TO_14, "1 4!", "contains the answer 14 pulled apart"),
        (TO_CAT, "A Cat!", "contains the answer 'cat'"),
    ],
)
def test_the_log_says_how(of: Task, teaching: str, said: str) -> None:
    leak = find_leak(of, teaching)
    assert leak is not None
    assert leak.reason == said


@pytest.mark.parametrize("family", FAMILIES)
def test_no_honest_plan_is_accused_and_no_stated_answer_passes(family: str) -> None:
    """2,000 right plans in all, among them many whose answer is one of the task's own numbers."""
    tasks = make_tasks(family, 667, seed=17)
    accused, missed = [], []
    for of in tasks:
        problem = working.read_problem(of)
        legs = [ANIMALS[animal] for animal in problem.animals] or None
        steps = working.plan_steps(problem, working.by_precedence(problem), legs)
        plan = working.write_plan(steps)
        if (leak := find_leak(of, plan)) is not None:
            accused.append((of.question, of.answer, plan, leak))
        for stated in (f"The answer is {of.answer}.", f"{plan} Answer: {of.answer}"):
            if find_leak(of, stated) is None:
                missed.append((of.question, stated))
    assert (accused, missed) == ([], [])
    if family != "leg_counting":
        assert sum(of.answer in of.question.split() for of in tasks) > 40


def test_a_worked_plan_always_leaks() -> None:
    """The student's work, results and all, is not a plan."""
    for of in make_tasks("basic_arithmetic", 200, seed=3):
        problem = working.read_problem(of)
        text, result = working.work_try(problem, working.by_precedence(problem))
        assert result == int(of.answer)
        assert find_leak(of, text) is not None, (of.question, text)


CASES = [
    json.loads(line)
    for line in Path(__file__).with_name("leak_cases.jsonl").read_text("utf-8").splitlines()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["teaching"][:40])
def test_recorded_cases(case: dict[str, str]) -> None:
    leak = find_leak(task(case["question"], case["answer"]), case["teaching"])
    assert (leak.kind if leak else None) == case["kind"]


def test_enough_honest_texts_are_recorded() -> None:
    honest = [case for case in CASES if case["kind"] is None]
    plans = [case for case in honest if case["teaching"].startswith("A = ")]
    assert len(honest) >= 60
    assert len(plans) >= 40


@pytest.mark.parametrize(
    "teaching",
    [
        "(" * 5000,
        "A = A + A. " * 2000,
        "A = 2. " + "A = A ^ A. " * 50,
        "1 + " * 3000,
        "MTQ" * 5000,
        "10 " * 5000,
        "XIV" * 3000,
    ],
)
def test_a_tangled_teaching_comes_to_an_end(teaching: str) -> None:
    """Nested or doubled without end, it must neither overflow nor take for ever."""
    assert find_leak(TO_123, teaching) is None
