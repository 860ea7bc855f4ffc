"""Arithmetic that is the answer: "A = 10 + 4. Answer A." for a task whose answer is 14.

A plan is arithmetic that comes to the answer, too: "A = 7 - 3. B = A + 5. Answer B." is how
7 - 3 + 5 is worked, and teaching it is the point. What tells the two apart is what the calculation
is made of. One that comes to the answer is a plan, and no leak, where

1. all its numbers are the task's own, each as often as the task has it; or
2. it uses every number of the task, and what it adds of its own are only factors, divisors or
   exponents of something with a number of the task in it (legs of a dog, cents of a dollar, the
   count in a mean), or a step of 1 (both ends counted); or
3. it uses every number of the task, each of them matters to the result, and it adds at most as many
   numbers of its own as the task has ("98 + 37" by way of "98 + 2 + 37 - 2"); or
4. it has more numbers than the task, and at least half of the task's are among them and matter: a
   wrong plan that happens to come out right is as much work, and gives nothing away.

Factors that everybody knows (7, 12, 24, 60, 100, 1000, ...) count as the task's own.
"""

from __future__ import annotations

import re
from collections import Counter
from fractions import Fraction

from atlas.rewards.leaks.expressions import (
    Calculation,
    Expression,
    Number,
    calculations,
    evaluate,
    leaves,
)
from atlas.rewards.leaks.number_words import number_words_to_digits

_IMPLIED = {
    **{"half": 2, "halves": 2, "double": 2, "twice": 2, "pair": 2, "both": 2, "triple": 3},
    **{"third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "dozen": 12, "score": 20},
    **{"percent": 100, "squared": 2, "square": 2, "cubed": 3, "cube": 3},
}
"""Words of a question that are numbers in its plan."""
_KNOWN = frozenset(map(Fraction, (2, 7, 12, 24, 52, 60, 90, 100, 180, 360, 365, 1000, 3600)))
_KNOWN_FACTORS = _KNOWN - {Fraction(2)}
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def find_arithmetic(answer: str, question: str, said: str) -> str | None:
    """Return the calculation that gives the answer away, None where there is none.

    Args:
        answer: Text of a number; nothing is found where it isn't one.
        question: In lower case.
        said: The teaching, in lower case.
    """
    value, margin = _read(answer)
    if value is None:
        return None
    own, implied = _numbers_of(question)
    for calculation in calculations(number_words_to_digits(said)):
        if abs(calculation.value - value) <= margin and not is_plan(calculation, own, implied):
            return " ".join(map(_shown, leaves(calculation.expression)))
    return None


def is_plan(calculation: Calculation, own: Counter[Fraction], implied: Counter[Fraction]) -> bool:
    """Tell whether a calculation is made of a task's numbers, by the rules above.

    Args:
        calculation: One that comes to the answer.
        own: The numbers of the task, each as often as it has it.
        implied: Numbers that words of the task stand for; a plan may use them, and need not.
    """
    numbers = leaves(calculation.expression)
    if calculation.value == 0 and 0 in numbers:
        return True  # 7 snakes have 7 * 0 legs
    left, also, marks = Counter(own), Counter(implied), list[bool]()
    for number in numbers:
        pool = left if left[abs(number)] > 0 else also
        marks.append(pool[abs(number)] > 0)
        pool[abs(number)] -= marks[-1]
    if all(marks):
        return True
    if not own:
        # Without a number of the question, only what everybody knows can be multiplied.
        return all(abs(number) in _KNOWN for number in numbers)
    mattering = _mattering(calculation, marks)
    if len(numbers) > own.total() and 2 * mattering >= own.total():
        return True
    if any(left.values()):
        return False
    only_factors, _, _ = _check(calculation.expression, marks, 0)
    foreign = len(marks) - sum(marks)
    return only_factors or (foreign <= sum(marks) == mattering)


def _check(expression: Expression, marks: list[bool], place: int) -> tuple[bool, bool, int]:
    """Return: foreign numbers are factors only; one of the task's is in it; the next leaf's place.

    A foreign number by itself is settled by the operation around it.
    """
    if isinstance(expression, Number):
        return True, marks[place] or abs(expression.value) in _KNOWN_FACTORS, place + 1
    left_good, left_own, middle = _check(expression.left, marks, place)
    right_good, right_own, end = _check(expression.right, marks, middle)
    good = left_good and right_good
    for side, mine, other in (
        (expression.left, left_own, right_own),
        (expression.right, right_own, left_own),
    ):
        if mine:
            continue
        step = isinstance(side, Number) and abs(side.value) == 1
        good = good and other and (expression.sign in "*/^" or step)
    return good, left_own or right_own, end


def _mattering(calculation: Calculation, marks: list[bool]) -> int:
    """Count the task's numbers of which a change changes the result."""
    numbers = leaves(calculation.expression)
    count = 0
    for place, mine in enumerate(marks):
        changed = [n + 1 if i == place else n for i, n in enumerate(numbers)]
        count += mine and evaluate(calculation.expression, iter(changed)) != calculation.value
    return count


def _numbers_of(question: str) -> tuple[Counter[Fraction], Counter[Fraction]]:
    """Return the numbers of a question, and those that its words stand for."""
    found = [Fraction(n) for n in _NUMBER.findall(number_words_to_digits(question, bare_one=False))]
    words = re.findall("[a-z]+", question)
    return Counter(found), Counter(Fraction(_IMPLIED[word]) for word in words if word in _IMPLIED)


def _read(answer: str) -> tuple[Fraction | None, Fraction]:
    """Return the number that an answer is, and by how much a rounded one may be off."""
    if not re.fullmatch(r"-?\d+(?:\.\d+)?(?:/\d+)?", answer) or answer.endswith("/0"):
        return None, Fraction(0)
    whole, _, under = answer.partition("/")
    places = len(whole.partition(".")[2])
    value = Fraction(whole) / Fraction(under) if under and Fraction(under) else Fraction(whole)
    return value, Fraction(1, 2 * 10**places) if places else Fraction(0)


def _shown(number: Fraction) -> str:
    return str(number) if number.denominator == 1 else f"{float(number):g}"
