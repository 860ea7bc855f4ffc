from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atlas.config.parts.engine import EngineConfig, chosen_engine, read_deepspeed_file
from atlas.errors import AtlasError

ZERO2 = "configs/deepspeed/zero2.json"


def config(**keys: Any) -> EngineConfig:
    return EngineConfig(**keys)


@pytest.mark.parametrize(
    ("keys", "num_processes", "engine"),
    [
        ({}, 1, "plain"),
        ({}, 2, "ddp"),
        ({"offload": True}, 1, "fsdp"),
        ({"offload": True}, 2, "fsdp"),
        ({"deepspeed": ZERO2}, 2, "deepspeed"),
        ({"deepspeed": ZERO2, "offload": True}, 1, "deepspeed"),
        ({"engine": "ddp"}, 1, "ddp"),
        ({"engine": "fsdp"}, 4, "fsdp"),
    ],
)
def test_what_auto_means(keys: dict[str, Any], num_processes: int, engine: str) -> None:
    assert chosen_engine(config(**keys), num_processes) == engine


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"engine": "fsdp", "deepspeed": ZERO2}, "engine=fsdp and deepspeed=.* contradict"),
        ({"engine": "ddp", "offload": True}, "engine=ddp and offload=true contradict"),
        ({"engine": "deepspeed"}, "engine=deepspeed needs DeepSpeed's file"),
        ({"engine": "plain"}, "engine=plain is for one process, but there are 2"),
    ],
)
def test_keys_that_contradict_each_other_are_named(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(AtlasError, match=message):
        chosen_engine(config(**keys), 2)


def test_a_file_of_deepspeed_must_be_json(tmp_path: Path) -> None:
    path = tmp_path / "zero.json"
    with pytest.raises(AtlasError, match="can't be read: No such file"):
        read_deepspeed_file(str(path))
    path.write_text('// a comment, as the guide has one\n{"fp16": {}}')
    with pytest.raises(AtlasError, match=r"as JSON: .*comments are not allowed"):
        read_deepspeed_file(str(path))
    path.write_text("[]")
    with pytest.raises(AtlasError, match="expected an object, found a list"):
        read_deepspeed_file(str(path))


def test_the_guide_s_file_is_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_deepspeed_file(ZERO2)["zero_optimization"]["stage"] == 2
    Path(ZERO2).parent.mkdir(parents=True)
    Path(ZERO2).write_text('{"zero_optimization": {"stage": 1}}')
    assert read_deepspeed_file(ZERO2)["zero_optimization"]["stage"] == 1
