"""Files that are broken in every way, given to every command that reads them: one clear line each.

Every file that a user or a run may hand in is replaced by each of the breakages. The command must
end with exit code 2 and a single line that names the file, without a traceback, within seconds,
and with nothing left behind.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.integration.test_training_commands import GRPO, SFT, sessions
from tests.reliability.conftest import RANKED
from tests.reliability.forks import Forks

from atlas.machine.shipped import SHIPPED
from atlas.traces.jsonl import write_jsonl

LIMIT_S = 60
"""That a refusal may take on a busy machine, before it is killed."""
NOISE = random.Random(0).randbytes(4096)
CONTENTS: Mapping[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "null": lambda _: b"null",
    "a number": lambda _: b"5",
    "a text": lambda _: b'"text"',
    "a list of lists": lambda _: b"[[]]",
    "an open brace": lambda _: b"{",
    "cut in half": lambda content: content[: len(content) // 2].rstrip(b"\n}] "),
    "a NUL in it": lambda content: content[:9] + b"\0" + content[9:],
    "not UTF-8": lambda content: b"\xff" + content,
    "UTF-16": lambda content: content.decode("utf-8", "replace").encode("utf-16"),
    "noise": lambda _: NOISE,
    "a bomb of lists": lambda _: b"[" * 100_000,
    "a bomb of objects": lambda _: b'{"a":' * 100_000,
    "an integer of 10,000 digits": lambda _: b"9" * 10_000,
    "a constant that JSON has not": lambda _: b'{"a": NaN}',
    "half a surrogate pair": lambda _: b'{"\\ud800": 1}',
}
PLACES: Mapping[str, Callable[[Path], None]] = {
    "a folder": lambda path: path.mkdir(),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path),
}
NOT_BROKEN = {
    ("whole/manifest.json", "half a surrogate pair"),  # another program's file of that name
    ("run/metrics.jsonl", "a link to nothing"),  # it is written through, as other links are
    ("judges.yaml", "cut in half"),  # shorter, and whole
}
SFT_WORDS = ("sft", "teacher_sft", "data=runtime_traces", "export_path=traces.jsonl", *SFT)
MODEL = ("sft", "teacher_sft", "data=runtime_traces", "export_path=traces.jsonl", *SFT[1:])
OF_MODEL = (*MODEL, "model_name_or_path=model", "output_dir=new")
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "traces.jsonl": (*SFT_WORDS, "output_dir=new"),
    "tasks.jsonl": ("evaluate", "base", "tasks=tasks.jsonl", "output_dir=new"),
    "records.jsonl": ("prepare-data", "--source", "jsonl", "--path", "records.jsonl"),
    "train_config.json": ("ranked", "--config", "train_config.json"),
    "data/grpo_training.json": ("ranked", "--config", "train_config.json"),
    "data/validation.json": ("ranked", "--config", "train_config.json"),
    "own.yaml": ("sft", "own.yaml"),
    "judges.yaml": (
        *("grpo", "teacher_rcl", "data=runtime_traces", "export_path=traces.jsonl", *GRPO),
        *("rim_config=judges.yaml", "reward=hybrid", "output_dir=new"),
    ),
    "deepspeed.json": (*SFT_WORDS, "engine=deepspeed", "deepspeed=deepspeed.json"),
    "model/config.json": OF_MODEL,
    "model/tokenizer.json": OF_MODEL,
    "model/tokenizer_config.json": OF_MODEL,
    "model/generation_config.json": OF_MODEL,
    "model/model.safetensors": OF_MODEL,
    "whole/manifest.json": (*MODEL, "model_name_or_path=whole", "output_dir=new"),
    "run/run.json": ("resume", "run"),
    "run/config.yaml": ("resume", "run"),
    "run/lineage.json": ("resume", "run"),
    "run/metrics.jsonl": ("resume", "run"),
}


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    forks = Forks()
    yield forks
    forks.close()


@pytest.fixture(scope="module")
def inputs(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all of the commands read, each of them good, and a run that was stopped."""
    folder = tmp_path_factory.mktemp("inputs")
    write_jsonl(folder / "traces.jsonl", sessions())
    tasks = [{"question": f"{n} + 1 = ?", "answer": str(n + 1)} for n in range(3)]
    records = [
        {"prompt": f"{n} + 1 = ?", "responses": [str(n + 1), "no"], "rankings": [1, 2]}
        for n in range(40)
    ]
    for name, rows in (("tasks.jsonl", tasks), ("records.jsonl", records)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "train_config.json").write_text(json.dumps(RANKED))
    (folder / "own.yaml").write_text("job: sft\nmodel_name_or_path: base\noutput_dir: new\n")
    root = Path(__file__).resolve().parents[2]
    shutil.copy(root / "configs" / "rim_config.yaml", folder / "judges.yaml")
    shutil.copy(root / "configs" / "deepspeed" / "zero2.json", folder / "deepspeed.json")
    shutil.copytree(SHIPPED["base"], folder / "whole")
    shutil.copytree(SHIPPED["base"], folder / "model", ignore=lambda *_: ["manifest.json"])
    made = forks.run(folder, "prepare-data", "--size", "20", "--validation-size", "4")
    assert made.code == 0, (folder / "output.txt").read_text()
    assert forks.run(folder, *SFT_WORDS, "output_dir=run", "save_steps=1").code == 0
    shutil.rmtree(folder / "run" / "stages")
    (folder / "output.txt").unlink()
    return folder


@pytest.mark.parametrize(
    ("name", "breakage"),
    [
        (name, breakage)
        for name in COMMANDS
        for breakage in (*CONTENTS, *PLACES)
        if (name, breakage) not in NOT_BROKEN
    ],
)
def test_what_is_broken_is_one_line(
    name: str, breakage: str, forks: Forks, inputs: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "here"
    shutil.copytree(inputs, folder, symlinks=True)
    broken = folder / name
    content = broken.read_bytes()
    broken.unlink()
    if breakage in CONTENTS:
        made = CONTENTS[breakage](content)
        # The last line of metrics may be cut: a kill does that.
        broken.write_bytes(made + b"\n" + content if broken.name == "metrics.jsonl" else made)
    else:
        PLACES[breakage](broken)
    ended = forks.run(folder, *COMMANDS[name], seconds=LIMIT_S)
    said = (folder / "output.txt").read_text()
    assert ended.code == 2, said
    line = said.strip().splitlines()[-1]
    assert "Traceback" not in said
    assert line.startswith("atlas: "), said
    # Of a model's folder the libraries don't say which file; and a folder may be no run.
    assert Path(name).name in line or Path(name).parts[0] in line, said
    assert not (folder / "new").exists()
