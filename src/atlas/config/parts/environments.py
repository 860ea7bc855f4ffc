"""What the policy of GRPO may meet: the names of environments, and what makes them."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from atlas.config.grammar.own_code import is_allowed, require_allowed
from atlas.config.grammar.schema import nearest
from atlas.errors import AtlasError

ENVIRONMENTS: Mapping[str, str] = {
    "teaching": "atlas.environments.teaching.configured:teaching",
    "solve": "atlas.environments.solve:Solve",
}
"""By the value of the key ``environment``: what is called with a context."""


def check_environment(name: str, allowed: Collection[str]) -> None:
    """Refuse an environment that there is not.

    Args:
        allowed: Names of the user's that were allowed.

    Raises:
        AtlasError: It is neither one of `ENVIRONMENTS` nor allowed.
    """
    if name in ENVIRONMENTS or is_allowed(name, allowed):
        return
    if "." in name or ":" in name:
        require_allowed("environment", name, allowed)
    raise AtlasError(
        f"environment '{name}' doesn't exist{nearest(name, ENVIRONMENTS)}; one of your own is "
        "named as my_module:MyEnvironment"
    )
