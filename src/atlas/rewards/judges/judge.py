"""One judge: criteria and a text to judge -> a `JudgeVerdict`, or an `Abstention` with its reason.

Input: criteria (a text file), material by name (``prompt``, ``response`` and what else is known), a
model. The system's message holds rules and criteria, the user's message nothing but the quoted
material; both are made in one pass, so that braces in a text stay as they are.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from atlas.config.rim import JudgeConfig, RIMConfig
from atlas.errors import AtlasError
from atlas.json_file import json_value
from atlas.prompts import Message
from atlas.rewards.judges.endpoint.cache import VerdictCache, content_key
from atlas.rewards.judges.endpoint.client import Endpoint, Reply
from atlas.rewards.judges.endpoint.failures import CallError
from atlas.rewards.judges.endpoint.outage import OutageWatch
from atlas.rewards.judges.quoting import quote
from atlas.rewards.judges.verdict import (
    Abstention,
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
    """A model that speaks for judges, with what its calls share."""

    endpoint: Endpoint
    cache: VerdictCache
    watch: OutageWatch
    max_chars: int
    under_way: asyncio.Semaphore
    """Calls that have begun, those that wait for a retry included. More than go out at one time,
    and far fewer than are wanted, so that a pause holds back the rest."""
    outcomes: Counter[str] = field(default_factory=Counter)
    """How often a call gave a ``verdict``, was ``cached``, or ended in a kind of abstention."""
    on_their_way: dict[str, asyncio.Future[JudgeVerdict | Abstention]] = field(default_factory=dict)


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
    address = await model.endpoint.address()
    asked = [_KEPT_AS, address, rules, dict(material), model.max_chars, temperature, sample]
    key = content_key(asked)
    kept = _from_json(model.cache.get(key))
    if kept is not None:
        model.outcomes["cached"] += 1
        return kept
    if key in model.on_their_way:
        model.outcomes["cached"] += 1
        return await asyncio.shield(model.on_their_way[key])
    # A task of its own, so that whoever else waits for it isn't hurt when this caller is cancelled.
    task = asyncio.ensure_future(_ask_model(model, judge, material, temperature, key))
    model.on_their_way[key] = task
    task.add_done_callback(lambda done: _forget(model, key, done))
    return await asyncio.shield(task)


def _forget(model: JudgeModel, key: str, done: asyncio.Future[JudgeVerdict | Abstention]) -> None:
    del model.on_their_way[key]
    if not done.cancelled():
        done.exception()  # marks it as seen, where the caller was cancelled and nobody else waits


async def _ask_model(
    model: JudgeModel, judge: Judge, material: Mapping[str, Any], temperature: float, key: str
) -> JudgeVerdict | Abstention:
    async with model.under_way, model.watch.attempt() as attempt:
        found = await _one_call(model, judge, material, temperature)
        if isinstance(found, Abstention):
            attempt.failed(found.kind, found.reason)
    if isinstance(found, JudgeVerdict):
        model.cache.put(key, json.dumps(asdict(found), ensure_ascii=False))
    model.outcomes[found.kind if isinstance(found, Abstention) else "verdict"] += 1
    return found


async def _one_call(
    model: JudgeModel, judge: Judge, material: Mapping[str, Any], temperature: float
) -> JudgeVerdict | Abstention:
    fence, nonce = secrets.token_hex(_FENCE_BYTES), secrets.token_hex(_NONCE_BYTES)
    messages = judge_messages(judge, material, fence=fence, nonce=nonce, max_chars=model.max_chars)
    try:
        reply = await model.endpoint.ask(messages, temperature=temperature, schema=verdict_schema())
    except CallError as error:
        return Abstention(kind=error.failure.kind, reason=error.failure.reason)
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


def _from_json(text: str | None) -> JudgeVerdict | None:
    """Return a verdict that was kept; None where none is, or what is there is damaged."""
    try:
        return None if text is None else checked_verdict({**json_value(text), "nonce": ""})
    except ValueError:
        return None
