from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from atlas.config import (
    JOBS,
    GRPOConfig,
    QuickstartConfig,
    SFTConfig,
    compose_config,
    load_config,
    to_yaml,
)
from atlas.config.grammar.compose import job_of
from atlas.config.grammar.overrides import GROUPS
from atlas.config.grammar.targets import source_name
from atlas.config.parts.data import DataConfig
from atlas.errors import AtlasError

CONFIGS = Path(__file__).resolve().parents[4] / "configs"
RUNS = sorted(CONFIGS.glob("run/*.yaml"))
CHOICES = sorted(file for group in GROUPS for file in CONFIGS.glob(f"{group}/*.yaml"))
REQUIRED = {
    "sft": ["model_name_or_path=m"],
    "grpo": ["model_name_or_path=m", "student_model=s"],
    "quickstart": [],
    "base_model": [],
    "collect": [],
    "evaluate": ["teachers=[t]"],
    "ranked": [],
}

GUIDE_SFT = """\
defaults:
  - _self_
  - override /model: llama3_8b
  - override /data: {data}
  - override /trainer: sft

learning_rate: 2e-5
num_train_epochs: 1
per_device_train_batch_size: 2
gradient_accumulation_steps: 8
warmup_ratio: 0.1
output_dir: checkpoints/sft
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with configs of its own, so that no test depends on what ships."""
    files = {
        "train.yaml": (CONFIGS / "train.yaml").read_text(),
        "model/llama3_8b.yaml": "model_name_or_path: llama\nlearning_rate: 1e-3\nseed: 5\n",
        "model/qwen3_8b.yaml": "model_name_or_path: qwen\n",
        "data/arc_atlas_sft.yaml": "db_url: postgresql://arc/d\n",
        "data/runtime_pg.yaml": "db_url: postgresql://pg/d\n",
        "trainer/sft.yaml": "job: sft\n",
        "trainer/grpo.yaml": "job: grpo\n",
        "run/teacher_sft.yaml": GUIDE_SFT.format(data="arc_atlas_sft"),
    }
    for name, content in files.items():
        path = tmp_path / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_something_ships() -> None:
    assert {file.stem for file in RUNS} >= {
        "quickstart",
        "base_model",
        "teacher_sft",
        "teacher_rcl",
    }
    assert CHOICES


@pytest.mark.parametrize("file", RUNS, ids=lambda file: file.stem)
def test_every_shipped_run_composes_for_the_job_it_names(file: Path) -> None:
    job = file_job(file)
    assert load_config(JOBS[job], file).job == job
    for other in JOBS.keys() - {job}:
        with pytest.raises(AtlasError):
            load_config(JOBS[other], file)


def file_job(file: Path) -> str:
    """The job that a shipped run is meant for, by its name."""
    named = {"teacher_sft": "sft", "teacher_rcl": "grpo", "quickstart_real": "quickstart"}
    return named.get(file.stem, file.stem)


@pytest.mark.parametrize("file", CHOICES, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_shipped_choice_composes_with_a_training_job(file: Path) -> None:
    composed = 0
    for job in ("sft", "grpo"):
        if file.parent.name == "trainer" and file.stem != job:
            continue
        if file.parent.name == "reward" and job != "grpo":
            continue
        words = [f"{file.parent.relative_to(CONFIGS)}={file.stem}"]
        config = load_config(JOBS[job], CONFIGS / "run" / f"{RUN_OF[job]}.yaml", words)
        shipped = yaml.safe_load(file.read_text())
        nested = shipped.pop("make_dataset_fn", {})
        if nested:
            assert isinstance(config, DataConfig)
            assert config.data_source == source_name(nested.pop("_target_"))
        reward = shipped.pop("teacher_reward", {})
        if reward:
            shipped["rim_config"] = reward["config_path"]
        # The run's own YAML may set a key that the choice sets too; it wins.
        own = yaml.safe_load((CONFIGS / "run" / f"{RUN_OF[job]}.yaml").read_text())
        for name, value in {**shipped, **nested}.items():
            assert getattr(config, name) == own.get(name, value)
        composed += 1
    assert composed


RUN_OF = {"sft": "teacher_sft", "grpo": "teacher_rcl"}


def test_the_guides_yaml_word_for_word(project: Path) -> None:
    config = load_config(
        SFTConfig, "configs/run/teacher_sft.yaml", ["output_dir=checkpoints/other"]
    )
    assert (config.model_name_or_path, config.db_url) == ("llama", "postgresql://arc/d")
    assert (config.learning_rate, config.gradient_accumulation_steps) == (2e-5, 8)
    assert config.output_dir == "checkpoints/other"


@pytest.mark.parametrize(
    "entry", ["override /data@_global_", "override data", "/data@_global_", "/data"]
)
def test_other_spellings_in_a_defaults_list(project: Path, entry: str) -> None:
    text = GUIDE_SFT.replace("override /data", entry).format(data="runtime_pg")
    (project / "mine.yaml").write_text(text)
    assert load_config(SFTConfig, "mine.yaml").db_url == "postgresql://pg/d"


def test_later_beats_earlier(project: Path) -> None:
    composed = compose_config(SFTConfig, "teacher_sft", ["warmup_ratio=0.5"])
    origins = composed.origins
    assert composed.config.weight_decay == 0.01
    assert "weight_decay" not in origins
    assert (composed.config.seed, origins["seed"]) == (5, "configs/model/llama3_8b.yaml")
    assert composed.config.learning_rate == 2e-5
    assert origins["learning_rate"] == "configs/run/teacher_sft.yaml"
    assert (composed.config.warmup_ratio, origins["warmup_ratio"]) == (0.5, "the command line")


def test_a_choice_on_the_command_line_beats_the_file(project: Path) -> None:
    words = ["model=qwen3_8b", "+override /data@_global_: runtime_pg"]
    composed = compose_config(SFTConfig, "teacher_sft", words)
    assert composed.config.model_name_or_path == "qwen"
    assert composed.config.db_url == "postgresql://pg/d"
    assert composed.config.seed == 0
    assert "seed" not in composed.origins


def test_any_character_reaches_a_text_key(project: Path) -> None:
    url = "postgresql://a:p,w(!&)'\"[{$@h:1/x?sslmode=require"
    config = load_config(SFTConfig, "teacher_sft", [f"db_url={url}", "output_dir=my runs/é"])
    assert (config.db_url, config.output_dir) == (url, "my runs/é")


@pytest.mark.parametrize("value", ["[succeeded,failed]", "succeeded,failed", "[succeeded, failed]"])
def test_lists_on_the_command_line(project: Path, value: str) -> None:
    config = load_config(SFTConfig, "teacher_sft", [f"status_filters={value}"])
    assert config.status_filters == ("succeeded", "failed")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "learnig_rate: 1",
            r"unknown key 'learnig_rate' in bad.yaml; did you mean 'learning_rate'\?",
        ),
        ("learning_rate: -1", "learning_rate must be a number above 0, but bad.yaml says -1"),
        ("learning_rate: [1]", "learning_rate must be a number"),
        ("trainer: {seed: 1}", "unknown key 'trainer' in bad.yaml"),
        ("hydra: {job: 1}", "unknown key 'hydra' in bad.yaml"),
        ("seed: 1\nseed: 2", "bad.yaml can't be read as YAML: .*duplicate key seed"),
        ("a: [1", "bad.yaml can't be read as YAML"),
        ("- a", "bad.yaml must hold keys and values"),
        ("defaults: 3", "defaults in bad.yaml must be a list"),
        ("seed: ${other}", "the configuration doesn't compose: .*other"),
        ("job: grpo", "bad.yaml is for the job grpo, but this is sft"),
        ("seed: 1", "sft needs model_name_or_path; give model_name_or_path=…"),
        (
            "defaults: [{override /model: llama_8b}]",
            "model=llama_8b: configs/model/llama_8b.yaml isn't there; did you mean 'llama3_8b'",
        ),
        ("defaults: [nowhere]", "the configuration doesn't compose: .*nowhere"),
    ],
)
def test_bad_yaml_is_one_line_that_names_file_and_key(
    project: Path, text: str, message: str
) -> None:
    (project / "bad.yaml").write_text(text)
    with pytest.raises(AtlasError, match=message) as caught:
        load_config(SFTConfig, "bad.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("defaults: {model: nano}", "defaults in bad.yaml must be a list"),
        ("defaults: [5]", "compose: 5 in defaults of bad.yaml isn't understood"),
        ("defaults: [null]", "compose: null in defaults of bad.yaml isn't understood"),
        ("defaults: [[[_self_]]]", "in defaults of bad.yaml isn't understood"),
        ("defaults: [{override /model: [a, b]}]", "in defaults of bad.yaml isn't understood"),
        ("defaults: [{override /model: {a: b}}]", "in defaults of bad.yaml isn't understood"),
        ("defaults: [{/model: a, /data: b}]", "in defaults of bad.yaml isn't understood"),
        ("defaults: [{override /optimizer: adam}]", "in defaults of bad.yaml isn't understood"),
        ("defaults: [{/model: ../run/teacher_sft}]", r"model=\.\./run/teacher_sft: .* isn't there"),
        ("defaults: [{/model: /etc/passwd}]", r"model=/etc/passwd: .* isn't there"),
        (f"defaults: [{{/model: {'x' * 300}}}]", "isn't there"),
    ],
)
def test_odd_defaults_are_one_line(project: Path, text: str, message: str) -> None:
    (project / "bad.yaml").write_text(text)
    with pytest.raises(AtlasError, match=message) as caught:
        load_config(SFTConfig, "bad.yaml")
    assert "\n" not in str(caught.value)


def test_the_root_is_the_first_of_the_files(project: Path) -> None:
    root = project / "configs" / "train.yaml"
    root.write_text("defaults: [{model@_global_: llama3_8b}]\nseed: 1\nsave_steps: 4\n")
    (project / "mine.yaml").write_text("output_dir: o\n")
    composed = compose_config(SFTConfig, "mine.yaml")
    assert (composed.config.model_name_or_path, composed.config.seed) == ("llama", 5)
    assert (composed.config.save_steps, composed.origins["save_steps"]) == (4, "configs/train.yaml")
    (project / "mine.yaml").write_text("defaults: [{override /model: null}]\nmodel_name_or_path: m")
    assert load_config(SFTConfig, "mine.yaml").seed == 1


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("run_name: ${tracker_project}\ntracker_project: a", "run_name", "a"),
        ("save_steps: ${ seed }\nseed: 7", "save_steps", 7),
        ("run_name: a-${seed}-${limit}\nseed: 7\nlimit: 8", "run_name", "a-7-8"),
        ("status_filters: ['${run_name}', b]\nrun_name: a", "status_filters", ("a", "b")),
        ("db_url: postgresql://h/${run_name}\nrun_name: a", "db_url", "postgresql://h/a"),
    ],
)
def test_a_value_may_name_another_key(project: Path, text: str, name: str, value: object) -> None:
    (project / "mine.yaml").write_text(f"{text}\nmodel_name_or_path: m")
    assert getattr(load_config(SFTConfig, "mine.yaml"), name) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run_name: ${oc.env:ATLAS_PLANTED}", "reads the environment"),
        ("run_name: ${oc.decode:${oc.env:ATLAS_PLANTED}}", "reads the environment"),
        ("run_name: ${env:ATLAS_PLANTED}", "reads the environment"),
        ("run_name: '${oc.env:ATLAS_PLANTED,x}-${seed}'\nseed: 1", "reads the environment"),
        ("status_filters: ['${oc.env:ATLAS_PLANTED}']", "reads the environment"),
        ("make_dataset_fn: {export_path: '${oc.env:ATLAS_PLANTED}'}", "reads the environment"),
        ("run_name: ${", "only ..key. is understood"),
        ("run_name: ${a b}", "only ..key. is understood"),
        ("run_name: ${run_name}", "of a key whose own value is written out"),
        (
            "run_name: ${tracker_project}\ntracker_project: ${run_name}",
            "whose own value is written",
        ),
        ("run_name: ${seed}", "nothing sets seed"),
        (f"run_name: {'${limit}' * 200}\nlimit: 3", "only ..key. is understood"),
        ("run_name: ${db_url}\ndb_url: postgresql://a:b@h/d", "db_url may hold a password"),
    ],
)
def test_nothing_else_in_braces_is_understood(
    project: Path, text: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATLAS_PLANTED", "planted")
    (project / "bad.yaml").write_text(f"{text}\nmodel_name_or_path: m")
    with pytest.raises(AtlasError, match=f"in bad.yaml holds .*{message}") as caught:
        load_config(SFTConfig, "bad.yaml")
    assert "planted" not in str(caught.value)


def test_nor_on_the_command_line(project: Path) -> None:
    with pytest.raises(AtlasError, match=r"run_name in the command line holds .*environment"):
        load_config(SFTConfig, "teacher_sft", ["run_name=${oc.env:HOME}"])


def test_a_missing_file_names_the_nearest() -> None:
    with pytest.raises(AtlasError, match="teacher_rlc isn't there; did you mean 'teacher_rcl'"):
        load_config(GRPOConfig, "teacher_rlc")
    with pytest.raises(AtlasError, match=r"config file elsewhere/quickstart.yaml isn't there"):
        load_config(QuickstartConfig, "elsewhere/quickstart.yaml")


def test_a_missing_choice_on_the_command_line_names_the_nearest(project: Path) -> None:
    with pytest.raises(AtlasError, match=r"data=runtme_pg: .*; did you mean 'runtime_pg'"):
        load_config(SFTConfig, "teacher_sft", ["data=runtme_pg"])


@pytest.mark.parametrize("job", JOBS)
def test_defaults_alone_need_no_file(
    job: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(JOBS[job], None, [*REQUIRED[job], "seed=7"])
    assert config.seed == 7


@pytest.mark.parametrize("job", JOBS)
def test_a_saved_configuration_is_read_again_as_it_was(job: str, tmp_path: Path) -> None:
    config = load_config(JOBS[job], None, [*REQUIRED[job], "seed=7"])
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert load_config(JOBS[job], tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    "words", [["teacher_stf"], ["teacher_sft", "data=runtme_pg"], ["teacher_sft", "sed=1"]]
)
def test_a_refusal_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\nfrom atlas.config import *\nfrom atlas.errors import AtlasError\n"
        f"try: load_config(SFTConfig, {words[0]!r}, {words[1:]!r})\n"
        "except AtlasError: print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CONFIGS.parent, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    heavy = {"torch", "transformers", "numpy", "hydra", "omegaconf", "datasets", "openai", "rich"}
    assert "yaml" in loaded
    assert loaded & {*heavy, "reasoning_gym", "sympy", "psycopg", "huggingface_hub"} == set()


def test_an_entry_on_the_command_line_is_added_to_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("chat_template_kwargs: {enable_thinking: true, a: 1}")
    words = ["model_name_or_path=m", "chat_template_kwargs.enable_thinking=false"]
    found = load_config(SFTConfig, file, words).chat_template_kwargs
    assert found == {"a": 1, "enable_thinking": False}
    with pytest.raises(AtlasError, match=r"command line says \{'a': None\}"):
        load_config(SFTConfig, None, ["model_name_or_path=m", "chat_template_kwargs.a="])


def test_the_job_of_a_file(project: Path) -> None:
    run = project / "configs" / "run" / "own.yaml"
    run.write_text("defaults:\n  - _self_\n  - override /trainer: sft\n")
    assert job_of(CONFIGS / "run" / "teacher_sft.yaml") == "sft"
    assert job_of("configs/run/own.yaml") == "sft"
    assert job_of("configs/run/own.yaml", ["trainer=grpo", "beta=0.1"]) == "grpo"
    run.write_text("job: collect\n")
    assert job_of("own") == "collect"
    run.write_text("seed: 1\n")
    with pytest.raises(AtlasError, match=r"own\.yaml doesn't say which job it is for"):
        job_of("own")


def test_a_key_may_be_named_as_a_folder_of_configs(project: Path) -> None:
    (project / "configs" / "deepspeed").mkdir()
    words = ["model_name_or_path=m", "output_dir=o"]
    for said in ("deepspeed=configs/deepspeed/a.json", "+deepspeed=configs/deepspeed/a.json"):
        config = load_config(SFTConfig, None, [*words, said])
        assert config.deepspeed == "configs/deepspeed/a.json"
    assert load_config(SFTConfig, None, [*words, "deepspeed=null"]).deepspeed is None
