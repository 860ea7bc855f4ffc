"""Uploading a model, against a local server that answers as a hub does."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from atlas.errors import AtlasError, OutageError
from atlas.machine.hub import connects
from atlas.models.manifest import sha256
from atlas.models.upload import upload


class Hub(ThreadingHTTPServer):
    """Keeps what arrives; answers everything with ``refuses``, where that is set."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.files: dict[str, bytes] = {}
        self.made: list[dict] = []
        self.refuses = 0
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    """What a hub answers to the calls of one upload."""

    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = self.path.partition("?")[0]
        if self.server.refuses:
            self.answer({"error": "no token"}, self.server.refuses)
        elif path == "/api/repos/create":
            self.server.made.append(json.loads(body))
            self.answer({"url": f"{self.server.url}/me/teacher"})
        elif "/preupload/" in path:
            names = [one["path"] for one in json.loads(body)["files"]]
            self.answer({"files": [self.regular(name) for name in names]})
        elif "/commit/" in path:
            self.keep(body)
            url = f"{self.server.url}/me/teacher/commit/{'0' * 40}"
            self.answer({"success": True, "commitOid": "0" * 40, "commitUrl": url})
        else:
            self.answer({"errors": [], "warnings": []})

    def do_GET(self) -> None:
        self.answer({"id": "me/teacher", "siblings": [], "sha": "0" * 40})

    def regular(self, name: str) -> dict:
        return {"path": name, "uploadMode": "regular", "shouldIgnore": False}

    def keep(self, commit: bytes) -> None:
        for line in commit.splitlines():
            entry = json.loads(line)
            if entry["key"] == "file":
                content = base64.b64decode(entry["value"]["content"])
                self.server.files[entry["value"]["path"]] = content

    def answer(self, value: object, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", made.url)
    monkeypatch.setenv("HF_TOKEN", "hf_of_a_test")
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "final"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "pytorch_model.bin"):
        (folder / name).write_text(f'{{"file": "{name}"}}')
    manifest = {path.name: sha256(path) for path in folder.iterdir()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "README.md").write_text("# A teacher\n")
    (folder / "notes.txt").write_text("mine")
    return folder


def test_the_model_and_its_card_arrive_and_nothing_else(hub: Hub, model: Path) -> None:
    link = model.parent / "rl_checkpoint"
    link.symlink_to(model)
    assert upload(link, "me/teacher", private=True) == f"{hub.url}/me/teacher"
    assert sorted(hub.files) == ["README.md", "config.json", "manifest.json", "model.safetensors"]
    assert hub.files["README.md"] == b"# A teacher\n"
    assert hub.made[0]["visibility"] == "private"


def test_what_a_hub_refuses_is_one_line(hub: Hub, model: Path) -> None:
    hub.refuses = 403
    with pytest.raises(AtlasError, match=r"refuses me/teacher \(403: .*HF_TOKEN"):
        upload(model, "me/teacher", private=True)
    assert not hub.files


def test_without_a_hub_nothing_is_tried(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("all_proxy", raising=False)
    connects.cache_clear()
    with pytest.raises(OutageError, match="doesn't answer; nothing was uploaded"):
        upload(model, "me/teacher", private=True)


def test_a_damaged_or_foreign_folder_is_refused(model: Path) -> None:
    (model / "config.json").write_text("{}")
    with pytest.raises(AtlasError, match="has changed"):
        upload(model, "me/teacher", private=True)
    (model / "manifest.json").unlink()
    with pytest.raises(AtlasError, match=r"has no manifest\.json"):
        upload(model, "me/teacher", private=True)
