"""Methods that vLLM adds to each of its workers (``--worker-extension-cls``).

They are called by name over ``/collective_rpc``, with JSON in and JSON out. None raises: an
exception in a worker ends vLLM's engine, and with it every request. What went wrong is returned as
``{"error": …, "broken": …}``; broken says that the model holds a mixture of old and new weights.
"""

from __future__ import annotations

import importlib
import json
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from atlas.serve.inside.ipc import open_handles
from atlas.serve.inside.tensors import read_tensors
from atlas.serve.inside.trainer_logprobs import install

Answer = dict[str, Any]

# vLLM imports this module before it makes its sampler.
install()


class AtlasWorker:
    """What is added; ``self`` is vLLM's worker."""

    def atlas_state(self) -> Answer:
        """Return the version that was loaded last, ``None`` before the first, and the model."""
        return {
            "version": getattr(self, "_atlas_version", None),
            "broken": getattr(self, "_atlas_broken", None),
            "model": self.model_config.model,  # type: ignore[attr-defined]
            "dtype": str(self.model_config.dtype).removeprefix("torch."),  # type: ignore[attr-defined]
            "rank": self.rank,  # type: ignore[attr-defined]
        }

    def atlas_load_file(self, version: int, path: str, entries: list[dict[str, Any]]) -> Answer:
        """Load weights from a file of raw bytes that ``tensors.py`` describes."""
        return _load(self, version, entries, lambda: read_tensors(Path(path), entries))

    def atlas_load_ipc(self, version: int, entries: list[dict[str, Any]]) -> Answer:
        """Load weights from the trainer's memory on the same GPU, by its handles."""
        return _load(self, version, entries, lambda: open_handles(entries))

    def atlas_load_adapter(self, version: int, name: str, path: str) -> Answer:
        """Give an adapter that is loaded other weights, under the number that requests know it by.

        Returns:
            ``loaded`` False where none of that name is, so that vLLM has to load it first.
        """
        worker: Any = self
        number = getattr(worker, "_atlas_adapters", {}).get(name)
        if number is None or number not in worker.list_loras():
            return {"loaded": False}
        kind = importlib.import_module("vllm.lora.request").LoRARequest
        try:
            # Not vLLM's own load in place: that reads the folder again for every batch.
            worker.add_lora(
                kind(lora_name=name, lora_int_id=number, lora_path=path, load_inplace=True)
            )
        except Exception as error:
            said, gone = f"{type(error).__name__}: {error}", number not in worker.list_loras()
            if gone:
                self._atlas_version, self._atlas_broken = None, said
            return {"error": said, "broken": gone}
        self._atlas_version, self._atlas_broken = version, None
        return {"loaded": True, "version": version}

    def atlas_keep_adapter(self, version: int, name: str) -> Answer:
        """Record the adapter that vLLM has loaded last, by its name, and the version."""
        worker: Any = self
        known = getattr(worker, "_atlas_adapters", {})
        worker._atlas_adapters = {**known, name: max(worker.list_loras())}
        self._atlas_version, self._atlas_broken = version, None
        return {"version": version}

    def atlas_mark(self, version: int) -> Answer:
        """Record the version of weights that vLLM's own transfer has loaded."""
        pack_heads(self.model_runner.get_model())  # type: ignore[attr-defined]
        self._atlas_version, self._atlas_broken = version, None
        return {"version": version}


def _load(
    worker: Any,
    version: int,
    entries: list[dict[str, Any]],
    read: Callable[[], dict[str, torch.Tensor]],
) -> Answer:
    try:
        _check_names(worker.model_config, entries)
        tensors = read()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}", "broken": False}
    try:
        worker._atlas_version = None
        worker.reload_weights(weights_iterator=iter(tensors.items()))
        pack_heads(worker.model_runner.get_model())
    except Exception as error:
        worker._atlas_broken = f"{type(error).__name__}: {error}"
        return {"error": worker._atlas_broken, "broken": True}
    worker._atlas_version, worker._atlas_broken = version, None
    return {"version": version, "tensors": len(tensors)}


def pack_heads(model: torch.nn.Module) -> None:
    """Pack output projections again, on a CPU.

    There the projection works on a packed copy of its weight. Where the weight is the embedding's
    too, a reload renews the embedding only, and the copy stays as it was: silently wrong.
    """
    layers = "vllm.model_executor.layers"
    pack = importlib.import_module(f"{layers}.utils").dispatch_cpu_unquantized_gemm
    kind = importlib.import_module(f"{layers}.vocab_parallel_embedding").VocabParallelEmbedding
    for module in model.modules():
        if isinstance(module, kind) and hasattr(module, "cpu_linear"):
            pack(module, remove_weight=False)


def _check_names(model_config: Any, entries: Iterable[dict[str, Any]]) -> None:
    """Refuse weights of another model before the first of them is loaded.

    Raises:
        ValueError: A tensor is missing, unknown, or has another shape than in the served folder.
    """
    expected = _shapes_in(Path(model_config.model))
    if not expected:
        return
    given = {entry["name"]: tuple(entry["shape"]) for entry in entries}
    if getattr(model_config.hf_config, "tie_word_embeddings", False):
        given.pop("lm_head.weight", None)
        expected.pop("lm_head.weight", None)
    for name in sorted(expected.keys() | given.keys()):
        if expected.get(name) != given.get(name):
            raise ValueError(
                f"these are weights of another model: {name} has shape {given.get(name)} here and "
                f"{expected.get(name)} in {model_config.model}"
            )


def _shapes_in(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of all tensors in a folder's safetensors files, from their headers.

    Empty where the folder has none, as for a model by its name on the hub.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("model*.safetensors")) if folder.is_dir() else []:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        shapes |= {name: tuple(entry["shape"]) for name, entry in header.items()}
    return shapes
