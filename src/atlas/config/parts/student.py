"""Configuration of who is taught: a model here, one behind an endpoint, or an agent of the user's.

What is read depends on the kind; a key that is given and wouldn't be read is refused.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Final, Literal, Self, TypeVar

from atlas.config.address import parse_address
from atlas.config.grammar.own_code import require_allowed
from atlas.config.grammar.schema import key, keys_of, like, nearest
from atlas.config.parts.endpoint import EndpointConfig, LimitsConfig, check_variable
from atlas.config.parts.own_code import OwnCodeConfig
from atlas.errors import AtlasError
from atlas.masking import mask_secrets

T = TypeVar("T")
StudentKind = Literal["model", "endpoint", "agent"]
ToolFormat = Literal["auto", "text"]
TeachingAt = Literal["start", "every_step"]
SHIPPED_TOOLS: Final = ("sql",)
_PREFIX = "student_"


@dataclass(frozen=True, kw_only=True)
class StudentConfig(OwnCodeConfig):
    """The student, which stays as it is: of which kind, where, and what asking it may cost."""

    student: StudentKind = key(
        "model",
        "What the student is. model: student_model, loaded here. endpoint: an OpenAI-compatible "
        "chat API at student_base_url. agent: a function of yours, student_function.",
    )
    student_model: str | None = key(
        None,
        "The student's model: a folder or a hub id; of an endpoint its name there, or null for "
        "the only one that is served.",
    )
    student_base_url: str | None = key(
        None, "Where the student's endpoint is, up to and with its version.", secret=True
    )
    student_api_key_env: str | None = like(EndpointConfig, "api_key_env", None)
    student_function: str | None = key(
        None,
        "The student's agent, as my_agent:answer, an async function of task and teaching; it runs "
        "only if allow_targets on the command line names it too.",
    )
    student_temperature: float = key(0.0, "Of an endpoint's answers.", ge=0)
    student_samples: int = key(
        1,
        "Attempts at each task, alone and with each teaching, of an endpoint or agent that "
        "doesn't answer alike each time; their mean counts.",
        ge=1,
    )

    # What it may use. A model here, or an endpoint; an agent has its own.
    tools: tuple[str, ...] | None = key(
        None,
        "Tools that the student may use, in several turns: sql (read-only, of the task's own "
        "database), or functions of yours as my_tools:search, which allow_targets on the command "
        "line must name, too.",
    )
    mcp_servers: tuple[str, ...] | None = key(
        None,
        "Command lines of MCP servers whose tools the student may use as well; allow_targets on "
        "the command line must name each, too.",
    )
    tool_format: ToolFormat = key(
        "auto",
        "How the student is told of its tools. auto: by the API, or the model's chat template, "
        "where these know tools. text: in words (the prompts tools and tool_result).",
    )
    max_turns: int = key(
        8,
        "Most turns of an attempt with tools, its answer included; each has "
        "student_max_new_tokens.",
        ge=2,
    )
    tool_timeout_s: float = key(10.0, "Seconds that one call of a tool may take.", gt=0)
    tool_max_chars: int = key(
        2000, "Characters of a tool's result that the student is shown.", ge=20
    )
    teaching_at: TeachingAt = key(
        "start",
        "When a teacher by plan speaks to a student with tools. start: before its first turn. "
        "every_step: before each of its turns, having read what it did.",
    )

    # How it is asked, and what that may cost.
    student_concurrency: int = key(
        16, "Calls of an endpoint, or attempts of an agent, that are on their way at a time.", ge=1
    )
    student_timeout_s: float = like(EndpointConfig, "timeout_s", 60.0)
    student_deadline_s: float = key(
        180.0, "Seconds that one call, retries included, or one attempt of an agent may take.", gt=0
    )
    student_max_retries: int = like(EndpointConfig, "max_retries", 5)
    student_price_per_million_input_tokens: float = like(
        EndpointConfig, "price_per_million_input_tokens", 0.0
    )
    student_price_per_million_output_tokens: float = like(
        EndpointConfig, "price_per_million_output_tokens", 0.0
    )
    student_max_calls: int | None = like(LimitsConfig, "max_calls", None)
    student_max_total_tokens: int | None = like(LimitsConfig, "max_total_tokens", None)
    student_max_cost: float | None = like(LimitsConfig, "max_cost", None)
    student_cache_path: str | None = key(
        "runs/student_cache.sqlite",
        "Answers of an endpoint that are known already; null keeps none.",
    )
    student_max_abstention_rate: float = like(LimitsConfig, "max_abstention_rate", 0.2)
    student_abstention_window: int = like(LimitsConfig, "abstention_window", 50)
    student_outage_deadline_s: float = like(LimitsConfig, "outage_deadline_s", 900.0)

    def __post_init__(self) -> None:
        """Refuse what is no address, besides values that are wrong by themselves."""
        super().__post_init__()
        if self.student_base_url is not None:
            parse_address(self.student_base_url, "student_base_url", may_hold_password=True)
        check_variable(self.student_api_key_env, "student_api_key_env")

    def resolved(self, given: Collection[str], world_size: int) -> Self:
        """Refuse a student that lacks something, and keys that its kind doesn't read."""
        del world_size
        for name, needed in _NEEDED.items():
            if self.student == name and getattr(self, needed) is None:
                raise AtlasError(f"{needed} is missing; student={name} needs it")
        for name in _OF_KINDS.keys() - {"student_model"}:
            if self.student not in _OF_KINDS[name] and getattr(self, name) != _default(name):
                kinds = " or ".join(f"student={kind}" for kind in _OF_KINDS[name])
                raise AtlasError(f"{name} is read with {kinds} only; set that, or leave {name} out")
        allowed = self.allow_targets or ()
        if self.student == "agent":
            assert self.student_function is not None
            require_allowed("student_function", self.student_function, allowed)
        self._check_tools(allowed)
        if self.student_max_cost is not None and self.student_endpoint.is_free:
            raise AtlasError(
                "student_max_cost needs prices; give student_price_per_million_input_tokens and "
                "student_price_per_million_output_tokens, or leave student_max_cost out"
            )
        if self.student != "model" and "student_model" not in given:
            return replace(self, student_model=None)  # the default names one that lies here
        return self

    def _check_tools(self, allowed: Collection[str]) -> None:
        """Refuse tools that an agent is given, that aren't there, or that nobody allowed."""
        for name in _TOOLS:
            if self.student == "agent" and getattr(self, name) != _default(name):
                raise AtlasError(
                    f"{name} is read with student=model or student=endpoint only; an "
                    f"agent brings its own, so leave {name} out"
                )
            if not self.has_tools and getattr(self, name) != _default(name):
                raise AtlasError(
                    f"{name} is read with tools or mcp_servers only; give one, or leave {name} out"
                )
        for name in self.tools or ():
            if name in SHIPPED_TOOLS:
                continue
            if not {".", ":"} & set(name):
                raise AtlasError(
                    f"tools: there is no tool '{name}'{nearest(name, SHIPPED_TOOLS)}; one of your "
                    "own is named as my_tools:search"
                )
            require_allowed("tools", name, allowed)
        for command in self.mcp_servers or ():
            require_allowed("mcp_servers", command, allowed)
        taught, samples = getattr(self, "teaching", "plan"), self.student_samples
        if self.teaching_at == "every_step" and (taught != "plan" or samples > 1):
            other = f"teaching={taught}" if taught != "plan" else f"student_samples={samples}"
            raise AtlasError(
                f"teaching_at=every_step and {other} contradict each other; leave one of them out"
            )

    @property
    def has_tools(self) -> bool:
        """The student acts in several turns."""
        return bool(self.tools or self.mcp_servers)

    @property
    def student_here(self) -> str | None:
        """The student's folder or hub id; None where it is elsewhere."""
        return self.student_model if self.student == "model" else None

    @property
    def student_name(self) -> str:
        """What the student is called, and told from others by."""
        if self.student == "endpoint":
            return (
                f"{self.student_model or 'the model'} at {mask_secrets(str(self.student_base_url))}"
            )
        return str(self.student_function if self.student == "agent" else self.student_model)

    @property
    def student_endpoint(self) -> EndpointConfig:
        """The keys of the endpoint."""
        return self._part(EndpointConfig)

    @property
    def student_limits(self) -> LimitsConfig:
        """The keys of what asking may cost."""
        return self._part(LimitsConfig)

    def _part(self, part: type[T]) -> T:
        own = {name: f"{_PREFIX}{name}" for name in keys_of(part)}
        values = {name: getattr(self, mine) for name, mine in own.items() if hasattr(self, mine)}
        return part(
            **{name: value for name, value in values.items() if name != "base_url" or value}
        )


def refuse_unready(config: StudentConfig) -> None:
    """Refuse an endpoint whose key isn't there, before anything heavy is loaded.

    Raises:
        AtlasError: The environment variable that holds it isn't set; or the package of MCP servers
            isn't installed.
    """
    if config.mcp_servers and find_spec("mcp") is None:
        raise AtlasError("mcp_servers needs a package that isn't here; run: pip install mcp")
    name = config.student_api_key_env
    if config.student == "endpoint" and name is not None and not os.environ.get(name):
        raise AtlasError(
            f"the environment variable {name} isn't set; it must hold the key of "
            f"{config.student_endpoint.shown_url} (or change student_api_key_env)"
        )


def _default(name: str) -> Any:
    return keys_of(StudentConfig)[name].default


_NEEDED: Final = {"endpoint": "student_base_url", "agent": "student_function"}
_ELSEWHERE: Final = {"samples", "concurrency", "deadline_s", "max_abstention_rate"} | {
    *("abstention_window", "outage_deadline_s")
}
_OF_KINDS: Final[dict[str, tuple[StudentKind, ...]]] = {
    name: (
        ("agent",)
        if name == "student_function"
        else ("endpoint", "agent")
        if name.removeprefix(_PREFIX) in _ELSEWHERE
        else ("endpoint",)
    )
    for name in keys_of(StudentConfig)
    if name.startswith(_PREFIX)
}
"""Key -> the kinds that read it."""
_TOOLS: Final = (
    *("tools", "mcp_servers", "tool_format", "max_turns", "tool_timeout_s", "tool_max_chars"),
    "teaching_at",
)
ACTING: Final = frozenset(_TOOLS)
"""Keys about tools."""
DECISIVE: Final = ACTING | frozenset(
    {"student", "student_model", "student_function", "student_temperature", "student_samples"}
)
"""Keys that decide what a student answers."""
PACE: Final = frozenset(keys_of(StudentConfig)) - DECISIVE - {"allow_targets"}
"""The others: where it is found, how fast it is asked, what that may cost."""
