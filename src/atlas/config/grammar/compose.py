"""Configuration, composed: a YAML file and the command line -> the typed configuration of a job.

Later beats earlier: the defaults of the dataclass; the files chosen under ``configs/model``,
``configs/data`` and ``configs/trainer``; the run's YAML; the command line. Hydra composes the
files, and ``DictConfig`` goes no further than this module. Keys are flat in every file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir, initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from atlas.config.grammar.nested import blocks_in, flattened, nested_values
from atlas.config.grammar.overrides import GROUPS, Overrides, chosen_files, parse_overrides
from atlas.config.grammar.places import ROOT, find_config_dir, find_run_file
from atlas.config.grammar.schema import KeyInfo, RunConfig, convert, keys_of, nearest
from atlas.config.resolve import resolve
from atlas.errors import AtlasError

C = TypeVar("C", bound=RunConfig)

_NO_FILES = "atlas_without_files"
_REQUESTED = "atlas_requested"
_HYDRA = "1.3"
_GROUP_ENTRY = re.compile(rf"^(?:override\s+)?/?({'|'.join(GROUPS)})(?:@_global_)?$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Composed(Generic[C]):
    """A configuration, and who said what."""

    config: C
    origins: Mapping[str, str]
    """Key -> the file or override that set it; keys at their default are absent."""


def load_config(
    config_class: type[C],
    source: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    world_size: int = 1,
) -> C:
    """Return the checked configuration of a job.

    Args:
        config_class: One of ``atlas.config.JOBS``.
        source: Path of a YAML file, or name of one in ``configs/run``; None for defaults alone.
        overrides: Words of the command line, as `atlas.config.grammar.overrides` understands them.
        world_size: Training processes, for the batch arithmetic.

    Raises:
        AtlasError: A file isn't there or isn't YAML; a key is unknown, missing or wrong; two keys
            contradict each other.
    """
    return compose_config(config_class, source, overrides, world_size=world_size).config


def compose_config(
    config_class: type[C],
    source: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    world_size: int = 1,
) -> Composed[C]:
    """Do what ``load_config`` does, and say where each value comes from."""
    keys = keys_of(config_class)
    line = parse_overrides(overrides, keys)
    run_file = None if source is None else find_run_file(source)
    config_dir = find_config_dir(run_file)
    body = {} if run_file is None else _read_yaml(run_file)
    choices = _normalise_defaults(body, run_file) | dict(line.choices)
    files = _read_choices(config_dir, choices)
    if run_file is not None:
        files[_shown(run_file)] = body
    origins = _origins(files, keys)
    _refuse_unknown(origins, keys, origins)
    values = flattened(_compose_files(config_dir, body, line), files, keys, line.settings)
    _refuse_unknown(values, keys, origins)
    _refuse_self_allowed(values, origins, line)
    origins |= line.origins
    config = _typed_config(config_class, values, origins, run_file)
    config = resolve(config, given=origins.keys(), world_size=world_size)
    return Composed(config=config, origins=origins)


def job_of(source: str | Path, overrides: Sequence[str] = ()) -> str:
    """Return the job that a run's file is for: its key ``job``, or that of a file it chooses.

    Raises:
        AtlasError: A file isn't there or isn't YAML, or none of them names a job.
    """
    run_file = find_run_file(source)
    body = _read_yaml(run_file)
    choices = _normalise_defaults(body, run_file) | chosen_files(overrides)
    files = [*_read_choices(find_config_dir(run_file), choices).values(), body]
    named = [content["job"] for content in files if "job" in content]
    if not named:
        raise AtlasError(
            f"{_shown(run_file)} doesn't say which job it is for; add `job: sft` or `job: grpo` to "
            "it, or choose trainer=sft"
        )
    return str(named[-1])


def _read_yaml(path: Path) -> dict[str, Any]:
    """Read one file, its interpolations unresolved."""
    try:
        loaded = OmegaConf.load(path)
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise AtlasError(f"{path} can't be read as YAML: {_one_line(error)}") from error
    if not isinstance(loaded, DictConfig):
        raise AtlasError(f"{path} must hold keys and values, as in `seed: 1`")
    content = OmegaConf.to_container(loaded, resolve=False)
    return (
        {str(name): value for name, value in content.items()} if isinstance(content, dict) else {}
    )


def _normalise_defaults(body: dict[str, Any], run_file: Path | None) -> dict[str, str]:
    """Bring the choices in a run's defaults list to one spelling, in place, and return them.

    The guide writes ``override /model: llama3_8b``; Hydra wants ``/model@_global_``.
    """
    defaults = body.get("defaults", [])
    if not isinstance(defaults, list):
        raise AtlasError(
            f"defaults in {run_file} must be a list, as in `- override /model: qwen3_8b`"
        )
    choices: dict[str, str] = {}
    for position, entry in enumerate(defaults):
        (name, chosen), *_ = entry.items() if isinstance(entry, dict) else [("", None)]
        match = _GROUP_ENTRY.match(str(name))
        if match:
            if chosen is not None:
                choices[match[1]] = str(chosen)
            defaults[position] = {f"override /{match[1]}@_global_": chosen}
    return choices


def _read_choices(
    config_dir: Path | None, choices: Mapping[str, str]
) -> dict[str, Mapping[str, Any]]:
    """Return the content of each chosen file by its path."""
    files: dict[str, Mapping[str, Any]] = {}
    for group, name in choices.items():
        if config_dir is None:
            raise AtlasError(
                f"{group}={name} needs the folder configs/; run it in a checkout of Atlas"
            )
        path = config_dir / group / f"{name}.yaml"
        if not path.is_file():
            known = sorted(file.stem for file in path.parent.glob("*.yaml"))
            raise AtlasError(f"{group}={name}: {_shown(path)} isn't there{nearest(name, known)}")
        files[_shown(path)] = _read_yaml(path)
    return files


def _compose_files(
    config_dir: Path | None, body: dict[str, Any], line: Overrides
) -> dict[str, Any]:
    """Let Hydra compose root, choices, run and command line."""
    store = ConfigStore.instance()
    store.store(group="run", name=_REQUESTED, node=body, package="_global_")
    store.store(name=_NO_FILES, node={"defaults": ["_self_", {"run@_global_": None}]})
    context = (
        initialize_config_module("atlas.config", version_base=_HYDRA)
        if config_dir is None
        else initialize_config_dir(str(config_dir), version_base=_HYDRA)
    )
    words = [f"run@_global_={_REQUESTED}"]
    words += [f"{group}@_global_={name}" for group, name in line.choices.items()]
    # Hydra takes a key that is named as a folder of configs/ for a choice of a file in it.
    folders = {name for name in line.settings if config_dir and (config_dir / name).is_dir()}
    words += [f"++{name}={value}" for name, value in line.settings.items() if name not in folders]
    try:
        with context:
            composed = hydra_compose(_NO_FILES if config_dir is None else ROOT, overrides=words)
        values = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise AtlasError(f"the configuration doesn't compose: {_one_line(error)}") from error
    assert isinstance(values, dict)
    said = {name: _parsed(line.settings[name]) for name in folders}
    return {str(name): value for name, value in values.items()} | said


def _parsed(value: str) -> Any:
    """Return what Hydra's grammar makes of a value."""
    return OverridesParser.create().parse_override(f"key={value}").value()


def _origins(files: Mapping[str, Mapping[str, Any]], keys: Mapping[str, KeyInfo]) -> dict[str, str]:
    """Return the file that has the last word on each key, blocks dissolved."""
    origins: dict[str, str] = {}
    for where, content in files.items():
        nested = nested_values(content, where, keys)
        names = content.keys() - {"defaults"} - blocks_in(content, keys)
        origins |= dict.fromkeys([*names, *nested], where)
    return origins


def _refuse_self_allowed(
    values: Mapping[str, Any], origins: Mapping[str, str], line: Overrides
) -> None:
    """Refuse a file that allows functions to be run: it would allow itself."""
    name = "allow_targets"
    if values.get(name) and name not in line.settings:
        raise AtlasError(
            f"{origins.get(name, 'a file')} sets {name}, which counts on the command line only: "
            f"check what it would run, then add '{name}=[{','.join(map(str, values[name]))}]'"
        )


def _refuse_unknown(
    names: Iterable[str], keys: Mapping[str, KeyInfo], origins: Mapping[str, str]
) -> None:
    for name in names:
        if name not in keys:
            where = origins.get(name, "the files")
            raise AtlasError(f"unknown key '{name}' in {where}{nearest(name, keys)}")


def _typed_config(
    config_class: type[C],
    values: Mapping[str, Any],
    origins: Mapping[str, str],
    run_file: Path | None,
) -> C:
    keys = keys_of(config_class)
    job = keys["job"].default
    said = values.get("job", job)
    if said != job:
        where = origins["job"] if run_file is None else _shown(run_file)
        raise AtlasError(f"{where} is for the job {said}, but this is {job}")
    typed = {
        name: convert(keys[name], value, origins.get(name, "")) for name, value in values.items()
    }
    for name, info in keys.items():
        if info.is_required and name not in typed:
            raise AtlasError(f"{job} needs {name}; give {name}=… ({_lower_first(info)})")
    return config_class(**typed)


def _shown(path: Path) -> str:
    absolute = path.resolve()
    here = Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)


def _lower_first(info: KeyInfo) -> str:
    return info.doc[0].lower() + info.doc[1:].rstrip(".")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
