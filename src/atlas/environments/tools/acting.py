"""How a student acts: a turn says something and calls tools, is told what came of it, and so on.

Input: what a student is asked first, and its turns so far. Output: the messages of its next turn;
and from what it says to them the attempt with a turn more::

    user       task, teaching, tools          the opening
    assistant  Call: sql {"query": ...}       turns[0].text, turns[0].calls
    user       > 7                            their results, quoted; and guidance, if any
    assistant  Answer: 7                      turns[1], without calls: the attempt is over

Where an API, or a chat template, has roles for that, calls and results go in them. In either case
nothing that a tool returns can look like another's words (`atlas.environments.tools.quoting`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from atlas.environments.tools.calls import Called, Said, read_calls
from atlas.environments.tools.quoting import quoted
from atlas.environments.tools.toolbox import Toolbox
from atlas.json_file import json_value
from atlas.machine.background_loop import side_by_side
from atlas.prompts import Message, Prompts
from atlas.types import Attempt, StudentTurn, Task

Form = Literal["text", "api", "template"]
"""How calls are written: in words; as an OpenAI-compatible API wants them; as templates do."""
_MARKED = "Call:"


class Acting:
    """A student's way with tools.

    Args:
        toolbox: The tools.
        prompts: That the student reads.
        max_turns: Most turns of one attempt; a call in the last one isn't made.
    """

    def __init__(self, toolbox: Toolbox, prompts: Prompts, *, max_turns: int) -> None:
        self.toolbox, self._prompts, self.max_turns = toolbox, prompts, max_turns

    def messages(
        self, opening: Sequence[Message], attempt: Attempt, guidance: str, form: Form
    ) -> list[dict[str, Any]]:
        """Return what the student is given for its next turn.

        Args:
            opening: What it was asked first.
            attempt: So far.
            guidance: Of the teacher before this turn; empty for none, and for the first turn,
                whose teaching is in the opening.
            form: How calls and results are written.
        """
        messages: list[dict[str, Any]] = [dict(message) for message in opening]
        if form == "text":
            told = self._render("tools", tools=self.toolbox.lines, turns=str(self.max_turns))
            messages[-1]["content"] += f"\n\n{told}"
        guided = [*(turn.guidance for turn in attempt.turns[1:]), guidance]
        for number, (turn, said) in enumerate(zip(attempt.turns, guided, strict=False)):
            if form == "text":
                messages += self._in_words(turn, said)
            else:
                messages += self._in_roles(turn, said, number, form)
        return messages

    def read(self, text: str) -> Said:
        """Return what a text says and calls."""
        return read_calls(text, self.toolbox.tools)

    async def after(
        self, task: Task, before: Attempt, said: Attempt, called: Sequence[Called], guidance: str
    ) -> Attempt:
        """Return the attempt with one more turn, its tools called, side by side.

        Args:
            task: That the student works on.
            before: The attempt so far.
            said: The new turn, without its calls.
            called: Those; not made in the last turn, nor in one that was cut.
            guidance: That stood before this turn, as for `messages`.
        """
        if said.abstained:
            return replace(said, turns=before.turns)
        last = len(before.turns) + 1 >= self.max_turns
        seen = replace(task, answer="")
        calls = (
            ()
            if last or not said.finished
            else tuple(await side_by_side(self.toolbox.call(seen, *one) for one in called))
        )
        turn = StudentTurn(
            text=said.text, calls=calls, num_tokens=said.num_tokens, guidance=guidance
        )
        # Nobody knows a sum of which a part isn't known.
        known = said.num_tokens and (before.num_tokens or not before.turns)
        return replace(
            said,
            turns=(*before.turns, turn),
            num_tokens=before.num_tokens + said.num_tokens if known else 0,
            thoughts="\n".join(filter(None, (before.thoughts, said.thoughts))),
            # One that still wants to call something has no answer.
            finished=said.finished and not (last and called),
        )

    def _in_words(self, turn: StudentTurn, guidance: str) -> list[dict[str, Any]]:
        calls = "\n".join(f"{_MARKED} {call.name} {call.arguments}" for call in turn.calls)
        results = "\n".join(quoted(call.result) for call in turn.calls)
        told = self._render("tool_result", output=results, teaching=guidance)
        return [
            {"role": "assistant", "content": f"{turn.text}\n{calls}".strip()},
            {"role": "user", "content": told},
        ]

    def _in_roles(
        self, turn: StudentTurn, guidance: str, number: int, form: Form
    ) -> list[dict[str, Any]]:
        # Nine letters and digits, which is all that some templates take.
        ids = [f"call{number:02d}{place:03d}" for place in range(len(turn.calls))]
        calls = [
            {
                "id": id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": call.arguments if form == "api" else _as_object(call.arguments),
                },
            }
            for id, call in zip(ids, turn.calls, strict=True)
        ]
        messages: list[dict[str, Any]] = [
            {"role": "assistant", "content": turn.text, "tool_calls": calls}
        ]
        messages += [
            {"role": "tool", "tool_call_id": id, "name": call.name, "content": call.result}
            for id, call in zip(ids, turn.calls, strict=True)
        ]
        if guidance:
            told = self._render("tool_result", output="", teaching=guidance)
            messages.append({"role": "user", "content": told})
        return messages

    def _render(self, kind: Literal["tools", "tool_result"], **values: str) -> str:
        return self._prompts.render(kind, **values)[-1]["content"]


def is_over(attempt: Attempt) -> bool:
    """Tell whether an attempt has come to its end: an answer, a limit, or an outage."""
    return bool(attempt.abstained or (attempt.turns and not attempt.turns[-1].calls))


def shown(turn: StudentTurn) -> str:
    """Return what a student did in one turn, as text for a teacher or a person."""
    parts = [turn.text]
    for call in turn.calls:
        parts += [f"{_MARKED} {call.name} {call.arguments}", quoted(call.result)]
    return "\n".join(filter(None, parts))


def _as_object(arguments: str) -> Mapping[str, Any]:
    """Return arguments as templates want them; what is none, under a name of its own."""
    try:
        return json_value(arguments)
    except ValueError:
        return {"arguments": arguments}
