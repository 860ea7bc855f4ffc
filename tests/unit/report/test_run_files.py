import json

import pytest

from atlas.errors import AtlasError
from atlas.report.run_files import read_run


def test_a_whole_run_is_read(fake_run):
    run = read_run(fake_run)

    assert run.kind == "quickstart"
    assert [stage.name for stage in run.stages] == ["collect", "sft", "grpo", "evaluate"]
    assert run.stages[3].summary["arms.grpo"] == "60"
    assert run.stages[0].finished_at == "2025-11-22 00:49 UTC"
    assert (run.started_at, run.atlas_version) == ("2025-11-22 00:48 UTC", "0.1.0")
    assert len(run.curves["grpo"]["train/reward"]) == 150
    assert run.claims is not None
    assert run.claims.num_tasks == 60
    assert len(run.pairs) == 120
    assert run.problems == ()


def test_an_empty_directory_is_a_run_of_which_nothing_is_there(tmp_path):
    run = read_run(tmp_path)

    assert (run.stages, run.configs, run.curves, run.claims, run.pairs) == ((), {}, {}, None, ())
    assert run.problems == ()


def test_files_that_cannot_be_read_are_named_and_the_rest_is_kept(fake_run):
    (fake_run / "eval" / "claims.json").write_text("{")
    (fake_run / "eval" / "pairs.jsonl").write_text("[]\n")
    (fake_run / "stages" / "sft.json").write_text("torn")
    (fake_run / "config.yaml").write_bytes(b"\xff\xfe")

    run = read_run(fake_run)

    assert run.claims is None
    assert run.pairs == ()
    assert [stage.name for stage in run.stages] == ["collect", "grpo", "evaluate"]
    for name in ("claims.json", "pairs.jsonl:1", "sft.json", "config.yaml"):
        assert any(name in problem for problem in run.problems)
    assert len(run.problems) == 4


def test_a_step_logged_again_after_a_resume_counts_once_as_it_was_last(tmp_path):
    rows = [(1, 0.1), (2, 0.2), (3, 0.9), (2, 0.25), (3, 0.3)]
    lines = [json.dumps({"step": step, "train/reward": value}) for step, value in rows]
    (tmp_path / "grpo").mkdir()
    (tmp_path / "grpo" / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 4, "tra')

    run = read_run(tmp_path)

    assert run.curves["grpo"]["train/reward"] == ((1.0, 0.1), (2.0, 0.25), (3.0, 0.3))
    assert "1 line(s)" in run.problems[0]


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (1_763_772_564.2, "2025-11-22 00:49 UTC"),
        ("2025-11-22T01:49:24+01:00", "2025-11-22 00:49 UTC"),
        ("yesterday", "yesterday"),
        (None, ""),
    ],
)
def test_a_time_is_shown_in_utc_or_as_it_is(tmp_path, written, shown):
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "sft.json").write_text(json.dumps({"finished_at": written, "a": 1}))

    assert read_run(tmp_path).stages[0].finished_at == shown


def test_values_that_are_not_finite_are_left_out(tmp_path):
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "metrics.jsonl").write_text(
        '{"step": 1, "train/loss": NaN}\n{"step": 3, "train/loss": null}\n'
        '{"step": 2, "train/loss": 1.5, "stage": "sft"}\n'
    )

    assert read_run(tmp_path).curves["sft"] == {"train/loss": ((2.0, 1.5),)}


def test_a_run_of_one_stage_keeps_its_metrics_at_its_root(tmp_path):
    (tmp_path / "run.json").write_text('{"layout_version": 1, "kind": "grpo"}')
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "train/reward": 0.5}\n')

    assert read_run(tmp_path).curves["grpo"]["train/reward"] == ((1.0, 0.5),)


def test_a_run_from_scratch_has_a_curve_a_stage_and_what_it_was_worth(tmp_path):
    (tmp_path / "run.json").write_text('{"layout_version": 1, "kind": "ranked"}')
    (tmp_path / "config.yaml").write_text("goal_loss: 0.5\n")
    (tmp_path / "metrics.jsonl").write_text(
        '{"step": 1, "stage": "pretrain", "train/loss": 5.0}\n'
        '{"step": 1, "stage": "ranked", "train/loss": 0.7, "rim_rewards": 0.2}\n'
    )
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "evaluate.json").write_text(
        '{"stage": "evaluate", "summary": {"ranked_loss": 0.3}}'
    )

    run = read_run(tmp_path)

    assert run.curves["pretrain"] == {"train/loss": ((1.0, 5.0),)}
    assert run.curves["ranked"] == {"train/loss": ((1.0, 0.7),), "rim_rewards": ((1.0, 0.2),)}
    assert run.bounds["ranked"].goal_loss == 0.5
    assert run.proof == {"ranked_loss": 0.3}


def test_another_layout_and_a_missing_directory_are_refused(tmp_path):
    (tmp_path / "run.json").write_text('{"layout_version": 9}')

    with pytest.raises(AtlasError, match="layout version 9"):
        read_run(tmp_path)
    with pytest.raises(AtlasError, match="nowhere isn't there"):
        read_run(tmp_path / "nowhere")


def test_secrets_of_a_config_are_masked(tmp_path):
    text = "seed: 1\ndb_url: postgresql://me:p@5/5@host/db\n  judge_api_key: sk-1\nbeta: 2"
    (tmp_path / "config.yaml").write_text(text)

    shown = read_run(tmp_path).configs["config.yaml"]

    assert shown == "seed: 1\ndb_url: postgresql://me:***@host/db\n  judge_api_key: ***\nbeta: 2"
