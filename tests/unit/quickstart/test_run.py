"""What happens around the stages: links to results, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.config.quickstart import QuickstartConfig
from atlas.errors import AtlasError
from atlas.quickstart.run import PUBLISHED, prepare
from atlas.run.links import publish


def config_in(folder: Path, **changed: object) -> QuickstartConfig:
    """A configuration whose every path lies in the folder."""
    paths = {"output_dir": str(folder / "run"), "results_dir": str(folder / "results")}
    return QuickstartConfig(**(paths | changed))  # pyright: ignore[reportArgumentType]


def test_results_are_links_that_survive_a_move_of_the_whole_folder(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for target in PUBLISHED.values():
        path = home / "run" / target
        path.mkdir(parents=True, exist_ok=True)
    publish(home / "run", home / "results", PUBLISHED)
    publish(home / "run", home / "results", PUBLISHED)
    moved = home.rename(tmp_path / "moved")
    for name, target in PUBLISHED.items():
        assert (moved / "results" / name).resolve() == (moved / "run" / target).resolve()


def test_a_folder_of_the_user_s_is_never_replaced(tmp_path: Path) -> None:
    theirs = tmp_path / "results" / "rl_checkpoint"
    theirs.mkdir(parents=True)
    with pytest.raises(AtlasError, match=r"rl_checkpoint is there and isn't a link"):
        prepare(config_in(tmp_path), fresh=False)
    assert not (tmp_path / "run").exists()


def test_an_unknown_family_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="did you mean 'leg_counting'"):
        prepare(config_in(tmp_path, families=("leg_countin",)), fresh=False)
    assert not list(tmp_path.iterdir())


def test_a_run_goes_on_only_with_its_own_settings(tmp_path: Path) -> None:
    prepare(config_in(tmp_path, seed=2), fresh=False)
    run = prepare(config_in(tmp_path), fresh=False)  # nothing was done with the first ones
    run.finish_stage("collect", {}, 1.0)
    prepare(config_in(tmp_path), fresh=False)
    with pytest.raises(AtlasError, match=r"other settings \(eval_tasks was .*; seed was "):
        prepare(config_in(tmp_path, seed=1, eval_tasks=500), fresh=False)
    prepare(config_in(tmp_path, seed=1, eval_tasks=500), fresh=True)
