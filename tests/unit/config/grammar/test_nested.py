"""``make_dataset_fn`` as the guide writes it, against flat keys and overrides."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest
import yaml

from atlas.config import (
    GRPOConfig,
    QuickstartConfig,
    SFTConfig,
    compose_config,
    load_config,
    to_yaml,
)
from atlas.config.grammar.nested import TARGETS, parse_teacher_reward
from atlas.config.rim import load_rim_config
from atlas.errors import AtlasError

CONFIGS = Path(__file__).resolve().parents[4] / "configs"
TRACES = "custom_data.runtime_trace_data.get_runtime_trace_dataset"
GUIDE = f"""\
make_dataset_fn:
  _target_: {TRACES}
  export_path: traces/aime-batch.jsonl  # Or use direct database access
  eval_split_ratio: 0.1
"""
PG = """\
make_dataset_fn:
  _target_: custom_data.runtime_pg_data.get_runtime_pg_dataset
  db_url: postgresql://atlas:secret@localhost:5433/atlas
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with configs of its own."""
    files = {
        "train.yaml": (CONFIGS / "train.yaml").read_text(),
        "data/runtime_traces.yaml": GUIDE,
        "data/runtime_pg.yaml": PG,
        "run/mine.yaml": "defaults:\n  - _self_\n  - override /data: runtime_traces\n\n"
        "model_name_or_path: m\n",
    }
    for name, content in files.items():
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(*words: str) -> SFTConfig:
    return load_config(SFTConfig, "mine", words)


def run_file(project: Path, text: str) -> None:
    """Add to the run's own YAML."""
    with (project / "configs/run/mine.yaml").open("a") as file:
        file.write(text)


def test_the_shipped_preset_is_the_guide_s_to_the_letter() -> None:
    assert (CONFIGS / "data/runtime_traces.yaml").read_text() == GUIDE


def test_the_guide_s_file_sets_flat_keys(project: Path) -> None:
    composed = compose_config(SFTConfig, "mine")
    config = composed.config
    assert config.data_source == "runtime_traces"
    assert (config.export_path, config.eval_split_ratio) == ("traces/aime-batch.jsonl", 0.1)
    assert composed.origins["export_path"] == "configs/data/runtime_traces.yaml"
    saved = yaml.safe_load(to_yaml(config))
    assert "make_dataset_fn" not in saved
    assert (saved["data_source"], saved["export_path"]) == ("runtime_traces", config.export_path)


@pytest.mark.parametrize(
    "word",
    [
        "export_path=a.jsonl",
        "+export_path=a.jsonl",
        "make_dataset_fn.export_path=a.jsonl",
        "++make_dataset_fn.export_path=a.jsonl",
        "data.export_path=a.jsonl",
    ],
)
def test_all_spellings_on_the_command_line(project: Path, word: str) -> None:
    assert load(word).export_path == "a.jsonl"


@pytest.mark.parametrize(
    "words",
    [
        ["data=runtime_pg", "db_url=postgresql://b@h/d"],
        ["+data=runtime_pg", "db_url=postgresql://b@h/d"],
        ["+override /data@_global_: runtime_pg", "db_url=postgresql://b@h/d"],
        ["+override", "/data@_global_:", "runtime_pg", "db_url=postgresql://b@h/d"],
        ["data=runtime_pg", "make_dataset_fn.db_url=postgresql://b@h/d"],
    ],
)
def test_the_database_twin(project: Path, words: list[str]) -> None:
    config = load(*words)
    assert (config.data_source, config.db_url) == ("runtime_pg", "postgresql://b@h/d")
    assert config.export_path is None


def test_the_target_can_be_named_on_the_command_line(project: Path) -> None:
    run_file(project, "export_path: a.jsonl\n")
    assert load(f"make_dataset_fn._target_={TRACES}").data_source == "runtime_traces"
    with pytest.raises(AtlasError, match=r"'os\.system' is no data source"):
        load("make_dataset_fn._target_=os.system")


def test_a_later_file_wins_in_either_form(project: Path) -> None:
    run_file(project, "export_path: later.jsonl\n")
    assert load().export_path == "later.jsonl"
    run_file(project, "make_dataset_fn: {eval_split_ratio: 0.3}\n")
    assert (load().export_path, load().eval_split_ratio) == ("later.jsonl", 0.3)
    (project / "configs/data/runtime_traces.yaml").write_text("export_path: a\nlimit: 3\n")
    run_file(project, "limit: 4\n")
    assert load().limit == 4


def test_one_file_must_not_contradict_itself(project: Path) -> None:
    run_file(project, "make_dataset_fn: {limit: 3, export_path: '${dataset_path}'}\n")
    run_file(project, "dataset_path: a.jsonl\nlimit: 3\n")
    assert (load().limit, load().export_path) == (3, "a.jsonl")
    text = (project / "configs/run/mine.yaml").read_text().replace("\nlimit: 3", "\nlimit: 4")
    (project / "configs/run/mine.yaml").write_text(text)
    with pytest.raises(AtlasError, match=r"mine.yaml gives limit in make_dataset_fn and outside"):
        load()
    assert load("limit=5").limit == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "make_dataset_fn: {exprt_path: a}",
            "unknown argument 'exprt_path' of make_dataset_fn in configs/run/mine.yaml; did you "
            "mean 'export_path'",
        ),
        ("make_dataset_fn: {_partial_: true}", "unknown argument '_partial_'"),
        ("make_dataset_fn: {allow_targets: [a.b]}", "unknown argument 'allow_targets'"),
        ("make_dataset_fn: [1]", "make_dataset_fn in configs/run/mine.yaml must hold _target_"),
        ("make_dataset_fn: {limit: 0}", "limit must be an integer of at least 1.*mine.yaml"),
        ("make_dataset_fn: {_target_: 3}", "data_source must be text"),
    ],
)
def test_a_mistake_names_file_and_argument(project: Path, text: str, message: str) -> None:
    run_file(project, f"{text}\n")
    with pytest.raises(AtlasError, match=message):
        load()


@pytest.mark.parametrize("text", ["make_dataset_fn: {{_target_: {}}}", "data_source: {}"])
@pytest.mark.parametrize("target", ["os.system", "evil_module.run", "builtins.exec"])
def test_a_malicious_target_is_refused_before_anything_is_imported(
    project: Path, text: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(project))
    (project / "evil_module.py").write_text("raise SystemExit('imported')\n")
    run_file(project, text.format(target) + "\n")
    with pytest.raises(AtlasError, match=f"'{target}' is no data source"):
        load()
    assert "evil_module" not in sys.modules


def test_a_file_must_not_allow_itself_to_run_code(project: Path) -> None:
    run_file(
        project, "allow_targets: [my.fn]\nmake_dataset_fn: {_target_: my.fn, export_path: null}\n"
    )
    with pytest.raises(AtlasError, match=r"mine\.yaml sets allow_targets, which counts on the"):
        load()
    config = load("allow_targets=[my.fn]")
    assert (config.data_source, config.allow_targets) == ("my.fn", ("my.fn",))


def test_a_job_without_data_has_no_such_key(project: Path) -> None:
    with pytest.raises(AtlasError, match="unknown key 'make_dataset_fn' in"):
        load_config(QuickstartConfig, "mine")


def test_the_guide_s_reward_block_names_the_judges_file() -> None:
    plain = load_config(GRPOConfig, "teacher_rcl")
    chosen = load_config(GRPOConfig, "teacher_rcl", ["trainer/reward=rim_teaching"])
    assert plain.rim_config is None
    assert chosen.rim_config == "configs/rim_offline_config.yaml"
    words = ["trainer/reward=rim_teaching", "teacher_reward.config_path=mine.yaml"]
    assert load_config(GRPOConfig, "teacher_rcl", words).rim_config == "mine.yaml"


def test_a_reward_block_that_names_other_code_is_refused(project: Path) -> None:
    block = "teacher_reward:\n  _target_: os.system\n  config_path: x\n"
    (project / "configs/run/mine.yaml").write_text(f"job: grpo\n{block}")
    with pytest.raises(
        AtlasError, match=r"_target_ of teacher_reward in .*mine\.yaml is no reward"
    ):
        load_config(GRPOConfig, "mine")


def test_a_job_without_rewards_has_no_reward_block(project: Path) -> None:
    (project / "configs/run/mine.yaml").write_text("teacher_reward:\n  config_path: x\n")
    with pytest.raises(AtlasError, match="unknown key 'teacher_reward'"):
        load("model_name_or_path=m")


SHIPPED = (
    Path(__file__).resolve().parents[4] / "configs" / "trainer" / "reward" / "rim_teaching.yaml"
)


def test_the_guides_block_means_the_judges_with_the_offline_file() -> None:
    block = yaml.safe_load(SHIPPED.read_text())["teacher_reward"]
    assert block["_target_"] == "RIM.reward_adapter.RIMReward"
    assert TARGETS[block["_target_"]] == "atlas.rewards.judges.rim.RIMReward"
    judges = load_rim_config(parse_teacher_reward(block)["rim_config"])
    assert judges.active == ("helpfulness", "process")


def test_what_a_name_means_is_there() -> None:
    for target in TARGETS.values():
        module, _, name = target.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"_target_": "RIM.reward_adaptor.RIMReward"}, "did you mean 'RIM.reward_adapter.RIMRewa"),
        ({"_target_": "os.system"}, "_target_ of teacher_reward is no reward: 'os.system'"),
        ({"_target_": "os.system", "command": "ls"}, "unknown key 'command'"),
        ({"config_pth": "x"}, "unknown key 'config_pth' in teacher_reward; did you mean"),
        ("RIM", "must hold _target_ and config_path"),
    ],
)
def test_anything_else_is_refused(content: object, says: str) -> None:
    with pytest.raises(AtlasError, match=says):
        parse_teacher_reward(content)


def test_a_key_s_other_name_beats_the_preset_and_is_beaten_by_the_command_line(
    project: Path,
) -> None:
    config = load_config(SFTConfig, "mine", ["dataset_path=other.jsonl"])
    assert (config.export_path, config.dataset_path) == (None, "other.jsonl")
    run_file(project, "dataset_path: a.jsonl\n")
    assert load_config(SFTConfig, "mine").export_path is None
    config = load_config(SFTConfig, "mine", ["export_path=b.jsonl"])
    assert (config.export_path, config.dataset_path) == ("b.jsonl", None)
