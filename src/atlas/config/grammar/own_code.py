"""A user's own function or class, by the name that a configuration gives it.

``module.name`` and ``module:name`` mean the same. The working directory is a place to import from.
Nothing is imported that the command line doesn't allow by ``allow_targets``.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError


def is_allowed(name: str, allowed: Collection[str]) -> bool:
    """Tell whether the command line allows a name, in either way of writing it."""
    return name.replace(":", ".") in {target.replace(":", ".") for target in allowed}


def require_allowed(key: str, name: str, allowed: Collection[str]) -> None:
    """Refuse a name that isn't allowed.

    Args:
        key: Of the configuration, which names it.
        allowed: The values of ``allow_targets``.

    Raises:
        AtlasError: It isn't allowed.
    """
    if not is_allowed(name, allowed):
        raise AtlasError(
            f"{key} '{name}' is code of your own and runs only if you allow it on the command "
            f"line: 'allow_targets=[{name}]'"
        )


def load_own(key: str, name: str, allowed: Collection[str]) -> Callable[..., Any]:
    """Return a user's function or class.

    Args:
        key: Of the configuration, which names it.
        name: ``module.name`` or ``module:name``.
        allowed: The values of ``allow_targets``.

    Raises:
        AtlasError: It isn't allowed, can't be imported, or can't be called.
    """
    require_allowed(key, name, allowed)
    return load_named(key, name)


def load_named(key: str, name: str) -> Callable[..., Any]:
    """Return a function or class that may be imported.

    Raises:
        AtlasError: It can't be imported, or can't be called.
    """
    module, _, attribute = name.replace(":", ".").rpartition(".")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:
        raise AtlasError(
            f"{key} '{name}' can't be imported: {type(error).__name__}: {error}"
        ) from error
    finally:
        sys.path.remove(here)
    if not callable(found):
        raise AtlasError(f"{key} '{name}' is no function")
    return found
