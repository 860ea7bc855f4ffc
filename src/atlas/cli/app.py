"""The ``atlas`` command, and the guides' own names for some of what it does.

A command is imported when it is asked for, and imports what it runs when it runs: ``atlas --help``
and a command that refuses load nothing heavy.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from atlas.cli import faults
from atlas.cli.examples import epilog
from atlas.cli.options import command_app

COMMANDS: Final[Mapping[str, str]] = {
    "init": "init",
    "keys": "keys",
    "quickstart": "train.quickstart",
    "runs": "runs",
    "resume": "train.resume",
    "collect": "train.collect",
    "sft": "train.sft",
    "grpo": "train.grpo",
    "evaluate": "train.evaluate",
    "claims": "claims",
    "teach": "teach",
    "report": "report",
    "watch": "watch",
    "doctor": "doctor",
    "why": "why",
    "diff": "diff",
    "replay": "train.replay",
    "train": "train.train",
    "launch": "train.launch",
    "serve": "serve.serve",
    "launch-with-server": "serve.launch_with_server",
    "export": "traces.export",
    "push": "push",
    "review": "traces.review",
    "lineage": "traces.lineage",
    "prepare-data": "from_scratch.prepare_data",
    "ranked": "from_scratch.ranked",
    "ask": "from_scratch.ask",
    "selftest": "from_scratch.selftest",
    "base-model": "train.base_model",
}
"""Command -> its module below ``atlas.cli``, in the order of the work."""
_OTHER_NAMES: Final[Mapping[str, str]] = {"grpo_offline": "ranked"}


class _Lazy(MutableMapping[str, Any]):
    """The commands by name: each is imported when it is asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            made = typer.main.get_command(application(_OTHER_NAMES.get(name, name)))
            made.name, made.hidden = name, name in _OTHER_NAMES
            made.epilog = epilog(_OTHER_NAMES.get(name, name))
            self._made[name] = made
        return self._made[name]

    def __setitem__(self, name: str, command: Any) -> None:
        self._made[name] = command

    def __delitem__(self, name: str) -> None:
        del self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter((*COMMANDS, *_OTHER_NAMES))

    def __len__(self) -> int:
        return len(COMMANDS) + len(_OTHER_NAMES)


class _Commands(TyperGroup):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Lazy()

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write what each command does in full, over several lines where it takes them."""
        shown = [(name, made) for name, made in self.commands.items() if not made.hidden]
        with formatter.section("Commands"):
            formatter.write_dl([(name, made.get_short_help_str(200)) for name, made in shown])


def application(name: str) -> typer.Typer:
    """Return the application of one command."""
    return importlib.import_module(f"atlas.cli.{COMMANDS[name]}").app


def _show_version(wanted: bool) -> None:
    if wanted:
        from atlas import __version__

        sys.stdout.write(f"atlas {__version__}\n")
        raise typer.Exit


app = command_app(completion=True, cls=_Commands, no_args_is_help=True)


@app.callback()
def atlas(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of what goes wrong.")
    ] = False,
) -> None:
    """Train language models that teach."""
    if debug:
        os.environ[faults.TRACEBACK] = "1"


def main() -> None:
    """Run the command line."""
    faults.run(app)


def prepare_grpo_data() -> None:
    """Run ``prepare_grpo_data.py``."""
    faults.run(application("prepare-data"))


def train_atlas() -> None:
    """Run ``train_atlas.py``."""
    faults.run(application("ranked"))


def vllm_server() -> None:
    """Run ``trainers/vllm_server.py``: ``atlas serve`` by the guide's name."""
    faults.run(app, ["serve", *sys.argv[1:]])


def train_py() -> None:
    """Run ``train.py``: ``atlas train`` by the guide's name."""
    faults.run(app, ["train", *sys.argv[1:]])


def arc_atlas() -> None:
    """Run ``arc-atlas``: the exporter, ``arc-atlas export`` and ``arc-atlas review`` likewise."""
    words = sys.argv[1:]
    if words[:1] == ["review"]:
        faults.run(app, [word for word in words if word != "--quiet"])
    else:
        from atlas.cli.traces.arc import app as arc

        faults.run(arc, words[1:] if words[:1] == ["export"] else words)
