"""Models and training states on disk, whole or not there at all.

A model folder is what stock `transformers` loads: ``model.safetensors``, ``config.json``, the
tokenizer's files, and ``pytorch_model.bin`` where it is asked for. A checkpoint is a model folder
with ``state.pt`` (optimiser, schedule, counters), its large files perhaps in parts (parts.py). Of a
model with an adapter a checkpoint holds the adapter only, as peft loads it; a model folder holds
the two merged, and the adapter by itself in ``adapter/``. Both carry ``manifest.json`` with the
SHA-256 of every file, written last; a folder whose manifest doesn't match is not one.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.logging import disable_progress_bar

from atlas.errors import AtlasError
from atlas.machine.accelerator import name_accelerator
from atlas.machine.copying import copied
from atlas.machine.hub import local_files_only
from atlas.machine.shipped import model_path
from atlas.models.lora import is_adapted, merged_model, save_adapter, with_merged
from atlas.models.manifest import MANIFEST, OTHER_STATES, STATE, is_whole, sha256
from atlas.models.parts import INDEX, Written, index_of
from atlas.models.whole import (
    adapter_base,
    check_files,
    check_tokenizer,
    in_one_line,
    num_rows,
    read_config,
    refuse_incomplete,
    refuse_nonsense,
)
from atlas.prompts.templates import check_template
from atlas.run.files import disk_errors, give_usual_mode, make_parent, place_errors, write_atomic

ADAPTER = "adapter"
"""The folder within a model folder that has its adapter by itself."""

# The stages draw their own progress; a bar for each file of a model only breaks it.
disable_progress_bar()


def save_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    dtype: torch.dtype | None = None,
    with_bin: bool = False,
    extra: dict[str, str] | None = None,
    also: Mapping[str, Callable[[Path], None]] | None = None,
) -> None:
    """Write a model folder, replacing an older one in a single step.

    Args:
        folder: Where; its parents are made.
        model: To be saved.
        tokenizer: With its chat template.
        dtype: That its weights are rounded to; None: the precision that it has.
        with_bin: Write ``pytorch_model.bin`` too, for tools that look for it.
        extra: More text files, by path.
        also: More files of any kind, by name; each function is given the path to write.

    Raises:
        AtlasError: The disk is full, or nothing can be written there.
    """

    def write(temporary: Path) -> None:
        whole = merged_model(model) if is_adapted(model) else model
        if dtype is not None:
            whole = copied(whole, device="cpu", dtype=dtype)
        _save_weights(whole, temporary)
        tokenizer.save_pretrained(temporary)
        if is_adapted(model):
            save_adapter(model, temporary / ADAPTER)
            _write_texts(temporary / ADAPTER, extra)
        if with_bin:
            torch.save(_plain_weights(whole), temporary / "pytorch_model.bin")
        _write_texts(temporary, extra)
        for name, write_file in (also or {}).items():
            write_file(temporary / name)

    _write_folder(folder, write)


def begin_checkpoint(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    extra: dict[str, str] | None = None,
) -> Path:
    """Write what is small of a checkpoint; return the folder that its parts are written to.

    Args:
        folder: The checkpoint, which isn't there before `finish_checkpoint`.
        model: Of which the configuration is written, or the adapter.
        extra: Text files by name.

    Raises:
        AtlasError: As for `save_model`.
    """

    def write(temporary: Path) -> None:
        if is_adapted(model):
            save_adapter(model, temporary)
        else:
            model.config.architectures = [type(model).__name__]
            model.config.dtype = model.dtype
            model.config.save_pretrained(temporary)
            if model.generation_config is not None:
                model.generation_config.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        _write_texts(temporary, extra)

    name_accelerator()
    return _begun(folder, write)


def finish_checkpoint(folder: Path, temporary: Path, parts: Sequence[Written]) -> None:
    """Make a checkpoint of a folder whose parts are all on the disk, in one step.

    Raises:
        AtlasError: As for `save_model`.
    """
    index = index_of(parts)
    with disk_errors(folder), _or_gone(temporary):
        if index is not None:
            (temporary / INDEX).write_text(index, encoding="utf-8")
        _finished(folder, temporary, {n: d for part in parts for n, d in part.digests.items()})


def copy_model(
    source: Path,
    folder: Path,
    *,
    with_bin: bool = False,
    extra: dict[str, str] | None = None,
    also: Mapping[str, Callable[[Path], None]] | None = None,
) -> None:
    """Write a model folder that holds what ``source`` holds, as `save_model` would."""

    def write(temporary: Path) -> None:
        left_out = shutil.ignore_patterns(MANIFEST)
        shutil.copytree(source, temporary, ignore=left_out, dirs_exist_ok=True)
        if with_bin:
            torch.save(_plain_weights(load_model(source)), temporary / "pytorch_model.bin")
        _write_texts(temporary, extra)
        for name, write_file in (also or {}).items():
            write_file(temporary / name)

    _write_folder(folder, write)


def load_state(folder: Path) -> dict[str, Any]:
    """Return the training state of a checkpoint; nothing in it can run code.

    Its tensors are mapped from the files: they take memory only where they are copied.

    Raises:
        AtlasError: A file holds something else.
    """
    try:
        state, *others = (
            torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            for path in (folder / STATE, *sorted(folder.glob(OTHER_STATES)))
        )
        for other in others:
            moments = state["engine"]["optimizer"]["state"]
            state["engine"]["optimizer"]["state"] = moments | other["engine"]["optimizer"]["state"]
    except Exception as error:  # of many kinds, by the byte that is wrong
        raise not_a_state(folder, error) from error
    if not isinstance(state, dict) or not isinstance(state.get("engine"), dict):
        raise not_a_state(folder, "it isn't laid out as one")
    if type(state.get("step")) is not int or state["step"] < 1:
        raise not_a_state(folder, "it doesn't say after which step it was written")
    return state


def not_a_state(folder: Path, reason: object) -> AtlasError:
    """Return the error of a checkpoint whose training state can't be used."""
    said = next(iter(str(reason).strip().splitlines()), type(reason).__name__)
    return AtlasError(
        f"{folder / STATE} isn't the state of this training ({said[:200]}); remove {folder} to go "
        "on from the checkpoint before it"
    )


def load_model(
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    attention: str | None = None,
    quantization: Any = None,
    device: torch.device | None = None,
) -> PreTrainedModel:
    """Load a causal language model: a folder, a hub id, or the name of a shipped model.

    An adapter is loaded into its base, and merged with it.

    Args:
        attention: Name of an implementation in `transformers`; None leaves it the choice.
        quantization: What `transformers` is given to load the weights in fewer bits.
        device: Where its weights go to, without a stop in the processor's memory; None: there.
            ``meta``: nowhere; it is a shell, for which no weights are read.

    Raises:
        AtlasError: There is no such folder, no model in it, or not the whole of one.
    """
    if device is not None and device.type == "meta":
        with in_one_line("model", folder), device:
            config = read_config(model_path(adapter_base(folder) or folder))
            return AutoModelForCausalLM.from_config(
                config, dtype=dtype, attn_implementation=attention
            )
    refuse_incomplete(folder)
    base = adapter_base(folder)
    if base is not None:
        return with_merged(
            load_model(base, dtype=dtype, attention=attention, device=device), folder
        )
    with in_one_line("model", folder):
        model = AutoModelForCausalLM.from_pretrained(
            model_path(folder),
            dtype=dtype,
            trust_remote_code=False,
            local_files_only=local_files_only(model_path(folder)),
            attn_implementation=attention,
            quantization_config=quantization,
            # Only for accelerators: on the processor a map of devices brings hooks for nothing.
            device_map=None if device is None or device.type == "cpu" else {"": device},
        )
        if attention != "flash_attention_2":  # which computes under autocast only
            refuse_nonsense(folder, model)
    return model


def check_model(folder: str | Path) -> None:
    """Look whether a model and its tokenizer can be loaded, before anything is begun with them.

    Raises:
        AtlasError: As `load_model` and `load_tokenizer` would; little is read for it.
    """
    load_tokenizer(folder)
    refuse_incomplete(folder)


def load_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a model folder or a hub id.

    Raises:
        AtlasError: There is none, it has tokens that the model has no row for, or no chat
            template that can be used.
    """
    name = model_path(folder)
    check_files(name, weights=False)
    base = adapter_base(folder)
    if base is not None and not any(Path(name).glob("tokenizer*")):
        return load_tokenizer(base)
    rows = num_rows(folder)
    with in_one_line("tokenizer", folder):
        tokenizer = AutoTokenizer.from_pretrained(
            name, trust_remote_code=False, local_files_only=local_files_only(name)
        )
        check_tokenizer(folder, tokenizer, rows)
        check_template(tokenizer)
    return tokenizer


def check_rows(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Iterable[Sequence[int]],
) -> None:
    """Refuse texts with a token that the tokenizer has and the model has no row for.

    Raises:
        AtlasError: There is one; it is named.
    """
    rows = int(model.config.get_text_config().vocab_size)
    highest = max((max(ids, default=0) for ids in texts), default=0)
    if highest >= rows:
        raise AtlasError(
            f"a text contains {tokenizer.convert_ids_to_tokens(highest)!r}, number {highest} of "
            f"the tokenizer, but '{model.name_or_path}' has {rows} rows; use the tokenizer that it "
            "was trained with, or leave such texts out"
        )


def kept_dtype(folder: str | Path) -> torch.dtype:
    """Return the precision that a model folder's weights are kept in: bfloat16, or else float32.

    Raises:
        AtlasError: There is no such folder, or no model in it.
    """
    name = model_path(adapter_base(folder) or folder)
    check_files(name, weights=False)
    with in_one_line("model", folder):
        config = read_config(name)
    return torch.bfloat16 if config.dtype == torch.bfloat16 else torch.float32


def newest_checkpoint(checkpoints: Path) -> Path | None:
    """Return the newest whole checkpoint ``step_*`` of a folder; None where there is none."""
    return next((path for path in reversed(_by_step(checkpoints)) if is_whole(path)), None)


def whole_checkpoints(checkpoints: Path) -> list[Path]:
    """Return the whole checkpoints of a folder, oldest first."""
    return [path for path in _by_step(checkpoints) if is_whole(path)]


def damaged_checkpoints(checkpoints: Path, whole: Path | None) -> list[Path]:
    """Return the checkpoints that are newer than ``whole``, the newest whole one."""
    found = _by_step(checkpoints)
    return found if whole is None else found[found.index(whole) + 1 :]


def prune_checkpoints(checkpoints: Path, keep: int, newest: Path) -> None:
    """Delete all but the ``keep`` newest checkpoints (at least 1), and never ``newest``.

    A damaged checkpoint counts as one of them, so that it isn't the reason that good ones go.

    Args:
        newest: The newest whole one: it was just written.
    """
    found = _by_step(checkpoints)
    for path in found[: max(0, len(found) - keep)]:
        if path != newest:
            shutil.rmtree(path)


def remove_unfinished(checkpoints: Path) -> None:
    """Delete what a process that was killed had begun to write."""
    for path in checkpoints.glob(".step_*.partial"):
        shutil.rmtree(path, ignore_errors=True)


def step_name(step: int) -> str:
    """Return the name of a step's folder or file; up to a million steps, names sort as steps do."""
    return f"step_{step:06d}"


def weights_sha256(folder: Path) -> str:
    """Return the SHA-256 of a model folder's weights file."""
    return sha256(folder / "model.safetensors")


def _by_step(checkpoints: Path) -> list[Path]:
    """Return the folders ``step_*``, oldest first."""
    found = [path for path in checkpoints.glob("step_*") if path.name[5:].isdecimal()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def _write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    temporary = _begun(folder, write)
    with disk_errors(folder), _or_gone(temporary):
        _finished(folder, temporary, {})


@contextmanager
def _or_gone(temporary: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _begun(folder: Path, write: Callable[[Path], None]) -> Path:
    """Return a new folder beside ``folder``, to write it in; ``write`` has begun with it."""
    old = _aside(folder)
    # Of a new name: who looks for it on another disk must not find one that was left there.
    temporary = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.partial"
    with disk_errors(folder):
        make_parent(folder)
        if old.exists() and not folder.exists():
            # A process died between the two renames below: this is the only one there is.
            old.rename(folder)
        for leftover in (old, *folder.parent.glob(f".{folder.name}.*partial")):
            shutil.rmtree(leftover, ignore_errors=True)
        with place_errors(folder):
            temporary.mkdir()
        with _or_gone(temporary):
            write(temporary)
    return temporary


def _finished(folder: Path, temporary: Path, digests: Mapping[str, str]) -> None:
    """Give a folder its manifest and its place; files that have no digest yet are hashed."""
    files = sorted(path for path in temporary.rglob("*") if path.is_file())
    manifest: dict[str, str] = {}
    for path in files:
        name = path.relative_to(temporary).as_posix()
        manifest[name] = digests.get(name) or sha256(path)
        if name not in digests:
            give_usual_mode(path)  # safetensors makes files that only their owner can read
            _fsync(path)
    write_atomic(temporary / MANIFEST, json.dumps(manifest, indent=2) + "\n")
    old = _aside(folder)
    if folder.exists():
        folder.rename(old)
    temporary.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    _fsync(folder.parent)


def _aside(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.old"


def _save_weights(model: PreTrainedModel, folder: Path) -> None:
    name_accelerator()
    model.save_pretrained(folder)


def _write_texts(folder: Path, texts: dict[str, str] | None) -> None:
    for name, text in (texts or {}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def _plain_weights(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
