"""A page in a real headless Chromium, driven over its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

PATIENCE = 60.0
"""Seconds that something may take before a test gives up; none is measured by it."""
NAMES = ("chromium", "chromium-browser", "google-chrome")


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._ids = socket, itertools.count(1)
        self.complaints: list[str] = []
        """What the console was told as an error, and what the policy of the page blocked."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol; return its result."""
        sent = next(self._ids)
        self._socket.send(json.dumps({"id": sent, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=PATIENCE))
            self._heard(message)
            if message.get("id") == sent:
                assert "error" not in message, (method, message["error"])
                return message["result"]

    def _heard(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        if message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])

    def open(self, url: str, *, ready: str = "'ready' in document.body.dataset") -> None:
        """Go to a page, and wait until it is ready."""
        self.call("Page.navigate", url="about:blank")
        self.call("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && document.body && ({ready})")

    def do(self, script: str) -> Any:
        """Run an expression; return its value, awaited."""
        found = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.do(script):
            assert time.monotonic() < end, f"{script} stays false; {self.complaints}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """Press a key."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, code=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, code=key)

    def size(self, width: int, height: int = 900) -> None:
        """Give the window a size, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def colours(self, scheme: str) -> None:
        """Prefer ``light`` or ``dark``."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def scripts(self, on: bool) -> None:
        """Switch JavaScript on or off."""
        self.call("Emulation.setScriptExecutionDisabled", value=not on)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write a screenshot as PNG."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self) -> bytes:
        """Return what printing gives."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=True)["data"])


@contextlib.contextmanager
def chromium(folder: Path) -> Iterator[Page]:
    """Start Chromium with a profile in a folder, and yield a tab; it ends with the block."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    assert program, "no Chromium is installed; make browser installs it"
    process = subprocess.Popen(
        [
            *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
            *("--disable-dev-shm-usage", "--remote-debugging-port=0"),
            *(f"--user-data-dir={folder}", "about:blank"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with connect(_address(folder, process), max_size=None) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        process.wait(30)


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    told, end = folder / "DevToolsActivePort", time.monotonic() + PATIENCE
    while not (told.exists() and told.read_text().count("\n")):
        assert process.poll() is None, f"Chromium ended with {process.returncode}"
        assert time.monotonic() < end, "Chromium doesn't answer"
        time.sleep(0.05)
    url = f"http://127.0.0.1:{told.read_text().split()[0]}/json/list"
    with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
        tabs = json.load(reply)
    return next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
