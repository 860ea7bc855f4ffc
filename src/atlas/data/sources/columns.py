"""Rows of a table to samples: which columns hold the question, the teaching, the answer.

Input: rows as mappings. Output: the messages of a dialogue, or a `Task`. Read, first found:

    SFT   messages                             chat turns with role and content
          prompt, completion                   texts, or chat turns
          problem_text, teacher_teaching       the guide's set, with student_approach if it is there
    RL    one of prompt, problem_text, question, problem, input, task
          with one of ground_truth, reference_answer, answer, solution, final_answer
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from atlas.data.samples import Use
from atlas.data.sft import Request
from atlas.errors import AtlasError
from atlas.prompts import Message
from atlas.types import REFERENCE, Task

Row = Mapping[str, Any]

_TEACHINGS: Final = (("messages",), ("prompt", "completion"), ("problem_text", "teacher_teaching"))
_QUESTIONS: Final = ("prompt", "problem_text", "question", "problem", "input", "task")
_ANSWERS: Final = ("ground_truth", "reference_answer", "answer", "solution", "final_answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Which columns are read."""

    teachings: tuple[str, ...] = ()
    """For SFT; empty where it isn't wanted or isn't there."""
    question: str = ""
    """For RL, with ``answer``; both are empty where it isn't wanted or isn't there."""
    answer: str = ""


def find_columns(name: str, columns: Collection[str], use: Use) -> Columns:
    """Return the columns that hold what is wanted; of two uses one is enough.

    Raises:
        AtlasError: Nothing that is wanted is there; the columns that are there are named.
    """
    teachings = next((group for group in _TEACHINGS if {*group} <= {*columns}), ())
    question = next((column for column in _QUESTIONS if column in columns), "")
    answer = next((column for column in _ANSWERS if column in columns), "")
    found = Columns(
        teachings=teachings if use != "rl" else (),
        question=question if use != "sft" and answer else "",
        answer=answer if use != "sft" and question else "",
    )
    if not found.teachings and not found.question:
        groups = " or ".join(" and ".join(group) for group in _TEACHINGS)
        needs = {
            "sft": f"SFT needs {groups}",
            "rl": f"RL needs one of {', '.join(_QUESTIONS)} with one of {', '.join(_ANSWERS)}",
        }
        wanted = "; ".join(need for part, need in needs.items() if use in (part, "both"))
        there = ", ".join(sorted(columns))
        raise AtlasError(f"data set {name} has the columns {there}, but {wanted}")
    return found


def dialogue_in(row: Row, columns: Columns) -> tuple[str, tuple[Message | Request, ...]] | None:
    """Return the task of a row and its turns, up to the assistant's last; None without both."""
    opening: list[Request] = []
    if columns.teachings == ("messages",):
        turns = _turns(row["messages"], "user")
    elif columns.teachings == ("prompt", "completion"):
        turns = [*_turns(row["prompt"], "user"), *_turns(row["completion"], "assistant")]
    else:
        asked, approach = _text(row["problem_text"]), _text(row.get("student_approach"))
        if asked:
            opening = [Request(parts=(("teaching", {"task": asked, "approach": approach}),))]
        turns = _turns(row["teacher_teaching"], "assistant")
    while turns and turns[-1]["role"] != "assistant":
        turns.pop()
    roles = [*("user" for _ in opening), *(turn["role"] for turn in turns)]
    if "assistant" not in roles or "user" not in roles[: roles.index("assistant")]:
        return None
    said = "\n".join(turn["content"] for turn in turns if turn["role"] == "user")
    task = said if "problem_text" not in columns.teachings else _text(row["problem_text"])
    return task, (*opening, *turns)


def task_in(row: Row, columns: Columns) -> Task | None:
    """Return the task of a row with its reference answer; None where one of them is empty."""
    said = [turn for turn in _turns(row[columns.question], "user") if turn["role"] == "user"]
    question = said[-1]["content"].strip() if said else ""
    given = row[columns.answer]
    if isinstance(given, list):  # OlympiadBench's; of several values no text is the answer
        given = given[0] if len(given) == 1 else None
    # Sets of worked solutions (GSM8K) put the answer after this mark.
    answer = _text(given).rpartition("####")[2].strip()
    if not question or not answer:
        return None
    return Task(question=question, answer=answer, family=REFERENCE)


def _turns(value: object, role: str) -> list[Message]:
    """Return chat turns, or a text as one turn of ``role``."""
    if isinstance(value, str):
        return [{"role": role, "content": value}] if value.strip() else []
    turns = [turn for turn in value if isinstance(turn, dict)] if isinstance(value, list) else []
    said = [_content(turn.get("content")) for turn in turns]
    if None in said:
        return []  # there was more than text in it, without which the rest says something else
    return [
        {"role": str(turn.get("role")), "content": content or ""}
        for turn, content in zip(turns, said, strict=True)
    ]


def _content(value: object) -> str | None:
    """Return what was said in a turn: a text, or OpenAI's list of parts where all of them are."""
    if value is None or isinstance(value, str):
        return value or ""
    parts = value if isinstance(value, list) else [None]
    texts = [part.get("text") if isinstance(part, dict) else None for part in parts]
    said = [text for text in texts if isinstance(text, str)]
    return "".join(said) if len(said) == len(texts) else None


def _text(value: object) -> str:
    """Return a text or a number as text; of a list, as of several answers, only a single one."""
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    return str(value) if isinstance(value, str | int | float) else ""
