"""Whether a model is wholly there, found out before any of its weights take memory.

Input: a folder or a hub id. Output: nothing, or one line that names the file and the remedy. Where
tensors are missing or have other shapes `transformers` makes them up at random, and says so in a
table that scrolls by; here the model is built without memory first, and what `transformers` says of
its tensors decides.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import warnings
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as transformers_log
from transformers.utils.peft_utils import find_adapter_config_file

from atlas.errors import AtlasError, reason_of
from atlas.json_file import has_half_surrogate, read_json
from atlas.machine.hub import local_files_only
from atlas.machine.shipped import model_path
from atlas.models.manifest import refuse_damaged

_LARGEST = 256_000_000
"""Bytes of a JSON file: tokenizers of large vocabularies take tens of millions."""
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_OBJECTS = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "adapter_config.json",
    *_INDEXES,
)
"""Files of a model folder that are JSON objects."""
_NO_FRACTIONS = ("I", "U", "BOOL", "C")
"""How the names of types begin in which no weight is stored that can be trained."""
_WHOLE_NUMBERS = (torch.bool, torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64)
_NUMBERS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "length_penalty",
    "num_beams",
    "num_return_sequences",
    "max_length",
    "max_new_tokens",
    "min_length",
    "no_repeat_ngram_size",
)
"""Settings of generation that `transformers` takes as they come, whatever their type."""
_MOST_TOKENS = 2**31
_AGAIN = "copy or download the folder again"


def refuse_incomplete(folder: str | Path) -> None:
    """Check that a folder or hub id has every tensor that its configuration asks for, and no other.

    Raises:
        AtlasError: It hasn't, is quantised, or there is no model.
    """
    name = model_path(folder)
    base = adapter_base(folder)
    if base is not None:
        try:
            refuse_incomplete(base)
        except AtlasError as error:
            raise AtlasError(f"'{folder}' is an adapter, and its base can't be: {error}") from error
        return
    check_files(name, weights=True)
    with in_one_line("model", folder):
        config = read_config(name)
        _refuse_quantised(folder, config)
        _check_ids(folder, "config.json", config)
        dtypes = _stored_dtypes(Path(name))
        _refuse_odd_types(folder, dtypes)
        layers = getattr(config.get_text_config(), "num_hidden_layers", 0)
        if dtypes and layers > len(dtypes):  # building them only to miss them takes long
            raise AtlasError(
                f"'{folder}': config.json says {layers:,} layers, and there are {len(dtypes)} "
                f"tensors in all; {_AGAIN}"
            )
        load: Any = AutoModelForCausalLM.from_pretrained
        model, found = load(
            name,
            trust_remote_code=False,
            local_files_only=local_files_only(name),
            device_map={"": "meta"},
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        if model.generation_config is not None:
            _check_generation(folder, model.generation_config)
    _refuse_differences(folder, found)


@torch.no_grad()
def refuse_nonsense(folder: str | Path, model: Any) -> None:
    """Run a loaded model over two tokens: some values of a configuration show only then.

    Raises:
        AtlasError: It gives every token the same logit, or none.
    """
    ends = torch.tensor([[0, model.get_input_embeddings().weight.shape[0] - 1]])
    logits_V = model(input_ids=ends.to(model.device), use_cache=True).logits[0, -1].float()
    numbers = [b for b in model.buffers() if b.is_floating_point()]  # such as rotations
    if not (logits_V.std() > 0 and all(b.isfinite().all() for b in numbers)):  # nor is NaN > 0
        raise AtlasError(
            f"the model '{folder}' tells no token from another: a value in config.json, or its "
            f"weights, are wrong; {_AGAIN}"
        )


def num_rows(folder: str | Path) -> int | None:
    """Return how many tokens a model knows; None where a folder has no configuration.

    Raises:
        AtlasError: Its configuration can't be read.
    """
    name = model_path(adapter_base(folder) or folder)
    if Path(name).is_dir() and not (Path(name) / "config.json").exists():
        return None
    with in_one_line("model", folder):
        return read_config(name).get_text_config().vocab_size


def check_tokenizer(folder: str | Path, tokenizer: Any, rows: int | None) -> None:
    """Check that a tokenizer gives back what it is given, and knows no more tokens than the model.

    Raises:
        AtlasError: It doesn't.
    """
    if "word" not in tokenizer.decode(tokenizer.encode("A word.")).lower():
        raise AtlasError(f"the tokenizer of '{folder}' doesn't give a text back; {_AGAIN}")
    token, place = max(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    if rows is not None and place >= rows:
        raise AtlasError(
            f"the tokenizer of '{folder}' has a token {token!r} of id {place}, and the model "
            f"{rows} rows; take both from one place, or resize the model's embeddings"
        )


def adapter_base(folder: str | Path) -> str | None:
    """Return the model that a folder's adapter was trained on; None where it holds no adapter.

    Raises:
        AtlasError: It holds one that is damaged or not LoRA, or that says no base.
    """
    name = model_path(folder)
    with in_one_line("model", folder):
        found = find_adapter_config_file(name, local_files_only=local_files_only(name))
    if found is None:
        return None
    says = _read_object(Path(found))
    base = says.get("base_model_name_or_path")
    if says.get("peft_type") != "LORA":
        raise AtlasError(f"{found}: peft_type is {says.get('peft_type')!r}; only LORA is loaded")
    if not isinstance(base, str) or not base:
        raise AtlasError(f"{found} doesn't say base_model_name_or_path; write there what it is of")
    if find_adapter_config_file(model_path(base), local_files_only=True) is not None:
        raise AtlasError(f"{found}: its base '{base}' is an adapter itself; merge that one first")
    return base


def read_config(name: str) -> Any:
    """Return the configuration of a model; what `transformers` raises passes.

    Raises:
        AtlasError: It asks for code from elsewhere.
    """
    config = AutoConfig.from_pretrained(
        name, trust_remote_code=False, local_files_only=local_files_only(name)
    )
    attention = str(config._attn_implementation)
    if "/" in attention:
        raise AtlasError(
            f"config.json of '{name}' asks for code of {attention} (attn_implementation), which "
            "isn't run; delete that entry"
        )
    return config


def check_files(name: str, *, weights: bool) -> None:
    """Check what can be told from the files of a folder by themselves; a hub id has none here.

    Args:
        name: Folder or hub id.
        weights: Hold large files against the folder's manifest too.

    Raises:
        AtlasError: A file isn't as the manifest says, or isn't JSON, or names files elsewhere.
    """
    folder = Path(name)
    if not folder.is_dir():
        return
    refuse_damaged(folder, weights=weights)
    for file in _OBJECTS:
        if os.path.lexists(folder / file):
            found = _read_object(folder / file)
            if file in _INDEXES:
                _check_index(folder / file, found)


@contextlib.contextmanager
def in_one_line(what: str, folder: str | Path) -> Iterator[None]:
    """Turn whatever the libraries make of damaged files into one line, and keep them quiet.

    Args:
        what: Is loaded inside the block.

    Raises:
        AtlasError: The block failed.
    """
    level = transformers_log.get_verbosity()
    transformers_log.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except AtlasError:
        raise
    # Each of the libraries trips over a value that it doesn't expect in a way of its own: KeyError,
    # AttributeError, ZeroDivisionError, RuntimeError, the bare Exception of tokenizers.
    except Exception as error:
        raise AtlasError(_unloadable(what, folder, error)) from error
    finally:
        transformers_log.set_verbosity(level)


def _read_object(file: Path) -> Mapping[str, Any]:
    try:
        found = read_json(file, max_bytes=_LARGEST)
        # The libraries read it once more, and would write it half a model later.
        if has_half_surrogate(file.read_bytes()):
            raise AtlasError(f"{file} holds half of a surrogate pair, which is no text")
    except AtlasError as error:
        raise AtlasError(f"{error}; {_AGAIN}") from error
    return found


def _check_index(file: Path, index: Mapping[str, Any]) -> None:
    """Check the list that says which tensor is in which file."""
    places = index.get("weight_map")
    if not places or not isinstance(places, dict) or not isinstance(index.get("metadata"), dict):
        raise AtlasError(f"{file} lacks weight_map or metadata; {_AGAIN}")
    for place in places.values():
        if not isinstance(place, str) or Path(place).name != place:
            raise AtlasError(f"{file} names {place!r}, which is no file beside it; {_AGAIN}")
        if not (file.parent / place).is_file():
            raise AtlasError(
                f"{file.parent / place} is missing, and {file.name} names it; {_AGAIN}"
            )


def _refuse_quantised(folder: str | Path, config: Any) -> None:
    parts = (config, config.get_text_config())
    for key in ("quantization_config", "quantization"):  # the second is MLX's
        for part in parts:
            found = getattr(part, key, None)
            if found:
                says = found if isinstance(found, dict) else found.to_dict()
                method = says.get("quant_method") or f"{says.get('bits', '?')} bits"
                raise AtlasError(
                    f"'{folder}' is quantised ({key} of config.json: {method}), and such weights "
                    "can't be trained; name the model that it was made from"
                )


def _check_generation(folder: str | Path, settings: Any) -> None:
    settings.validate()
    _check_ids(folder, "generation_config.json", settings)
    for key in _NUMBERS:
        found = getattr(settings, key, None)
        if found is not None and type(found) not in (int, float):
            raise AtlasError(
                f"'{folder}': {key} of generation_config.json is {found!r}, which is no number"
            )


def _check_ids(folder: str | Path, file: str, config: Any) -> None:
    for key in ("eos_token_id", "bos_token_id", "pad_token_id"):
        found = getattr(config, key, None)
        ids = found if isinstance(found, list) else [] if found is None else [found]
        if not all(type(token) is int and abs(token) < _MOST_TOKENS for token in ids):
            raise AtlasError(f"'{folder}': {key} of {file} is {found!r}, which is no id of a token")


def _stored_dtypes(folder: Path) -> dict[str, str]:
    """Return the type of every tensor in a folder's files, which are not read for it.

    Raises:
        AtlasError: A file has more than tensors by name in it; nothing of it was run.
    """
    dtypes: dict[str, str] = {}
    files = sorted(folder.glob("model*.safetensors")) if folder.is_dir() else []
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                dtypes[name] = tensors.get_slice(name).get_dtype()
    for file in sorted(folder.glob("pytorch_model*.bin")) if not files else []:
        try:
            found = torch.load(file, map_location="meta", weights_only=True)
            dtypes |= {
                name: "I" if tensor.dtype in _WHOLE_NUMBERS else "F"
                for name, tensor in found.items()
            }
        except (pickle.UnpicklingError, AttributeError, EOFError, RuntimeError) as error:
            raise AtlasError(
                f"{file} is damaged, or holds more than tensors by name; it isn't run. Copy it "
                "again, or save the model as safetensors where it is trusted"
            ) from error
    return dtypes


def _refuse_odd_types(folder: str | Path, dtypes: Mapping[str, str]) -> None:
    for name, dtype in dtypes.items():
        if name.endswith(".weight") and dtype.startswith(_NO_FRACTIONS):
            raise AtlasError(
                f"'{folder}': {name} is stored as {dtype}: its weights are quantised or damaged; "
                "name the model that it was made from"
            )


def _refuse_differences(folder: str | Path, found: Mapping[str, Collection[Any]]) -> None:
    """Refuse what `transformers` says of tensors; tied ones aren't missing to it."""
    missing, unexpected = sorted(found["missing_keys"]), sorted(found["unexpected_keys"])
    shapes = sorted(found["mismatched_keys"])
    if missing:
        text = f"config.json asks for {_named(missing)}, which its files lack"
    elif shapes:
        name, stored, asked = shapes[0]
        text = (
            f"{name} is {list(stored)} in its file, and config.json asks for {list(asked)}"
            f"{_and_more(shapes)}"
        )
    elif unexpected:
        text = f"its files hold {_named(unexpected)}, for which config.json has no place"
    elif found["error_msgs"]:
        text = reason_of(ValueError(next(iter(found["error_msgs"]))))
    else:
        return
    raise AtlasError(f"the model '{folder}' isn't whole: {text}; {_AGAIN}")


def _named(names: list[str]) -> str:
    return f"{names[0]}{_and_more(names)}"


def _and_more(found: list[Any]) -> str:
    return f" (and {len(found) - 1} more)" if len(found) > 1 else ""


def _unloadable(what: str, folder: str | Path, error: Exception) -> str:
    name = model_path(folder)
    if not Path(name).is_dir() and local_files_only(name):
        reason = "there is no such folder, the hub's cache has none, and no hub can be reached"
    else:
        reason = reason_of(error)
    return f"no {what} can be loaded from '{folder}': {reason}"
