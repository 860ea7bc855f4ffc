"""Configuration of the judges (RIM): which are active, who speaks for them, what stops them.

Input: a YAML file such as ``configs/rim_config.yaml``. Output: a `RIMConfig`. Unlike a job's
configuration it has sections: ``active_judges``, ``judges``, ``small``, ``large``; its other keys
are flat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from atlas.config.grammar.places import find_config_dir, first_file
from atlas.config.grammar.schema import Part, convert, key, keys_of, nearest, shortened
from atlas.config.parts.endpoint import EndpointConfig, LimitsConfig
from atlas.errors import AtlasError
from atlas.yaml_file import read_yaml

T = TypeVar("T")

BUILT_IN_JUDGES = ("accuracy", "helpfulness", "process", "diagnostic")
"""Judges whose criteria ship with the package."""
SECTIONS = ("active_judges", "judges", "small", "large")


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeConfig(Part):
    """One judge's entry under ``judges``."""

    prompt: str | None = key(
        None,
        "File with the criteria, relative to the configuration file; null: those that ship.",
    )
    weight: float = key(1.0, "Weight of this judge's score in the reward.", gt=0)


@dataclass(frozen=True, kw_only=True, slots=True)
class RIMSettings(LimitsConfig):
    """The flat keys of a file of judges, such as ``configs/rim_config.yaml``."""

    temperatures: tuple[float, ...] = key(
        (0.2, 0.5, 0.8), "One sample of the small model at each; more samples cost more.", ge=0
    )
    large_temperature: float = key(0.3, "Temperature of the large model's one sample.", ge=0)
    variance_threshold: float = key(
        0.15,
        "The large model decides where the samples' scores have a standard deviation above this.",
        ge=0,
    )
    uncertainty_threshold: float = key(
        0.3, "The large model decides where a sample's own uncertainty is above this.", ge=0, le=1
    )
    max_chars: int = key(24000, "Longer texts are judged by their beginning and their end.", ge=200)


@dataclass(frozen=True, kw_only=True, slots=True)
class RIMConfig:
    """All of a file.

    Example:
        >>> config = parse_rim_config({"active_judges": {"process": True, "accuracy": False}})
        >>> config.active, config.settings.variance_threshold
        (('process',), 0.15)
    """

    active_judges: Mapping[str, bool]
    judges: Mapping[str, JudgeConfig] = field(default_factory=dict)
    small: EndpointConfig = field(default_factory=EndpointConfig)
    large: EndpointConfig | None = None
    """None: the small model decides what it disagreed about, with the opinions before it."""
    settings: RIMSettings = field(default_factory=RIMSettings)
    folder: Path = field(default_factory=Path)
    """Where the file lies; prompt files are looked for there."""

    @property
    def active(self) -> tuple[str, ...]:
        """Names of the judges that are on, in the file's order."""
        return tuple(name for name, on in self.active_judges.items() if on)


def load_rim_config(path: str | Path) -> RIMConfig:
    """Read a file of judges.

    Args:
        path: As given; where it isn't below the working directory, beside the shipped ``configs/``.

    Raises:
        AtlasError: The file isn't there or isn't YAML; a key or a judge is unknown or wrong.
    """
    config_dir = find_config_dir()
    file = first_file([Path(path), config_dir.parent / path])
    if file is None:
        shipped = sorted(config_dir.glob("*rim*.yaml"))
        hint = nearest(str(path), [f"configs/{file.name}" for file in shipped])
        raise AtlasError(f"config file {path} isn't there{hint}")
    return parse_rim_config(read_yaml(file), where=str(path), folder=file.parent)


def parse_rim_config(
    content: object, *, where: str = "the judges' configuration", folder: Path | None = None
) -> RIMConfig:
    """Check the content of a file of judges.

    Raises:
        AtlasError: A key or a judge is unknown, or a value is wrong.
    """
    said = _mapping(content, where)
    flat = {name: value for name, value in said.items() if name not in SECTIONS}
    _refuse_unknown(flat, [*keys_of(RIMSettings), *SECTIONS], where)
    judges = {
        name: _section(JudgeConfig, entry, f"judges.{name} of {where}")
        for name, entry in _mapping(said.get("judges"), f"judges of {where}").items()
    }
    config = RIMConfig(
        active_judges=_active(said.get("active_judges"), judges, where),
        judges=judges,
        small=_section(EndpointConfig, said.get("small"), f"small of {where}"),
        large=(
            None
            if said.get("large") is None
            else _section(EndpointConfig, said["large"], f"large of {where}")
        ),
        settings=_section(RIMSettings, flat, where),
        folder=folder or Path(),
    )
    _require_prices(config, where)
    return config


def _require_prices(config: RIMConfig, where: str) -> None:
    """Refuse a limit in money where nothing has a price: it would never be reached."""
    endpoints = [config.small, config.large or config.small]
    if config.settings.max_cost is not None and all(e.is_free for e in endpoints):
        raise AtlasError(
            f"max_cost of {where} needs prices; give price_per_million_input_tokens and "
            "price_per_million_output_tokens under small, or leave max_cost out"
        )


def _active(value: object, judges: Mapping[str, JudgeConfig], where: str) -> Mapping[str, bool]:
    known = [*BUILT_IN_JUDGES, *(name for name in judges if name not in BUILT_IN_JUDGES)]
    active: dict[str, bool] = {}
    for name, on in _mapping(value, f"active_judges of {where}").items():
        if name not in known:
            raise AtlasError(
                f"unknown judge '{name}' in active_judges of {where}{nearest(name, known)} A new "
                f"one needs an entry under judges, as in `{name}: {{prompt: {name}.txt}}`"
            )
        if not isinstance(on, bool):
            raise AtlasError(
                f"active_judges.{name} must be true or false, but {where} says {shortened(on)}"
            )
        active[name] = on
    for name, entry in judges.items():
        if name not in BUILT_IN_JUDGES and entry.prompt is None:
            raise AtlasError(f"judges.{name} of {where} needs a prompt, a file with its criteria")
    if not any(active.values()):
        raise AtlasError(f"{where} has no active judge; set one under active_judges to true")
    return active


def _section(section_class: type[T], value: object, where: str) -> T:
    """Make a section's dataclass from its mapping."""
    said = _mapping(value, where)
    keys = keys_of(section_class)
    _refuse_unknown(said, keys, where)
    return section_class(**{name: convert(keys[name], item, where) for name, item in said.items()})


def _refuse_unknown(said: Mapping[str, Any], known: Any, where: str) -> None:
    for name in said:
        if name not in known:
            raise AtlasError(f"unknown key '{name}' in {where}{nearest(name, known)}")


def _mapping(value: object, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise AtlasError(f"{where} must hold keys and values, as in `helpfulness: true`")
    return {str(name): item for name, item in value.items()}
