"""Options that several commands have, each written once, and how a command is declared.

A command's file holds an ``app`` that is made by `command_app`, with one function in it: the
signature is what the command line offers, the docstring its help, the body what it does. The body
imports what it needs, so that ``--help`` waits for nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_type_hints

import typer

Overrides = Annotated[
    list[str],
    typer.Argument(
        metavar="KEY=VALUE",
        help="Settings, as in seed=1",
        default_factory=list,
        show_default=False,
    ),
]
Source = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A YAML file, or the name of one in configs/run")
]
Config = Annotated[
    str, typer.Option("--config", help="A YAML file, or the name of one in configs/run")
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Delete what an earlier run left and start over")
]
OverrideConfig = Annotated[
    bool,
    typer.Option(
        "--override-config", help="Go on with other settings, of those that change nothing learned"
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print settings, steps and memory; train nothing")
]
PlanJson = Annotated[
    bool, typer.Option("--json", help="As --dry-run, and print the plan as JSON, for programs")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs")]


def command_app(*, completion: bool = False, **settings: Any) -> typer.Typer:
    """Return an application without colours and tracebacks of its own: both cost its start."""
    return typer.Typer(
        add_completion=completion,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"max_content_width": 100},
        **settings,
    )


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command each field of a dataclass that it takes as an option of its own.

    Fields without typer's annotation keep their defaults.
    """
    own = inspect.signature(command, eval_str=True).parameters.values()
    groups = {p.name: list(_options(p.annotation)) for p in own if _is_group(p.annotation)}
    classes = {p.name: p.annotation for p in own if p.name in groups}
    options = [option for p in own for option in groups.get(p.name, [p])]

    @functools.wraps(command)
    def wrapper(**given: Any) -> None:
        for name, fields in groups.items():
            given[name] = classes[name](
                **{field.name: given.pop(field.name, field.default) for field in fields}
            )
        command(**given)

    keyword_only = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in options]
    wrapper.__signature__ = inspect.Signature(keyword_only)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {option.name: option.annotation for option in options}
    return wrapper


def _is_group(annotation: object) -> bool:
    return isinstance(annotation, type) and dataclasses.is_dataclass(annotation)


def _options(group: type) -> Iterator[inspect.Parameter]:
    """Yield the fields that are options."""
    hints = get_type_hints(group, include_extras=True)
    for field in dataclasses.fields(group):
        if not hasattr(hints[field.name], "__metadata__"):
            continue
        missing = field.default is dataclasses.MISSING
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if missing else field.default,
            annotation=hints[field.name],
        )
