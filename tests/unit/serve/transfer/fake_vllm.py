"""A server's worker without vLLM: loads what it is sent into a dictionary, through JSON both ways.

It is the real extension on a small object in the place of vLLM's worker.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from atlas.serve.connection import ControlError
from atlas.serve.inside.worker import AtlasWorker


class FakeWorker(AtlasWorker):
    """vLLM's worker, as far as the extension knows it."""

    def __init__(self, folder: Path, *, fails: bool = False) -> None:
        self.loaded: dict[str, torch.Tensor] = {}
        self.rank = 0
        self.model_config = SimpleNamespace(
            model=str(folder),
            dtype=torch.float32,
            hf_config=SimpleNamespace(tie_word_embeddings=True),
        )
        self.model_runner = SimpleNamespace(get_model=lambda: None)
        self._fails = fails

    def reload_weights(self, weights_iterator: Any) -> None:
        for name, tensor in weights_iterator:
            self.loaded[name] = tensor.clone()
            if self._fails:
                raise RuntimeError("no memory")


class FakeConnection:
    """A server with one such worker, and vLLM's own endpoints for transfers."""

    host = "127.0.0.1"
    url = "http://127.0.0.1:8000"

    def __init__(self, worker: FakeWorker) -> None:
        self.worker = worker
        self.calls: list[tuple[str, Any]] = []

    def workers(self, method: str, *arguments: Any, phase: str, deadline_s: float) -> Any:
        answer = getattr(self.worker, method)(*json.loads(json.dumps(arguments)))
        if answer.get("error"):
            raise ControlError(f"{phase}: {answer['error']}", phase=phase)
        return [json.loads(json.dumps(answer))]

    def post(self, path: str, body: Any = None, *, phase: str, deadline_s: float) -> Any:
        self.calls.append((path, json.loads(json.dumps(body))))
        return {}

    def get(self, path: str, *, phase: str, deadline_s: float) -> Any:
        return {"world_size": 2}
