r"""The answer is mathematically equal to the reference: ``\frac{1}{2}`` is ``0.5``.

Fractions, roots, powers, intervals, sets, lists, matrices, equations and expressions with letters;
LaTeX or plain. Both are read whole (`text`) and compared exactly (`equal`), in a jailed
process (`worker`), so that any thread may ask and none waits for ever. An answer that isn't
understood is wrong; a reference that isn't is an abstention. An answer that takes too long is
wrong, if the reference doesn't.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from atlas.rewards.verifiers.jailed import JailedWorker, Reply
from atlas.rewards.verifiers.numeric.quantity import Quantity, read_quantity
from atlas.rewards.verifiers.numeric.units import find_unit
from atlas.rewards.verifiers.numeric.verifier import readings
from atlas.rewards.verifiers.reference import says_the_same
from atlas.rewards.verifiers.verdict import Verdict, cannot_tell, right_or_wrong, unread
from atlas.types import Task

CPU_SECONDS = 10.0
"""Of the processor for one comparison, after which it is ended."""
_PLAIN = "1"
_LONGEST = 2000
_ROUNDING = Fraction(1, 10**12)
_TEXT = re.compile(r"\\(?:text|textbf|mbox|mathrm)\s*\{([^{}]*)\}")
_PROSE = re.compile(r"[^\W\d_]{2,}(?:[ '\u2019-]+[^\W\d_]+)*[.!]?")
_UNIT_BEHIND = re.compile(
    r"(?<=[\w)}])\s*(?:\\[,;: ]\s*)*(?:\\(?:text|mbox|mathrm)\s*\{\s*(?P<marked>[^{}\d]*?)\s*\}"
    r"(?P<power>\s*\^\s*\{?\s*\d\s*\}?)?"
    r"|(?<=[\s\d)}])\s(?P<plain>(?:square |cubic |sq\.? )?[a-zA-Z]{2,}))$"
)
_DEGREES = re.compile(r"(?:\^\s*(?:\\circ|\{\s*\\circ\s*\})|°|\\degree)\s*$")
_ANGLES = re.compile(r"\\?pi\b|π|rad|sin|cos|tan|cot|sec|csc")
_NO_UNIT = re.compile(r"\b(?:and|or|not|if|million|thousand|hundred|billion|is|the answer)\b|^$")

_worker = JailedWorker("maths/worker.py", what="mathematics")


def math_verdicts(tasks: Sequence[Task], answers: Sequence[str]) -> list[Verdict]:
    """Compare one answer a task with its reference, all of them in one call of the jailed process.

    Raises:
        AtlasError: This system can't jail a process.
    """
    told = [_without_asking(task, answer) for task, answer in zip(tasks, answers, strict=True)]
    found = iter(_compare([one for one in told if not isinstance(one, Verdict)]))
    return [
        one if isinstance(one, Verdict) else _verdict(task, next(found))
        for task, one in zip(tasks, told, strict=True)
    ]


def _without_asking(task: Task, answer: str) -> Verdict | tuple[str, str]:
    """Return the verdict on texts and plain numbers, else the two that must be compared."""
    texts = [_TEXT.sub(r"\1", one) for one in (answer, task.answer)]
    if _same_text(*texts):
        return right_or_wrong(True)
    if _PROSE.fullmatch(texts[1].strip()) and len(texts[1].strip()) > 3:
        return right_or_wrong(False)
    if len(answer) > _LONGEST:
        return right_or_wrong(False, f"the answer has more than {_LONGEST} characters")
    reference, found = _plain_quantity(task.answer), _plain_quantity(answer)
    if reference is not None and found is not None:
        goal = reference.in_base()
        margin = _ROUNDING * abs(goal) if reference.unit else 0
        near = any(abs(value - goal) <= margin for value in readings(found, reference))
        return right_or_wrong(near, "another number")
    texts = [task.answer, answer]
    if not any(map(_ANGLES.search, texts)):
        texts = [_DEGREES.sub("", one) for one in texts]
    (gold, unit), (said, own) = map(_without_unit, texts)
    return right_or_wrong(False, "another unit") if _differ(unit, own) else (gold, said)


def _compare(pairs: Sequence[tuple[str, str]]) -> list[Reply]:
    """Ask; a failure says nothing where comparing the reference with a plain number fails too."""
    replies = _worker.ask(pairs, cpu_seconds=CPU_SECONDS)
    failed = list({pair[0] for pair, reply in zip(pairs, replies, strict=True) if reply.failed})
    checked = _worker.ask([(one, _PLAIN) for one in failed], cpu_seconds=CPU_SECONDS)
    broken = {
        one: Reply(starved=reply.starved or reply.failed)
        for one, reply in zip(failed, checked, strict=True)
        if reply.starved or reply.failed
    }
    return [
        broken.get(reference, reply) if reply.failed else reply
        for (reference, _), reply in zip(pairs, replies, strict=True)
    ]


def _verdict(task: Task, reply: Reply) -> Verdict:
    if reply.starved:
        return cannot_tell(f"comparing the answer failed: {reply.starved}")
    if reply.failed:
        return right_or_wrong(False, f"comparing the answer failed: {reply.failed}")
    found = reply.value
    if not found["reference"]:
        return cannot_tell(
            f"the task's reference '{task.answer[:80]}' can't be read as mathematics"
        )
    if not found["answer"]:
        return unread("the answer is no mathematics that is understood")
    return right_or_wrong(bool(found["right"]))


def _same_text(one: str, other: str) -> bool:
    """Tell whether two texts are the same but for blanks; words, but for case too."""
    if _PROSE.fullmatch(other.strip()):
        return says_the_same(one, other)
    return "".join(one.split()) == "".join(other.split())


def _plain_quantity(text: str) -> Quantity | None:
    """Return a number and its unit, where what follows can be no letters of algebra."""
    # In mathematics, y = 5 isn't x = 5.
    found = None if "=" in text else read_quantity(text)
    if found is None or found.noun in ("", "%", "°"):
        return found
    shortest = min(len(word) for word in re.findall(r"[^\W\d_]+", found.noun) or [""])
    marked = _TEXT.search(text) is not None
    known = find_unit(found.noun) is not None and (marked or len(found.noun) > 1)
    return found if known or shortest > 2 else None


def _without_unit(text: str) -> tuple[str, str]:
    r"""Take the unit off ``2\sqrt{3}\text{ cm}``."""
    match = _UNIT_BEHIND.search(text.strip())
    if match is None:
        return text, ""
    unit = (match["marked"] or match["plain"] or "").strip()
    known = find_unit(unit) is not None or unit.casefold().endswith(("unit", "units", "degrees"))
    if _NO_UNIT.search(unit) or not (known or match["marked"]):
        return text, ""
    return text.strip()[: match.start()], unit + re.sub(r"[\s{}]", "", match["power"] or "")


def _differ(unit: str, own: str) -> bool:
    one, other = (find_unit(name) if name else None for name in (unit, own))
    return one is not None and other is not None and one != other
