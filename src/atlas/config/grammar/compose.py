"""Configuration, composed: a YAML file and the command line -> the typed configuration of a job.

Later beats earlier: the defaults of the dataclass; ``configs/train.yaml``; the files chosen under
``configs/model``, ``configs/data`` and ``configs/trainer``; the run's YAML; the command line. Each
file is read once. Keys are flat in every file; ``defaults`` lists are written as for Hydra.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from atlas.config.grammar.nested import flattened
from atlas.config.grammar.overrides import COMMAND_LINE, GROUPS, chosen_files, parse_overrides
from atlas.config.grammar.places import ROOT, SHIPPED, find_config_dir, find_run_file, first_file
from atlas.config.grammar.schema import KeyInfo, convert, keys_of, nearest, shortened
from atlas.config.parts.run import RunConfig
from atlas.config.resolve import resolve
from atlas.errors import AtlasError
from atlas.yaml_file import read_yaml

C = TypeVar("C", bound=RunConfig)

_GROUP_ENTRY = re.compile(rf"^(?:override\s+)?/?({'|'.join(GROUPS)})(?:@_global_)?$")
_REFERENCE = re.compile(r"\$\{\s*(\w+)\s*\}")
_LONG = 1000
_TWINS = ("export_path", "dataset_path")
"""Two names of one key; the later beats the earlier whichever it is called."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Composed(Generic[C]):
    """A configuration, and who said what."""

    config: C
    origins: Mapping[str, str]
    """Key -> the file that set it, or ``the command line``; keys at their default are absent."""


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
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    files = _read_files(run_file, line.choices)
    _refuse_other_job(config_class, files, run_file)
    for where, content in files.items():
        flat = flattened(content, where, keys, line.settings)
        for name in flat:
            if name not in keys:
                raise AtlasError(f"unknown key '{name}' in {where}{nearest(name, keys)}")
        _drop_twin(flat, values, origins)
        values |= flat
        origins |= dict.fromkeys(flat, where)
    _refuse_self_allowed(values, origins, line.settings)
    _drop_twin(line.settings, values, origins)
    for name, said in line.settings.items():
        before = values.get(name)
        if isinstance(said, Mapping) and isinstance(before, Mapping):
            said = {**before, **said}
        values[name] = said
    origins |= dict.fromkeys(line.settings, COMMAND_LINE)
    values = {name: _filled_in(name, values, origins, keys) for name in values}
    config = _typed_config(config_class, values, origins, run_file)
    config = resolve(config, given=origins.keys(), world_size=world_size)
    return Composed(config=config, origins=origins)


def _drop_twin(later: Mapping[str, Any], *before: dict[str, Any]) -> None:
    """Forget what was said under another name of a key that is said now."""
    for name, twin in (_TWINS, _TWINS[::-1]):
        if name in later and twin not in later:
            for said in before:
                said.pop(twin, None)


def job_of(source: str | Path, overrides: Sequence[str] = ()) -> str:
    """Return the job that a run's file is for: its key ``job``, or that of a file it chooses.

    Raises:
        AtlasError: A file isn't there or isn't YAML, or none of them names a job.
    """
    run_file = find_run_file(source)
    files = _read_files(run_file, chosen_files(overrides))
    named = [content["job"] for content in files.values() if "job" in content]
    if not named:
        raise AtlasError(
            f"{_shown(run_file)} doesn't say which job it is for; add `job: sft` or `job: grpo` to "
            "it, or choose trainer=sft"
        )
    return str(named[-1])


def _refuse_other_job(
    config_class: type[RunConfig],
    files: Mapping[str, Mapping[str, Any]],
    run_file: Path | None,
) -> None:
    """Refuse files for another job, whose keys would be unknown here."""
    job = keys_of(config_class)["job"].default
    named = [(content["job"], where) for where, content in files.items() if "job" in content]
    said, where = named[-1] if named else (job, "")
    if said != job:
        where = where if run_file is None else _shown(run_file)
        raise AtlasError(
            f"{where} is for the job {shortened(said)}, but this is {job}; "
            f"atlas train {where} runs it"
        )


def _read_files(run_file: Path | None, choices: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the content of every file by its path, those that count more behind the others.

    Args:
        choices: Those of the command line, which beat the files' own.
    """
    config_dir = find_config_dir(run_file)
    root = _read(config_dir / ROOT)
    run = {} if run_file is None else _read(run_file)
    if run_file is not None and not any(run.values()):
        raise AtlasError(f"{_shown(run_file)} is empty; it says nothing of what is to be run")
    chosen: dict[str, str | None] = {}
    for where, content in (root | run).items():
        chosen |= _choices(content.pop("defaults", None), where)
    chosen |= choices
    files = dict(root)
    for group in GROUPS:
        name = chosen.get(group)
        if name is not None:
            files |= _read(_chosen_file(config_dir, group, name))
    return files | run


def _read(path: Path) -> dict[str, dict[str, Any]]:
    return {_shown(path): read_yaml(path)}


def _choices(defaults: object, where: str) -> dict[str, str | None]:
    """Return the choices in a ``defaults`` list: group -> name, None where a choice is taken back.

    The guide writes ``override /model: llama3_8b``; Hydra wants ``/model@_global_``.
    """
    if not isinstance(defaults, list | None):
        raise AtlasError(f"defaults in {where} must be a list, as in `- override /model: qwen3_8b`")
    choices: dict[str, str | None] = {}
    for entry in defaults or []:
        pairs = [*entry.items()] if isinstance(entry, dict) else []
        name, chosen = pairs[0] if len(pairs) == 1 else ("", "")
        match = _GROUP_ENTRY.match(name)
        if match and isinstance(chosen, str | None):
            choices[match[1]] = chosen
        elif entry != "_self_" and chosen is not None:
            raise AtlasError(
                f"the configuration doesn't compose: {shortened(entry)} in defaults of {where} "
                "isn't understood; write it as in `- override /model: qwen3_8b`"
            )
    return choices


def _chosen_file(config_dir: Path, group: str, name: str) -> Path:
    path = config_dir / group / f"{name}.yaml"
    if ".." in path.parts or first_file([path]) is None:
        known = sorted(file.stem for file in (config_dir / group).glob("*.yaml"))
        raise AtlasError(f"{group}={name}: {_shown(path)} isn't there{nearest(name, known)}")
    return path


def _refuse_self_allowed(
    values: Mapping[str, Any], origins: Mapping[str, str], settings: Mapping[str, Any]
) -> None:
    """Refuse a file that allows functions to be run: it would allow itself."""
    name = "allow_targets"
    if values.get(name) and name not in settings:
        said = values[name] if isinstance(values[name], list) else [values[name]]
        raise AtlasError(
            f"{origins[name]} sets {name}, which counts on the command line only: check what it "
            f"would run, then add '{name}=[{','.join(map(str, said))}]'"
        )


def _filled_in(
    name: str, values: Mapping[str, Any], origins: Mapping[str, str], keys: Mapping[str, KeyInfo]
) -> Any:
    """Return the value of a key, with the value of another one in the place of each ``${key}``.

    Nothing else in such braces is understood, so that no file can read the environment; and what
    is put in holds no braces of its own, so that nothing grows.
    """

    def refused(text: str, why: str) -> AtlasError:
        what = f"{name} in {origins[name]} holds {shortened(text)}"
        return AtlasError(f"the configuration doesn't compose: {what}, but {why}")

    def said(match: re.Match[str]) -> Any:
        other = match[1]
        if other not in values:
            raise refused(match[0], f"nothing sets {other}{nearest(other, values)}")
        if keys[other].secret and not keys[name].secret:
            raise refused(match[0], f"{other} may hold a password")
        return values[other]

    def filled(text: Any) -> Any:
        if not isinstance(text, str) or "${" not in text:
            return text
        whole = _REFERENCE.fullmatch(text)
        made = said(whole) if whole else text
        if not whole and len(text) < _LONG:
            made = _REFERENCE.sub(lambda match: str(said(match)), text)
        if "${" in str(made):
            why = "only ${key} is understood, of a key whose own value is written out: nothing here"
            raise refused(text, f"{why} reads the environment")
        return made

    value = values[name]
    return [filled(element) for element in value] if isinstance(value, list) else filled(value)


def _typed_config(
    config_class: type[C],
    values: Mapping[str, Any],
    origins: Mapping[str, str],
    run_file: Path | None,
) -> C:
    keys = keys_of(config_class)
    job = keys["job"].default
    typed = {name: convert(keys[name], value, origins[name]) for name, value in values.items()}
    for name, info in keys.items():
        if info.is_required and name not in typed:
            doc = info.doc[0].lower() + info.doc[1:].rstrip(".")
            raise AtlasError(f"{job} needs {name}; give {name}=… ({doc})")
    return config_class(**typed)


def _shown(path: Path) -> str:
    absolute, shipped = path.resolve(), SHIPPED.resolve()
    if absolute.is_relative_to(shipped):  # by this name it is found from any folder
        return str(Path("configs") / absolute.relative_to(shipped))
    here = Path.cwd()
    return str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute)
