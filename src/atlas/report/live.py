"""The report of a run that goes on: the same page, served on loopback, which follows the run.

Input: a run directory. Output: a server of three addresses::

    /                    the page as it is now (report/page.py), without rollouts
    /rollouts?after=N    those of later steps; with pairs=1 the evaluation's, too
    /events              server-sent events: ``log`` with the end of the log, and ``changed``

It reads files and writes none. It listens on this machine alone, and answers only to its names, so
that no page from elsewhere can read it through a name of its own.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from atlas.errors import AtlasError
from atlas.report.page import render_report, rollout_folders
from atlas.report.rollouts import pair_chunks, training_chunks
from atlas.report.run_files import read_run
from atlas.run.listing import log_tail
from atlas.run.run_dir import RunDir

LOOPBACK: Final = "127.0.0.1"
_NAMES: Final = frozenset({"localhost", LOOPBACK})
_LOG_LINES: Final = 40
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}


class Watcher(ThreadingHTTPServer):
    """Serves one run.

    Args:
        run: Its directory.
        port: 0 takes a free one.
        seconds: Between two looks at the files.

    Raises:
        AtlasError: The port is taken.
    """

    daemon_threads = True

    def __init__(self, run: RunDir, port: int = 0, *, seconds: float = 2.0) -> None:
        self.run, self.seconds = run, seconds
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise AtlasError(
                f"port {port} can't be listened on: {error.strerror}; give another --port"
            ) from error

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/"

    def page(self) -> str:
        """Return the page as it is now."""
        return render_report(read_run(self.run.path), live=True)

    def rollouts(self, after: int, *, pairs: bool) -> list[Any]:
        """Return the rollouts of later steps, and where asked for the evaluation's pairs."""
        found = list(pair_chunks(read_run(self.run.path).pairs)) if pairs else []
        for folder in rollout_folders(self.run.path):
            found += training_chunks(folder, [], after=after)
        return found

    def events(self) -> Iterator[tuple[str, Any]]:
        """Yield what happens, as name and data; ``""`` where nothing did for a while."""
        log, state = "", self._state()
        while True:
            tail = "\n".join(log_tail(self.run, _LOG_LINES))
            if tail != log:
                log = tail
                yield "log", tail
            now = self._state()
            if now != state:
                state = now
                yield "changed", None
            yield "", None
            time.sleep(self.seconds)

    def _state(self) -> list[tuple[str, int]]:
        patterns = ("metrics.jsonl", "stages/*", "eval/*.json*", "rollouts/*.parquet", "run.json")
        places = [p for name in patterns for p in (name, f"*/{name}")]
        files = {file for place in places for file in self.run.path.glob(place)}
        found = []
        for file in sorted(files):
            try:
                found.append((str(file), file.stat().st_mtime_ns))
            except OSError:
                continue
        return [*found, ("in use", int(self.run.in_use))]


class _Handler(BaseHTTPRequestHandler):
    server: Watcher  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "atlas", ""

    def do_GET(self) -> None:
        if self.headers.get("Host", "").rsplit(":", 1)[0] not in _NAMES:
            self._send(403, "text/plain", b"this server answers to localhost only\n")
            return
        asked = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(asked.query).items()}
        try:
            if asked.path == "/":
                self._send(200, "text/html; charset=utf-8", self.server.page().encode())
            elif asked.path == "/rollouts":
                after = query.get("after", "0")
                found = self.server.rollouts(
                    int(after) if after.isdecimal() else 0, pairs=query.get("pairs") == "1"
                )
                text = json.dumps(found, ensure_ascii=False, separators=(",", ":"), default=str)
                self._send(200, "application/json", text.encode())
            elif asked.path == "/events":
                self._stream()
            else:
                self._send(404, "text/plain", b"no such page\n")
        except AtlasError as error:
            self._send(503, "text/plain", f"{error}\n".encode())
        except ConnectionError:
            self.close_connection = True  # whoever read has gone

    def _send(self, status: int, kind: str, body: bytes) -> None:
        packed = gzip.compress(body, 1)
        self.send_response(status)
        sizes = {"Content-Encoding": "gzip", "Content-Length": str(len(packed))}
        for name, value in {"Content-Type": kind, **sizes, **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(packed)

    def _stream(self) -> None:
        self.close_connection = True
        self.send_response(200)
        for name, value in {"Content-Type": "text/event-stream", **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        for name, data in self.server.events():
            text = f"event: {name}\ndata: {json.dumps(data)}\n\n" if name else ":\n\n"
            self.wfile.write(text.encode())
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""


def chosen_run(folder: Path) -> RunDir:
    """Return the run below a folder that a process works on, or else the one written to last.

    Raises:
        AtlasError: There is none.
    """
    found = [RunDir.open(path.parent) for path in _runs(folder)]
    if not found:
        raise AtlasError(f"there is no run below {folder.absolute()}; name one: atlas watch RUN")
    return max(found, key=lambda run: (run.in_use, _written(run)))


def _runs(folder: Path) -> list[Path]:
    deep = ("run.json", "*/run.json", "*/*/run.json")
    return [path for place in deep for path in folder.glob(place)]


def _written(run: RunDir) -> float:
    return max((path.stat().st_mtime for path in run.path.glob("*")), default=0.0)
