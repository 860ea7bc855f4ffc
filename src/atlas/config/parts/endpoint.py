"""Configuration of calls to OpenAI-compatible endpoints: of judges, and of students."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from atlas.config.address import parse_address
from atlas.config.grammar.schema import Part, key
from atlas.errors import AtlasError
from atlas.masking import mask_secrets

StructuredOutput = Literal["auto", "never"]
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointConfig(Part):
    """One model behind an OpenAI-compatible endpoint: a judge's ``small`` or ``large``."""

    base_url: str = key(
        "http://localhost:8100/v1",
        "Where the endpoint is, up to and with its version. Not the port of the policy's server: "
        "the model in training must not judge itself by accident.",
        secret=True,
    )
    model: str | None = key(None, "Name of the model; null takes the only one that is served.")
    api_key_env: str | None = key(
        None,
        "Name of the environment variable that holds the key. The key itself stands in no file.",
    )
    structured_output: StructuredOutput = key(
        "auto",
        "auto asks for JSON by a schema until the endpoint refuses it; never doesn't ask.",
    )
    concurrency: int = key(16, "Calls on their way at one time.", ge=1)
    max_tokens: int = key(1024, "Longest verdict, in tokens; raise for models that think.", ge=1)
    timeout_s: float = key(60.0, "Seconds that one attempt may take.", gt=0)
    deadline_s: float = key(180.0, "Seconds that one call may take, retries included.", gt=0)
    max_retries: int = key(5, "Further attempts after a failure that may pass.", ge=0)
    price_per_million_input_tokens: float = key(0.0, "For the cost in the log; any currency.", ge=0)
    price_per_million_output_tokens: float = key(0.0, "For the cost in the log.", ge=0)

    def __post_init__(self) -> None:
        """Refuse what is no address, besides values that are wrong by themselves."""
        Part.__post_init__(self)
        parse_address(self.base_url, "base_url", may_hold_password=True)
        check_variable(self.api_key_env, "api_key_env")

    @property
    def shown_url(self) -> str:
        """The address as it may be shown: a password in it becomes ``***``."""
        return mask_secrets(self.base_url)

    @property
    def is_free(self) -> bool:
        """Nothing has a price, so that a limit in money would never be reached."""
        return not (self.price_per_million_input_tokens or self.price_per_million_output_tokens)


@dataclass(frozen=True, kw_only=True, slots=True)
class LimitsConfig(Part):
    """What the calls of a run may cost, which are kept, and what their failing does to it."""

    cache_path: str | None = key(
        "runs/judge_cache.sqlite", "Verdicts that are known already; null keeps none."
    )
    max_calls: int | None = key(None, "Calls after which the run stops; null: no limit.", ge=1)
    max_total_tokens: int | None = key(
        None, "Tokens, in and out, after which the run stops; null: no limit.", ge=1
    )
    max_cost: float | None = key(
        None, "Money, by the prices given, after which the run stops; null: no limit.", gt=0
    )
    max_abstention_rate: float = key(
        0.2, "The run pauses when more than this share of the last calls gave no answer.", ge=0
    )
    abstention_window: int = key(50, "How many calls that share is taken over.", ge=1)
    outage_deadline_s: float = key(
        900.0, "Seconds without recovery after which a paused run stops.", ge=0
    )


def check_variable(name: str | None, key_name: str) -> None:
    """Refuse a key itself where the name of its environment variable belongs.

    Args:
        name: As given.
        key_name: Of the configuration.

    Raises:
        AtlasError: It is no such name; what was given isn't shown.
    """
    if name is not None and not _VARIABLE.fullmatch(name):
        raise AtlasError(
            f"{key_name} must be the name of an environment variable, in capitals, such as "
            "JUDGE_KEY; the key itself stands in no file"
        )
