"""``atlas serve`` and ``trainers/vllm_server.py``: one vLLM server in the foreground."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from atlas.cli.terminal import console
from atlas.errors import AtlasError
from atlas.run.stopping import stop_on_signal
from atlas.serve.checks import check
from atlas.serve.interpreter import TESTED, find_interpreter
from atlas.serve.log import Follower
from atlas.serve.settings import ServerSettings, cpu_notes
from atlas.serve.supervisor import RestartPolicy, Supervisor

_LOOK_EVERY_S = 0.25


def run(settings: ServerSettings, *, log: Path | None, cooldown_s: float) -> None:
    """Run the command; ends this process with the server's exit code.

    Args:
        settings: What is started.
        log: Where its output is kept; ``None``: beside its token.
        cooldown_s: Time after a restart within which another death ends the command.

    Raises:
        AtlasError: Port, model or lengths can't be; nothing was started then.
    """
    interpreter = find_interpreter()
    check(settings, interpreter)
    if settings.lora_rank is not None:
        # It loads torch, which most servers are started without.
        from atlas.serve.adapters import room_for_adapters

        settings = room_for_adapters(settings)
    if not interpreter.tested:
        say(
            f"vLLM {interpreter.version} is none of the versions that Atlas is tested with "
            f"({', '.join(TESTED)})"
        )
    for note in cpu_notes(settings) if interpreter.cpu else []:
        say(note)
    policy = RestartPolicy(cooldown_s=cooldown_s)
    server = Supervisor(settings, interpreter, policy=policy, log=log)
    with stop_on_signal(lambda: say("Stopping the server")) as stop, server:
        follower, ready = Follower(server.process.log), False
        try:
            while not stop.asked:
                was_ready, process = ready, server.process
                ready = server.check()
                if server.process is not process:
                    say("the server died and is started again; its weights are those of the folder")
                    follower = Follower(server.process.log)
                sys.stdout.write(follower.new_text())
                sys.stdout.flush()
                if ready and not was_ready:
                    greet(server.settings)
                time.sleep(_LOOK_EVERY_S)
        except AtlasError as error:
            sys.stderr.write(f"atlas: {error}\n")
            sys.exit(exit_code(server.process.returncode))
    sys.exit(0)


def greet(settings: ServerSettings) -> None:
    """Say that a server is ready, with commands that can be copied."""
    say(f"The server of {settings.model} is ready:")
    for line in curl_lines(settings):
        console.print(f"  {line}", markup=False, soft_wrap=True)


def curl_lines(settings: ServerSettings) -> list[str]:
    """Return commands that ask a server for its health and its models."""
    key = ' -H "Authorization: Bearer $VLLM_API_KEY"' if settings.api_key else ""
    return [f"curl {settings.url}/health", f"curl {settings.url}/v1/models{key}"]


def exit_code(returncode: int | None) -> int:
    """Return the exit code that says what a process's own said; signals as a shell does."""
    if returncode is None:
        return 2
    return 128 - returncode if returncode < 0 else returncode


def say(line: str) -> None:
    """Print a line of our own between those of vLLM."""
    console.print(line, markup=False, soft_wrap=True)
