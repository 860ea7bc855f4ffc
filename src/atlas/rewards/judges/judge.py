"""One judge: criteria and a text to judge -> a `JudgeVerdict`, or an `Abstention` with its reason.

Input: criteria (a text file), material by name (``prompt``, ``response`` and what else is known), a
model. The system's message holds rules and criteria, the user's message nothing but the quoted
material; both are made in one pass, so that braces in a text stay as they are.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from atlas.config.rim import JudgeConfig, RIMConfig
from atlas.endpoint.cache import content_key
from atlas.endpoint.client import Call, Reply
from atlas.endpoint.failures import Abstention, CallError
from atlas.endpoint.service import Service
from atlas.errors import AtlasError
from atlas.json_file import json_value
from atlas.prompts import Message
from atlas.rewards.judges.quoting import quote
from atlas.rewards.judges.verdict import (
    JudgeVerdict,
    UnreadableError,
    checked_verdict,
    read_verdict,
    verdict_schema,
)

Frame = Literal["system", "user", "opinions"]

PROMPTS = Path(__file__).parent / "prompts"
PLACEHOLDERS: Mapping[Frame, frozenset[str]] = {
    "system": frozenset({"criteria", "fence", "nonce"}),
    "user": frozenset({"fence", "material", "note"}),
    "opinions": frozenset(),
}
"""What the code fills into ``judge_<frame>.txt``. A file with criteria has no placeholders."""

_BLANK = re.compile(r"\{([a-z_]+)\}")
_FENCE_BYTES = 8
_NONCE_BYTES = 6
_KEPT_AS = 1
"""Raised when a verdict is kept in another form; older ones are not found then."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Judge:
    """What one judge looks for."""

    name: str
    criteria: str
    weight: float = 1.0


@dataclass(kw_only=True, slots=True)
class JudgeModel:
    """A model that speaks for judges."""

    service: Service
    max_tokens: int
    max_chars: int


class _VerdictForm:
    """How a verdict is kept."""

    def write(self, answer: JudgeVerdict) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(answer), ensure_ascii=False)

    def read(self, text: str) -> JudgeVerdict | None:
        """Return it again; None where what is there is damaged."""
        try:
            return checked_verdict({**json_value(text), "nonce": ""})
        except ValueError:
            return None


def load_judges(config: RIMConfig) -> tuple[Judge, ...]:
    """Return the active judges with their criteria.

    Raises:
        AtlasError: A file with criteria isn't there, or is empty.
    """
    return tuple(_load(name, config.judges.get(name), config.folder) for name in config.active)


def judge_messages(
    judge: Judge, material: Mapping[str, Any], *, fence: str, nonce: str, max_chars: int
) -> list[Message]:
    """Return what a model is asked.

    Args:
        material: Texts by name; ``opinions``, if there are any, is a list of verdicts.
        fence: Name of the lines around the material; random, and in no text.
        nonce: What the verdict must repeat; random, and in the system's message only.
        max_chars: Longer texts are cut in their middle.
    """
    quoted = quote(material, max_chars=max_chars)
    note = f"{frame('opinions')}\n" if "opinions" in material else ""
    values = {"criteria": judge.criteria, "fence": fence, "nonce": nonce}
    values |= {"material": quoted, "note": note}

    def fill(template: str) -> str:
        return _BLANK.sub(lambda blank: values[blank[1]], template)

    return [
        {"role": "system", "content": fill(frame("system"))},
        {"role": "user", "content": fill(frame("user"))},
    ]


async def ask(
    model: JudgeModel,
    judge: Judge,
    material: Mapping[str, Any],
    *,
    temperature: float,
    sample: int = 0,
) -> JudgeVerdict | Abstention:
    """Return one verdict; the same question is asked once, here and in later runs.

    Args:
        material: As in `judge_messages`.
        sample: Tells samples at one temperature apart.

    Raises:
        AtlasError: The budget is used up, the endpoint stays out of order, or it is set up wrongly.
    """
    rules = [frame("system"), frame("user"), frame("opinions"), judge.criteria]
    address = await model.service.endpoint.address()
    asked = [_KEPT_AS, address, rules, dict(material), model.max_chars, temperature, sample]
    return await model.service.answer(
        content_key(asked), lambda: _one_call(model, judge, material, temperature), _VerdictForm()
    )


async def _one_call(
    model: JudgeModel, judge: Judge, material: Mapping[str, Any], temperature: float
) -> JudgeVerdict | Abstention:
    fence, nonce = secrets.token_hex(_FENCE_BYTES), secrets.token_hex(_NONCE_BYTES)
    messages = judge_messages(judge, material, fence=fence, nonce=nonce, max_chars=model.max_chars)
    try:
        reply = await model.service.endpoint.ask(
            Call(
                messages=messages,
                temperature=temperature,
                max_tokens=model.max_tokens,
                schema=verdict_schema(),
            )
        )
    except CallError as error:
        return error.abstention
    return verdict_of(reply, nonce)


def verdict_of(reply: Reply, nonce: str) -> JudgeVerdict | Abstention:
    """Read a reply; one that can't be read is an abstention."""
    try:
        return read_verdict(reply.text, nonce=nonce)
    except UnreadableError as error:
        cut = "" if reply.finished else " (it was cut at max_tokens)"
        return Abstention(kind="unreadable", reason=f"{error}{cut}")


@cache
def frame(kind: Frame) -> str:
    """Return a text that is the same for all judges, without the newline at its end."""
    return (PROMPTS / f"judge_{kind}.txt").read_text(encoding="utf-8").rstrip("\n")


def _load(name: str, entry: JudgeConfig | None, folder: Path) -> Judge:
    entry = entry or JudgeConfig()
    path = PROMPTS / f"{name}.txt" if entry.prompt is None else folder / entry.prompt
    try:
        criteria = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AtlasError(f"the criteria of judge '{name}' can't be read: {error}") from error
    if not criteria:
        raise AtlasError(f"{path} is empty; it must hold the criteria of judge '{name}'")
    return Judge(name=name, criteria=criteria, weight=entry.weight)
