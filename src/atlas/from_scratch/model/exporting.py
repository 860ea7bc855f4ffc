"""A trained model in another format, and the proof that it is the same one.

Input: a model folder. Output: what ``--format`` says; it is loaded again from what was written, and
removed where it isn't equal: logits on a fixed row of tokens, ids of fixed texts, greedy answers.

    safetensors   a folder that `transformers` and vLLM load
    pkl           a folder with plain arrays, that NumPy alone runs (numpy_llama.py)
    gguf          one file for llama.cpp and its family (gguf_file.py)

A folder whose weights are in ``model_weights.pkl`` only is read without unpickling, and
refused where it holds anything but arrays.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from atlas.errors import AtlasError
from atlas.from_scratch.model.folder import (
    SAFETENSORS,
    VOCABULARY,
    plain_array,
    vocabulary_text,
)
from atlas.from_scratch.model.gguf_file import split_of, write_gguf
from atlas.from_scratch.model.gguf_tokenizer import SPLITS
from atlas.from_scratch.model.pickled import WEIGHTS, Array, as_float32, read_pickled, write_pickled
from atlas.models.checkpoints import kept_dtype, load_model, load_tokenizer, save_model
from atlas.models.manifest import refuse_damaged
from atlas.prompts.chat import encode
from atlas.run.files import place_errors
from atlas.run.prompts_kept import model_files

Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]

_QUESTIONS: Final = ("Calculate 2 + 3 - 1.", "What is the difference between 7 and twelve?")
PROOF_TEXTS: Final = (
    *_QUESTIONS,
    "12 * 3 = 36.\n  So  it's 36, isn't it?",
    "Größe, naïve, 数学 - (x) ...",
    "1234567 + 98,765.4321 = 1/2, \u00bd and 10\u00b3; \u0663\u0664",  # long numbers, other digits
    "can'they say 'really' I'LL 'rea don\u2019t",
    "  two before, two after  ",
    " \n\n\n a\t\tb\r\n    c \u00a0d \u2003e\u3000f",
    "caf\u00e9 cafe\u0301 \ufb01ve \u212b \uff21 \u1100\u1161",  # composed, decomposed, compatible
    "Привет мир, हिन्दी भाषा।, العربية, ไทย, 日本語。한국어",
    "\U0001f642\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea !? x=(a|b)[0];//",
    "\ufefftext \u2581 \u0120 <s> </s> [PAD1]",
)
_NEW_TOKENS = 16
_TOLERANCE = 1e-4
"""Of logits, which are of the order of 10; equal weights give equal logits but for rounding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """How a model is written, and loaded again from what was written."""

    write: Callable[[Loaded, Path], None]
    load: Callable[[Path], Loaded]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportedModel:
    """What was written and how it compares."""

    path: Path
    num_bytes: int
    largest_difference: float
    """Between any two logits."""
    answers: int
    """Greedy answers that are equal; all of them."""


def export_model(source: Path, output: Path, name: str) -> ExportedModel:
    """Write a model in another format and prove that it is the same.

    Args:
        source: A model folder.
        output: What is written: a folder, or the file of ``gguf``. It must not be there.
        name: One of `FORMATS`.

    Raises:
        AtlasError: The format is unknown, the source can't be read or is refused, something is at
            ``output``, or what was written is not equal; then it is removed.
    """
    if name not in FORMATS:
        raise AtlasError(f"--format is {name}; it must be one of {', '.join(FORMATS)}")
    if output.exists() or output.is_symlink():
        raise AtlasError(f"{output} is there; name a new place with --output")
    chosen = FORMATS[name]
    loaded = load_any(source)
    texts = texts_for(loaded[1])
    try:
        chosen.write(loaded, output)
        before = outputs_of(*loaded, texts)
        del loaded  # one model in memory at a time
        difference = _compare(before, outputs_of(*chosen.load(output), texts), texts, output)
    except BaseException:
        _remove(output)
        raise
    files = output.rglob("*") if output.is_dir() else [output]
    return ExportedModel(
        path=output,
        num_bytes=sum(file.stat().st_size for file in files if file.is_file()),
        largest_difference=difference,
        answers=len(_QUESTIONS),
    )


def load_any(folder: Path) -> Loaded:
    """Load a model folder from its safetensors, or from its pickle where it has nothing else.

    Raises:
        AtlasError: There is no model, or the pickle is refused.
    """
    refuse_damaged(folder)
    if not (folder / SAFETENSORS).is_file() and (folder / WEIGHTS).is_file():
        return _load_pickled(folder)
    model = load_model(folder, dtype=kept_dtype(folder))
    model.name_or_path = str(folder)  # with an adapter in it, it has the name of its base
    return model, load_tokenizer(folder)


@dataclass(frozen=True, slots=True)
class ModelOutputs:
    """What a model makes of fixed inputs."""

    logits_LV: Tensor
    ids: tuple[tuple[int, ...], ...]
    """Of the texts, with whatever the tokenizer adds to them, such as BOS."""
    prompts: tuple[tuple[int, ...], ...]
    answers: tuple[str, ...]


@torch.inference_mode()
def outputs_of(model: Any, tokenizer: Any, texts: Sequence[str]) -> ModelOutputs:
    """Return what a model makes of fixed inputs, computed in float32."""
    if model.dtype != torch.float32:  # transformers forbids even asking one from GGUF
        model = model.float()
    model.eval()
    ids = tuple(map(tuple, tokenizer(list(texts))["input_ids"]))
    prompts = [encode(tokenizer, [{"role": "user", "content": text}]) for text in _QUESTIONS]
    return ModelOutputs(
        logits_LV=model(torch.tensor([ids[0] + ids[1]])).logits[0],
        ids=ids,
        prompts=tuple(map(tuple, prompts)),
        answers=tuple(_answer(model, tokenizer, prompt) for prompt in prompts),
    )


def _answer(model: Any, tokenizer: Any, ids: Sequence[int]) -> str:
    prompt = torch.tensor([ids])
    (row,) = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=_NEW_TOKENS,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return tokenizer.decode(row[prompt.shape[1] :], skip_special_tokens=True)


def texts_for(tokenizer: Any) -> list[str]:
    """Return what both tokenizers must cut alike: fixed texts, and each entry of the vocabulary.

    Entries that are found before anything is cut, such as special ones, stand in a text too.
    """
    entries = tokenizer.batch_decode([[place] for place in range(len(tokenizer))])
    added = [f"a {token} b{token}c" for token in tokenizer.get_added_vocab()]
    return [*PROOF_TEXTS, *added, *(entry for entry in entries if "\ufffd" not in entry)]


def _compare(
    before: ModelOutputs, after: ModelOutputs, texts: Sequence[str], output: Path
) -> float:
    """Return the largest difference of two logits; raise AtlasError where anything differs."""
    for text, old, new in zip(texts, before.ids, after.ids, strict=True):
        if old != new:
            raise AtlasError(f"{output}: its tokenizer cuts {text!r} differently; nothing was kept")
    if after.prompts != before.prompts:
        raise AtlasError(f"{output}: its chat template makes other prompts; nothing was kept")
    if after.logits_LV.shape != before.logits_LV.shape:
        raise AtlasError(f"{output}: its vocabulary has another size; nothing was kept")
    difference = float((after.logits_LV - before.logits_LV).abs().max())
    if not difference <= _TOLERANCE:
        raise AtlasError(f"{output}: its logits differ by {difference:g}; nothing was kept")
    if after.answers != before.answers:
        raise AtlasError(f"{output}: its greedy answers differ; nothing was kept")
    return difference


def _write_safetensors(loaded: Loaded, output: Path) -> None:
    kept = model_files(Path(str(loaded[0].name_or_path)))
    save_model(output, *loaded, extra=kept)


def _load_folder(output: Path) -> Loaded:
    return load_model(output, dtype=kept_dtype(output)), load_tokenizer(output)


def _write_pickle(loaded: Loaded, output: Path) -> None:
    model, tokenizer = loaded
    with place_errors(output):
        output.mkdir(parents=True)
    model.config.save_pretrained(output)
    tokenizer.save_pretrained(output)
    (output / VOCABULARY).write_text(vocabulary_text(tokenizer), encoding="utf-8")
    write_pickled(output / WEIGHTS, arrays_of(model))


def _load_pickled(folder: Path) -> Loaded:
    weights = {
        name: torch.from_numpy(as_float32(dtype, array))
        for name, (dtype, array) in read_pickled(folder / WEIGHTS).items()
    }
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        missing, unexpected = model.load_state_dict(weights, strict=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise AtlasError(
            f"{folder / WEIGHTS} doesn't fit config.json beside it: {error}"
        ) from error
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    if unexpected or set(missing) - tied:
        odd = sorted({*unexpected, *missing} - tied)[0]
        raise AtlasError(f"{folder / WEIGHTS} and config.json disagree about {odd}")
    return model, load_tokenizer(folder)


def _write_gguf(loaded: Loaded, output: Path) -> None:
    model, tokenizer = loaded
    write_gguf(output, model.config, arrays_of(model), tokenizer)


def _load_gguf(output: Path) -> Loaded:
    """Load a file with transformers, and cut texts as llama.cpp does, which it knows less well."""
    place, name = str(output.parent.resolve()), output.name
    load: Any = AutoModelForCausalLM.from_pretrained
    tokenizer: Any = AutoTokenizer.from_pretrained(place, gguf_file=name, local_files_only=True)
    tokenizer.backend_tokenizer.pre_tokenizer = SPLITS[split_of(output)]
    return load(place, gguf_file=name, dtype=torch.float32, local_files_only=True), tokenizer


def arrays_of(model: PreTrainedModel) -> dict[str, tuple[str, Array]]:
    """Return every parameter by name, a tied one once, with the name of its type."""
    return {name: plain_array(p.detach().cpu()) for name, p in model.named_parameters()}


def _remove(output: Path) -> None:
    if output.is_dir():
        shutil.rmtree(output)
    elif output.exists():
        output.unlink()


FORMATS: Mapping[str, Format] = {
    "safetensors": Format(write=_write_safetensors, load=_load_folder),
    "pkl": Format(write=_write_pickle, load=_load_pickled),
    "gguf": Format(write=_write_gguf, load=_load_gguf),
}
