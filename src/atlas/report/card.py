"""A run directory -> ``README.md`` beside each of its final models: the model card.

Input: files only, as for the report. Output: lineage, claims with intervals where some were
measured, limits, how to use it, the licence of the base. The card stands outside the folder's
``manifest.json``: it is written again when the model is measured, and the model stays the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from atlas.errors import AtlasError, printable
from atlas.machine.shipped import SHIPPED, SMOLLM2, model_path
from atlas.report.proof import proof_header, proof_rows
from atlas.report.run_files import RunFiles, read_run
from atlas.report.text import claim_text
from atlas.run.files import write_atomic
from atlas.run.lineage import read_lineage
from atlas.yaml_file import parse_yaml

CARD: Final = "README.md"
_LICENCES: Final = {**dict.fromkeys(SHIPPED, "mit"), SMOLLM2: "apache-2.0"}
_WHAT: Final = {
    "sft": "A teacher, warmed up on recorded sessions that went well.",
    "grpo": "A teacher, reinforced for what its teaching did to a frozen student.",
    "ranked": "A small language model: a tokenizer, language, then responses ranked by preference.",
}
_TEACHERS: Final = ("sft", "grpo")
_KEPT: Final = (
    *("seed", "learning_rate", "num_train_epochs", "max_steps", "beta", "num_generations"),
    *("model_size", "stages", "train_data", "corpus", "epochs"),
)
_HUB_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
"""What a hub takes for a base's name; it refuses the path of a folder."""
_FRONT: Final = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)


def write_cards(root: Path) -> list[Path]:
    """Write the card of each final model of a run; returns their paths.

    Raises:
        AtlasError: The directory is no run's, or the disk is full.
    """
    run = read_run(root)
    written = []
    for stage in _TEACHERS if run.kind == "quickstart" else (run.kind,):
        folder = root / stage if run.kind == "quickstart" else root
        model = _saved(run) or folder / "final"
        if stage in _WHAT and model.is_dir():
            write_atomic(model / CARD, card_text(run, stage, folder, model))
            written.append(model / CARD)
    return written


def _saved(run: RunFiles) -> Path | None:
    """Return where a run of guide A has saved its model, outside its directory."""
    saved = next((stage.summary.get("folder") for stage in run.stages if stage.name == "save"), "")
    return Path(saved) if saved and run.kind == "ranked" else None


def card_text(run: RunFiles, stage: str, folder: Path, model: Path) -> str:
    """Return the card of a stage's model.

    Args:
        run: The whole run.
        stage: ``sft`` or ``grpo``, of a teacher; ``ranked``.
        folder: The directory of the stage.
        model: That of the model.
    """
    name = "config.yaml" if folder == run.root else f"{stage}/config.yaml"
    settings = parse_yaml(run.configs.get(name, ""), name) or {}
    teaches = stage in _TEACHERS
    base = str(settings.get("model_name_or_path") or ("unknown" if teaches else ""))
    claims, num_tasks = _claims(run, stage)
    pretrained = any(one.name == "pretrain" for one in run.stages)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["code"] = _code
    return environment.get_template("card.md.jinja").render(
        title=f"{folder.resolve().name}: a teacher made by {stage}" if teaches else model.name,
        teaches=teaches,
        what=_WHAT[stage],
        stage=stage,
        version=run.atlas_version,
        started=run.started_at,
        base=base,
        hub_id=base if _HUB_ID.fullmatch(base) and not Path(base).exists() else "",
        licence=licence_of(base),
        is_adapter=(model / "adapter_config.json").is_file(),
        student=settings.get("student_model") or settings.get("student") or base,
        claims=claims,
        proof_header=proof_header(run.proof, pretrained=pretrained),
        proof_rows=proof_rows(run.proof) if run.proof else [],
        num_prompts=run.proof.get("validation_prompts", 0),
        num_tasks=num_tasks,
        origin=_origin(settings, folder),
    )


def licence_of(model: str) -> str:
    """Return the licence that a model's own card says; "" where nothing here says one.

    Example:
        >>> licence_of("base")
        'mit'
    """
    if model in _LICENCES and not Path(model).is_dir():
        return _LICENCES[model]
    card = Path(model_path(model)) / CARD
    try:
        front = _FRONT.match(card.read_text(encoding="utf-8"))
        said = parse_yaml(front[1], str(card)).get("license") if front else None
    except (OSError, UnicodeDecodeError, AtlasError):
        return ""
    return said if isinstance(said, str) and re.fullmatch(r"[\w.+-]{1,60}", said) else ""


def _claims(run: RunFiles, stage: str) -> tuple[list[tuple[str, str]], int]:
    table = run.claims
    if table is None:
        return [], 0
    arms = list(table.arms)
    arm = stage if stage in arms else arms[0] if len(arms) == 1 and run.kind == stage else None
    rows = table.arms[arm] if arm else ()
    return [(claim.label, claim_text(claim)) for claim in rows], table.num_tasks


def _origin(settings: Mapping[str, Any], folder: Path) -> list[tuple[str, object]]:
    """Return what it was trained on and how."""
    rows: list[tuple[str, object]] = []
    try:
        lineage = read_lineage(folder)
    except AtlasError:
        pass
    else:
        rows = [
            ("Sessions", lineage.source),
            ("Trained on, sessions", len(lineage.train)),
            ("Held out, sessions", len(lineage.eval)),
            ("Chosen by", dict(lineage.filters) or "nothing: all"),
        ]
        rows += [("Left out", dict(lineage.left_out))] if lineage.left_out else []
    return rows + [(key, settings[key]) for key in _KEPT if settings.get(key) is not None]


def _code(value: object) -> str:
    """Return a value as code in a table's cell: nothing in it is markup."""
    text = " ".join(printable(str(value)).split()).replace("`", "'").replace("|", "\\|")
    return f"`{text}`"
