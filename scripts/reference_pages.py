"""The pages that are made from the code: ``configuration.md``, ``metrics.md``, ``api.md`` and the
table of ``planning.md``.

``python -m scripts.reference_pages`` (``make docs``) writes them anew; a test compares them
with what it would write. Keys are shown where they are declared, so that what several jobs have in
common is read once.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from scripts.guide_plans import planning_page

import atlas
from atlas.config import JOBS, KeyInfo, Part, keys_of
from atlas.config.parts.endpoint import EndpointConfig, LimitsConfig
from atlas.config.rim import JudgeConfig, RIMSettings
from atlas.run.metric_names import METRICS

MARK = "<!-- from here on made by make docs: edit the code instead -->"
"""What stands above it in a page is written by hand and stays."""

_STAGES = {
    "all": "Every training",
    "sft": "The warm-up",
    "grpo": "Reinforcement of the teacher",
    "ranked": "From scratch",
}

_JUDGES = {
    "Judges: flat keys": RIMSettings,
    "Judges: flat keys about what calls cost, and outages": LimitsConfig,
    "Judges: an endpoint": EndpointConfig,
    "Judges: one judge": JudgeConfig,
}


def configuration_page() -> str:
    """Return the made part of ``docs/configuration.md``."""
    parts = {_title(part): part for part in _shared_classes()} | _JUDGES
    return "\n".join([*map(_job_section, JOBS), *map(_section, parts, parts.values())])


def metrics_page() -> str:
    """Return the made part of ``docs/metrics.md``."""
    sections = []
    for stage, title in _STAGES.items():
        rows = [(f"`{m.name}`", m.unit, m.doc) for m in METRICS if m.stage == stage]
        sections.append(f"## {title}\n\n{_table(('Name', 'Unit', 'What it is'), rows)}")
    return "\n".join(sections)


def api_page() -> str:
    """Return the made part of ``docs/api.md``."""
    rows = []
    for name, module in atlas.PUBLIC.items():
        summary = (inspect.getdoc(getattr(atlas, name)) or "").split("\n\n")[0]
        rows.append((f"`{name}`", " ".join(summary.split()).replace("``", "`"), f"`{module}`"))
    return _table(("Name", "What it is", "Module"), rows)


PAGES = {
    "configuration.md": configuration_page,
    "metrics.md": metrics_page,
    "api.md": api_page,
    "planning.md": planning_page,
}
"""File in ``docs/`` -> what makes the part below the mark."""


def main(folder: Path) -> None:
    """Write the made part of every page anew."""
    for name, page in PAGES.items():
        path = folder / name
        path.write_text(renewed(path.read_text(encoding="utf-8"), page()), encoding="utf-8")


def renewed(text: str, made: str) -> str:
    """Return a page with another made part."""
    return f"{text.split(MARK)[0]}{MARK}\n\n{made}"


def _job_section(job: str) -> str:
    config_class = JOBS[job]
    inherited = [_link(base) for base in _bases(config_class)]
    rest = f"\n\nAnd the keys of {', '.join(inherited)}." if inherited else ""
    return f"## Job {job}\n\n{_summary(config_class)}{rest}\n\n{_keys_table(config_class)}"


def _section(title: str, config_class: type[Part]) -> str:
    return f"## {title}\n\n{_summary(config_class)}\n\n{_keys_table(config_class)}"


def _shared_classes() -> list[type[Part]]:
    """Return the parts that jobs are made of, the most general last."""
    found = dict.fromkeys(base for job in JOBS.values() for base in _bases(job))
    return sorted(found, key=lambda base: -len(base.__mro__))


def _bases(config_class: type[Part]) -> list[type[Part]]:
    bases = config_class.__mro__[1:-2]  # neither Part nor object
    return [base for base in bases if inspect.get_annotations(base)]


def _title(config_class: type[Part]) -> str:
    name = config_class.__name__.removesuffix("Config").lower()
    return "Every job" if name == "run" else f"Part: {name}"


def _link(config_class: type[Part]) -> str:
    title = _title(config_class)
    anchor = "".join(c for c in title.lower() if c.isalnum() or c in " -").replace(" ", "-")
    return f"[{title.lower()}](#{anchor})"


def _summary(config_class: type[Part]) -> str:
    return " ".join((config_class.__doc__ or "").split("\n\n")[0].split()).replace("``", "`")


def _keys_table(config_class: type[Part]) -> str:
    own = inspect.get_annotations(config_class)
    keys = [info for name, info in keys_of(config_class).items() if name in own]
    rows = [(f"`{info.name}`", _default(info), info.expected, info.doc) for info in keys]
    return _table(("Key", "Default", "Value", "What it does and when to change it"), rows)


def _default(info: KeyInfo) -> str:
    return info.default_text if info.is_required else f"`{info.default_text}`"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs"))
