from __future__ import annotations

import json

from tests.unit.report.fake_run import make_fake_run

from atlas.report.differences import differences, parted, same_but_seed
from atlas.report.run_files import read_run


def _pair(tmp_path):
    folders = [make_fake_run(tmp_path / name, num_tasks=12) for name in ("a", "b")]
    for folder in folders:
        config = folder / "grpo" / "config.yaml"
        config.write_text(f"seed: 7\noutput_dir: runs/{folder.name}/grpo\n")
    return folders


def test_two_runs_that_are_the_same_differ_in_nothing(tmp_path):
    runs = [read_run(folder) for folder in _pair(tmp_path)]
    assert differences(runs) == ()
    assert same_but_seed(runs)
    assert parted(*runs) == {}


def test_settings_data_environment_and_curves_are_told_apart(tmp_path):
    first, second = _pair(tmp_path)
    config = second / "grpo" / "config.yaml"
    config.write_text(config.read_text().replace("seed: 7", "seed: 8"))
    assert same_but_seed([read_run(first), read_run(second)])
    config.write_text(config.read_text() + "beta: 0.1\n")
    run = json.loads((second / "run.json").read_text())
    (second / "run.json").write_text(json.dumps({**run, "environment": {"torch": "2.13"}}))
    (second / "inputs.json").write_text(json.dumps({"model_name_or_path": "f" * 64}))
    for folder, chain in ((first, "x"), (second, "y")):
        lines = [{"step": 1, "chain": "0"}, {"step": 2, "chain": chain, "train/kl": 1.0}]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "sft" / "metrics.jsonl").write_text(text)
    runs = [read_run(first), read_run(second)]
    found = {(one.section, one.name): one.cells for one in differences(runs)}
    assert found[("settings", "grpo seed")] == ("7", "8")
    assert found[("settings", "grpo beta")] == ("", "0.1")
    assert found[("environment", "torch")] == ("", "2.13")
    assert found[("data and models", "model_name_or_path")] == ("", "f" * 12)
    assert not same_but_seed(runs)
    assert parted(*runs) == {"sft": 2}
