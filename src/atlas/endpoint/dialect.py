"""What one endpoint understands of a request, learnt from its refusals.

"OpenAI-compatible" leaves open whether there is structured output, what the limit of tokens is
called and whether a temperature is taken. Each is tried once; a refusal that names it changes what
is sent from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_SCHEMA_WORDS = ("response_format", "json_schema", "schema", "structured", "guided", "grammar")


@dataclass(slots=True)
class Dialect:
    """How requests to one endpoint are written."""

    structured: bool
    """A JSON schema goes along where there is one."""
    token_key: str = "max_tokens"
    temperature: bool = True

    def arguments(
        self, *, max_tokens: int, temperature: float, schema: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        """Return the part of a request that depends on the endpoint."""
        arguments: dict[str, Any] = {self.token_key: max_tokens}
        if self.temperature:
            arguments["temperature"] = temperature
        if self.structured and schema is not None:
            arguments["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "verdict", "strict": True, "schema": schema},
            }
        return arguments

    def learn(self, status: int, message: str, sent: dict[str, Any]) -> bool:
        """Take a refusal into account; returns whether the request is worth sending again.

        Args:
            message: The server's own words.
            sent: The arguments that were refused. Calls go out side by side: another one's refusal
                may have taught the lesson while this one was on its way.
        """
        if status not in (400, 404, 415, 422, 501):
            return False
        message = message.lower()
        if "max_completion_tokens" in message and "max_tokens" in sent:
            self.token_key = "max_completion_tokens"
            return True
        if "temperature" in message and "temperature" in sent:
            self.temperature = False
            return True
        if "response_format" in sent and any(word in message for word in _SCHEMA_WORDS):
            self.structured = False
            return True
        return False
