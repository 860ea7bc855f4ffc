r"""The final answer of a text: the one place that reads it, and by which rule it was read.

Input: what a student wrote, and a format. Output: a `FinalAnswer`, or None where there is none.

=============  ==================================================================================
answer         what follows the last ``Answer:``, on its line or below it
boxed          what is in the last ``\boxed{}``
hash           what follows the last ``####``
answer_is      what follows the last "the answer is", to the end of the sentence (``auto`` alone)
tags           what is in the last ``<answer>`` (``auto`` alone)
last_line      the last line that isn't blank
last_number    the last number
json:PATH      what is at a path (``result.value``) in the last JSON object
regex:PATTERN  what the last match of a pattern holds: its first group, else all of it
=============  ==================================================================================

``auto`` takes the first of the upper five that there is, in this order. Thoughts, as models mark
them (`atlas.prompts.thinking`), are no part of what is said. Marks around an answer (bold, dollar
signs of LaTeX, a box, a final period) are taken away, whatever read it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import regex

from atlas.config.parts.answers import AUTO
from atlas.prompts.thinking import PAIRS

_BEGINS, _ENDS = ("|".join(map(re.escape, marks)) for marks in zip(*PAIRS, strict=True))
_FINAL = re.escape("<|channel|>final<|message|>")
_NOT_SAID = re.compile(rf"\A.*(?:{_ENDS}|{_FINAL})|(?:{_BEGINS}|<\|channel\|>).*\Z", re.DOTALL)
_END_TOKENS = re.compile(r"(?:\s*(?:<\|[^|<>\n]*\|>|</s>|<end_of_turn>|<eos>))+\s*\Z")
# With the marks that close a bold label: "**Answer:** 5". The first form is all there is on a line.
_LABEL = re.compile(
    r"^[#*_ \t]*(?:the[ \t]+)?(?:final[ \t]+)?answer[*_ \t]*$"
    r"|(?:answer|答案)[*_ \t]*[:\uff1a](?:[*_]+(?=\s|$|[^\w*_]))?",
    re.IGNORECASE | re.MULTILINE,
)
_ANSWER_IS = re.compile(
    r"\banswer(?:\s+to\s+(?:the|this|your)(?:\s\w+){1,3}?)?(?:,\s+(?:therefore|thus|then),)?"
    r"\s+(?:is|(?:would|should|must|will)\s+be)\b"
    r"(?:,?\s+(?:therefore|thus|then|simply|just|indeed),?(?=\s))?[ \t]*[:\uff1a]?"
    r"|答案[是为][:\uff1a]?",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"[.!?](?=[\s*\"']|$)|。|\n|,?\s(?:because|since)\s")
_TAG = re.compile(r"<(/?)answer>", re.IGNORECASE)
_HASH = re.compile(r"^[ \t]*####[ \t]*([^#\n].*)$", re.MULTILINE)
_PLAIN_NUMBER = re.compile(r"[-+\u2212]?[$€£]?\d[\d,]*(?:\.\d+)?%?")
_NUMBER = re.compile(
    r"(?:(?<![\w)])[-+\u2212])?[$€£]?(?:\d+(?:,\d{3})+|\d+)?(?:\.\d+|(?<=\d))"
    r"(?:e[-+]?\d+)?(?:/\d+)?%?",
    re.IGNORECASE,
)
_DISPLAY = re.compile(r"\$\$(.*?)\$\$|\\\[(.*?)\\\]|```[\w+-]*\n(.*?)```", re.DOTALL)
_FENCE = re.compile(r"```[ \t]*([\w+-]*)[^\n]*\n(.*?)(?:```|\Z)", re.DOTALL)
_LAST_LABEL = re.compile(r".*answer:(.*)", re.IGNORECASE | re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox|framebox)\s*\{")
_BETWEEN_BOXES = re.compile(r"[\s$,;]*(?:and|or)?[\s$,;]*", re.IGNORECASE)
_LEADS_TO_BOX = re.compile(r"(?:\A|[=:≈]|\b(?:is|are|be|equals?))\s*\Z", re.IGNORECASE)
_PAIRS = tuple(
    re.compile(rf"{start}\s*(.+?)\s*{end}", re.DOTALL)
    for start, end in (
        (r"\*\*(?!\*)", r"\*\*"),
        (r"\*(?!\*)", r"\*"),
        (r"__(?!_)", "__"),
        ("_(?!_)", "_"),
        ("`", "`"),
        (r"\$\$(?!\$)", r"\$\$"),
        (r"\$(?!\$)", r"(?<!\\)\$"),
        (r"\\\(", r"\\\)"),
        (r"\\\[", r"\\\]"),
    )
)
_MARKS = ("**", "*", "`")
_TIME_LIMIT = 1.0
_MOST_BRACES = 1000
_LONGEST = 200_000
"""Characters; of a longer text, only the end is read."""


@dataclass(frozen=True, slots=True)
class FinalAnswer:
    """A final answer.

    Example:
        >>> read_answer("So **A = 6**? No. **Answer:** $5$.")
        FinalAnswer(text='5', rule='answer')
    """

    text: str
    """As written, without the marks around it; never empty."""
    rule: str
    """By which it was read: a name of this module's table, without path or pattern."""


def read_answer(text: str, answer_format: str = AUTO) -> FinalAnswer | None:
    """Return the final answer of a text; None where there is none.

    Args:
        answer_format: A value that `check_answer_format` returned.
    """
    text = _said(text)
    kind, _, rest = answer_format.partition(":")
    if kind in ("json", "regex"):
        found = _at_path(text, rest) if kind == "json" else _matched(text, rest)
        return FinalAnswer(found, kind) if found else None
    for rule, read in _AUTO.items() if answer_format == AUTO else [(kind, _RULES[kind])]:
        found = read(text)
        if found:
            return FinalAnswer(found, rule)
    return None


def read_block(text: str, *languages: str) -> FinalAnswer | None:
    r"""Return an answer of several lines: the last fenced block, else all after ``Answer:``.

    Args:
        languages: A block marked as one of these is preferred to any other.

    Example:
        >>> read_block("I try.\n```python\nx = 1\n```\nDone.", "python")
        FinalAnswer(text='x = 1\n', rule='block')
    """
    text = _said(text)
    blocks = [(match[1].casefold(), match[2]) for match in _FENCE.finditer(text)]
    marked = [body for language, body in blocks if language in languages]
    if blocks:
        return FinalAnswer((marked or [body for _, body in blocks])[-1], "block")
    after = _LAST_LABEL.match(text)
    return FinalAnswer(after[1].strip(), "answer") if after and after[1].strip() else None


def bare(text: str) -> str:
    """Take away the marks around an answer.

    Example:
        >>> bare("**$5$**."), bare("$5"), bare(".5")
        ('5', '$5', '.5')
    """
    before = None
    while text != before:
        before = text
        text = text.strip().rstrip(".。")
        for pair in _PAIRS:
            inside = pair.fullmatch(text)
            if inside and not pair.search(inside[1]):
                text = inside[1]
        for mark in _MARKS:
            # One without its partner closes something outside: "**Answer: 5**".
            if text.count(mark) % 2:
                text = text.removesuffix(mark) if text.endswith(mark) else text.removeprefix(mark)
        whole = _boxes(text)
        if len(whole) == 1 and (whole[0][0], whole[0][1]) == (0, len(text)):
            text = whole[0][2]
    return text


def _said(text: str) -> str:
    return _END_TOKENS.sub("", _NOT_SAID.sub("", text[-_LONGEST:]))


def _settled(content: str) -> str:
    """Return the answer within what a rule found: it may be marked once more."""
    content = _without_boxes(_in_tags(content) or content)
    if said := [*_ANSWER_IS.finditer(content)]:
        content = _sentence(content[said[-1].end() :]) or content
    return bare(content)


def _without_boxes(content: str) -> str:
    """Put the contents of boxes in their place; what only leads to the one box goes too."""
    boxes = _boxes(content)
    for start, end, inside in reversed(boxes):
        while content[start - 1 : start] == "$" and content[end : end + 1] == "$":
            start, end = start - 1, end + 1
        before, after = content[:start], content[end:]
        if len(boxes) == 1 and _LEADS_TO_BOX.search(before):
            # What opened before the box closes after it: "$x = \\boxed{5}$".
            after = after.replace("$", "", 1) if before.count("$") % 2 else after
            before = ""
        content = before + _without_boxes(inside) + after
    return content


def _boxes(text: str) -> list[tuple[int, int, str]]:
    """Return start, end and content of every whole box; of those in one another, the outer."""
    found: list[tuple[int, int, str]] = []
    for match in _BOX.finditer(text):
        if found and match.start() < found[-1][1]:
            continue
        depth = 1
        for place in range(match.end(), len(text)):
            escaped = text[place - 1] == "\\"
            depth += 0 if escaped else {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0:
                found.append((match.start(), place + 1, text[match.end() : place]))
                break
        else:
            break  # it was cut off
    return found


def _labelled(text: str) -> str:
    labels = [*_LABEL.finditer(text)]
    ends = [*(label.start() for label in labels[1:]), len(text)][: len(labels)]
    for label, end in zip(reversed(labels), reversed(ends), strict=True):
        if found := _settled(_next(text[label.end() : end])):
            return found
    return ""


def _next(text: str) -> str:
    """Return what stands on the line, else on the next that isn't blank; displays are whole."""
    text = text.lstrip()
    display = _DISPLAY.match(text)
    if display and "\n" in display[0]:
        return next(filter(None, display.groups()), "")
    return text.partition("\n")[0]


def _boxed(text: str) -> str:
    boxes = _boxes(text)
    if not boxes or _BOX.search(text, boxes[-1][1]):
        return ""  # the last one was cut off
    first = len(boxes) - 1
    while first and _BETWEEN_BOXES.fullmatch(text[boxes[first - 1][1] : boxes[first][0]]):
        first -= 1
    # Two side by side are one answer of two values.
    return bare(_without_boxes(text[boxes[first][0] : boxes[-1][1]]))


def _hashed(text: str) -> str:
    found = _HASH.findall(text)
    return _settled(found[-1]) if found else ""


def _hashed_at_end(text: str) -> str:
    """Return what follows ``####``, where it is an answer and no heading."""
    found = [*_HASH.finditer(text)]
    if not found:
        return ""
    content, at_end = found[-1][1], not text[found[-1].end() :].strip()
    return _settled(content) if at_end or _PLAIN_NUMBER.fullmatch(bare(content)) else ""


def _answer_is(text: str) -> str:
    said = [*_ANSWER_IS.finditer(text)]
    return _settled(_sentence(text[said[-1].end() :])) if said else ""


def _sentence(text: str) -> str:
    text = _next(text)
    end = _SENTENCE_END.search(text)
    return text[: end.start()] if end else text


def _tagged(text: str) -> str:
    return _settled(_in_tags(text))


def _in_tags(text: str) -> str:
    """Return what is between the last opening tag that is closed, and its closing one."""
    tags = [*_TAG.finditer(text)]
    for first, second in zip(reversed(tags[:-1]), reversed(tags[1:]), strict=True):
        if second[1] and not first[1]:
            return text[first.end() : second.start()]
    return ""


def _last_line(text: str) -> str:
    line = text.strip().rpartition("\n")[2]
    return _labelled(line) or _settled(line)


def _last_number(text: str) -> str:
    found = [match[0] for match in _NUMBER.finditer(text) if match[0]]
    return found[-1] if found else ""


def _at_path(text: str, path: str) -> str:
    """Return what is at a path in the last JSON object of a text."""
    decoder, value, place = json.JSONDecoder(), None, text.find("{")
    for _ in range(_MOST_BRACES):
        if place < 0:
            break
        try:
            value, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        place = text.find("{", end)
    for name in path.strip("$. ").split("."):
        value = _inside(value, name)
    if isinstance(value, str):
        return bare(value)
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _inside(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return value.get(name)
    if isinstance(value, list) and name.isdecimal() and len(name) < 9:
        return value[int(name)] if int(name) < len(value) else None
    return None


def _matched(text: str, pattern: str) -> str:
    """Return the first group of a pattern's last match; nothing where it takes too long."""
    try:
        found = [*regex.finditer(pattern, text, timeout=_TIME_LIMIT)]
    except TimeoutError:
        return ""
    if not found:
        return ""
    return bare(str((found[-1][1] if found[-1].re.groups else found[-1][0]) or ""))


_AUTO: Mapping[str, Callable[[str], str]] = {
    "answer": _labelled,
    "boxed": _boxed,
    "hash": _hashed_at_end,
    "answer_is": _answer_is,
    "tags": _tagged,
}
_RULES: Mapping[str, Callable[[str], str]] = {
    "answer": _labelled,
    "boxed": _boxed,
    "hash": _hashed,
    "last_line": _last_line,
    "last_number": _last_number,
}
