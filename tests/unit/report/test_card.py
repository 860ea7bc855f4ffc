"""Model cards: what they say, and that they change nothing of the model."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from tests.unit.evaluation.outcomes import arm_of

from atlas.evaluation.claims import claims_table
from atlas.evaluation.claims_file import write_claims
from atlas.machine.shipped import SHIPPED
from atlas.report.card import licence_of, write_cards
from atlas.run.lineage import Lineage, write_lineage
from atlas.run.run_dir import RunDir


def trained(folder: Path, base: str = "base") -> RunDir:
    """Make what a finished training leaves, as far as a card reads it."""
    run = RunDir.create(folder, "grpo")
    run.final.mkdir()
    run.config.write_text(
        f"model_name_or_path: {base}\nstudent_model: small\nbeta: 0.04\nseed: 3\n"
    )
    write_lineage(
        run.path,
        Lineage(
            source="traces|`x`.jsonl",
            train=("1", "2"),
            eval=(),
            num_samples={"train": 2, "eval": 0},
        ),
    )
    return run


def test_a_card_says_where_the_model_comes_from_and_that_nothing_was_measured(
    tmp_path: Path,
) -> None:
    run = trained(tmp_path / "run")
    (card,) = write_cards(run.path)
    text = card.read_text()
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "mit"
    assert "base_model" not in front
    assert "Nothing was measured on held-out tasks yet" in text
    assert "| Sessions | `traces\\|'x'.jsonl` |" in text
    assert "| Trained on, sessions | `2` |" in text
    assert "| beta | `0.04` |" in text
    assert all(before == "" for before, line in _pairs(text) if line.startswith("## "))


def test_a_card_has_the_claims_with_intervals(tmp_path: Path) -> None:
    run = trained(tmp_path / "run")
    (run.path / "eval").mkdir()
    table = claims_table(arm_of("grpo", gained=50, lost=0, both=40, neither=10))
    write_claims(run.path / "eval" / "claims.json", table)
    (card,) = write_cards(run.path)
    text = card.read_text()
    assert "On 100 held-out tasks, with 95 % intervals; student: `small`." in text
    said = (
        "| Teaching efficiency: accuracy taught minus alone | +50.0 points (+40.0 to +60.0), met |"
    )
    assert said in text


def test_the_licence_goes_on_from_card_to_card(tmp_path: Path) -> None:
    first = trained(tmp_path / "first")
    (card,) = write_cards(first.path)
    assert licence_of(str(first.final)) == "mit"
    card.write_text("---\nlicense: apache-2.0\n---\n")
    (second,) = write_cards(trained(tmp_path / "second", str(first.final)).path)
    assert "| Licence of the base | apache-2.0 |" in second.read_text()


@pytest.mark.parametrize("front", ["license: [a]", "license: 'a b|c'", "a: [", "- x"])
def test_a_licence_that_is_none_is_not_said(tmp_path: Path, front: str) -> None:
    (tmp_path / "README.md").write_text(f"---\n{front}\n---\n")
    assert licence_of(str(tmp_path)) == ""


def test_stages_of_a_quickstart_have_a_card_each(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "quickstart")
    for stage in ("sft", "grpo"):
        (run.path / stage / "final").mkdir(parents=True)
        (run.path / stage / "config.yaml").write_text("model_name_or_path: me/teacher\n")
    cards = write_cards(run.path)
    assert [card.parent.parent.name for card in cards] == ["sft", "grpo"]
    assert "base_model: me/teacher\n" in cards[0].read_text()


def test_a_model_from_scratch_has_its_card_where_it_was_saved(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path / "run", "ranked")
    model = tmp_path / "models" / "atlas_nano"
    assert write_cards(run.path) == []
    run.config.write_text("model_name_or_path: null\nmodel_size: nano\n")
    figures = {"validation_prompts": 30, "random_loss": 5.5, "ranked_loss": 0.25}
    run.finish_stage("evaluate", figures, 1.0)
    run.finish_stage("save", {"folder": str(model)}, 1.0)
    assert write_cards(run.path) == []  # moved away
    model.mkdir(parents=True)
    (card,) = write_cards(run.path)
    text = card.read_text()
    assert card.parent == model
    assert "On 30 validation prompts" in text
    assert "| loss of the best response, nats a token | 5.5" in text
    assert "| Base | none: random weights |\n| model_size | `nano` |" in text
    assert "Licence of the base" not in text
    assert "`atlas ask FOLDER QUESTION`" in text
    assert all(before == "" for before, line in _pairs(text) if line.startswith("## "))


def test_the_shipped_base_has_a_card_that_says_its_licence() -> None:
    card = SHIPPED["base"] / "README.md"
    front = yaml.safe_load(card.read_text(encoding="utf-8").split("---\n")[1])
    assert front["license"] == licence_of("base")


def _pairs(text: str) -> list[tuple[str, str]]:
    lines = text.splitlines()
    return list(pairwise(lines))
