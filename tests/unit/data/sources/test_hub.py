"""Data sets as a source: local parquet, JSON and folders; the hub itself can't be reached."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from atlas.data.sft import Request
from atlas.data.sources.hub import get_hub_dataset
from atlas.errors import AtlasError
from atlas.types import REFERENCE, Task

GUIDE = [
    {
        "problem_text": f"Calculate {number} + 1.",
        "student_approach": "I count.",
        "teacher_diagnosis": "Fine.",
        "teacher_teaching": f"Add 1 to {number}.",
        "ground_truth": str(number + 1),
    }
    for number in range(40)
]


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_the_guide_s_columns_from_parquet(tmp_path: Path) -> None:
    path = parquet(tmp_path / "sft.parquet", GUIDE)
    dataset = get_hub_dataset(path, eval_split_ratio=0.2)
    asked = {"task": "Calculate 7 + 1.", "approach": "I count."}
    opening = Request(parts=(("teaching", asked),))
    dialogues = {d.session: d.messages for d in (*dataset.sft.train, *dataset.sft.eval)}
    assert dialogues["7"] == (opening, {"role": "assistant", "content": "Add 1 to 7."})
    tasks = {p.sessions: p.task for p in (*dataset.rl.train, *dataset.rl.eval)}
    assert tasks["7",] == Task(question="Calculate 7 + 1.", answer="8", family=REFERENCE)
    assert len(dialogues) == len(tasks) == 40
    assert dataset.source == str(path)
    # A task is on one side, whatever it is used for.
    assert {(d.session,) for d in dataset.sft.eval} == {p.sessions for p in dataset.rl.eval}
    assert 2 < len(dataset.rl.eval) < 16


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "folder", "saved"])
def test_other_places_give_the_same(tmp_path: Path, kind: str) -> None:
    expected = get_hub_dataset(parquet(tmp_path / "a.parquet", GUIDE))
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in GUIDE))
    elif kind == "json":
        path.write_text(json.dumps(GUIDE))
    elif kind == "csv":
        datasets.Dataset.from_list(GUIDE).to_csv(path)
    elif kind == "folder":
        parquet(path / "data" / "train-0.parquet", GUIDE)
    else:
        datasets.Dataset.from_list(GUIDE).save_to_disk(path)
    found = get_hub_dataset(path)
    assert (found.sft, found.rl) == (expected.sft, expected.rl)


def test_a_configuration_s_files_and_splits(tmp_path: Path) -> None:
    """As the guide's set lies on the hub: a file for each use."""
    (tmp_path / "training").mkdir()
    for name, rows in (("sft", GUIDE[:3]), ("rl", GUIDE[3:8])):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "training" / f"{name}.jsonl").write_text(text)
    for name, number in (("sft", 3), ("rl", 5)):
        found = get_hub_dataset(tmp_path, dataset_files=f"training/{name}.jsonl")
        assert found.rl.num_read == number
    with pytest.raises(AtlasError, match="can't be loaded: Bad split: test"):
        get_hub_dataset(tmp_path, dataset_files="training/rl.jsonl", dataset_split="test")


def test_chats_and_pairs(tmp_path: Path) -> None:
    turns = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Two?"},
        {"role": "assistant", "content": "2"},
    ]
    ends_with_the_user = [*turns, {"role": "user", "content": "Three?"}]
    nothing_asked = [{"role": "assistant", "content": "1"}]
    chats = [{"messages": each} for each in (turns, ends_with_the_user, nothing_asked, turns[:2])]
    found = get_hub_dataset(parquet(tmp_path / "chats.parquet", chats), eval_split_ratio=0.0)
    assert [list(d.messages) for d in found.sft.train] == [turns, turns]
    assert found.sft.left_out == {"rows without a question and an answer of the assistant": 2}
    assert found.rl.num_read == 0

    pairs = [{"prompt": "One?", "completion": "1", "id": "a"}, {"prompt": "Two?", "completion": ""}]
    found = get_hub_dataset(parquet(tmp_path / "pairs.parquet", pairs), eval_split_ratio=0.0)
    (dialogue,) = found.sft.train
    assert (dialogue.session, list(dialogue.messages)) == (
        "a",
        [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "1"}],
    )
    parted = [{"prompt": turns[:2], "completion": turns[2:3]}]
    found = get_hub_dataset(parquet(tmp_path / "parted.parquet", parted), eval_split_ratio=0.0)
    assert list(found.sft.train[0].messages) == turns[:3]


def test_tasks_with_answers(tmp_path: Path) -> None:
    rows = [
        {"question": "How far?", "answer": "60 * 2 = 120\n#### 120", "id": "a"},
        {"question": "How far?", "answer": "#### 120", "id": "b"},
        {"question": "How long?", "answer": "", "id": "c"},
        {"question": None, "answer": "3", "id": "d"},
    ]
    found = get_hub_dataset(parquet(tmp_path / "a.parquet", rows), use="rl", eval_split_ratio=0.0)
    (prompt,) = found.rl.train
    assert prompt.sessions == ("a", "b")
    assert (prompt.task.question, prompt.task.answer) == ("How far?", "120")
    assert found.rl.left_out == {"rows without a question and a reference answer": 2}
    asked = [{"role": "system", "content": "s"}, {"role": "user", "content": "How far?"}]
    turned = parquet(tmp_path / "b.parquet", [{"prompt": asked, "ground_truth": 120}])
    assert get_hub_dataset(turned, eval_split_ratio=0.0).rl.train[0].task == prompt.task


def test_an_answer_in_a_list_is_the_answer_and_several_are_none(tmp_path: Path) -> None:
    rows = [
        {"question": "How far?", "final_answer": ["120"]},
        {"question": "Which two?", "final_answer": ["1", "2"]},
        {"question": "None?", "final_answer": []},
    ]
    found = get_hub_dataset(parquet(tmp_path / "a.parquet", rows), use="rl", eval_split_ratio=0.0)
    assert [prompt.task.answer for prompt in found.rl.train] == ["120"]
    assert found.rl.left_out == {"rows without a question and a reference answer": 2}


def test_limit_and_the_rows_that_a_run_was_begun_with(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", GUIDE)
    assert get_hub_dataset(path, limit=3).sft.num_read == 3
    found = get_hub_dataset(path, only_sessions={"5", "6", "99"}, eval_split_ratio=0.0)
    assert [d.session for d in found.sft.train] == ["5", "6"]


@pytest.mark.parametrize(
    ("row", "use", "message"),
    [
        (
            {"text": "a", "label": 1},
            "both",
            "has the columns label, text, but SFT needs messages or",
        ),
        ({"text": "a"}, "sft", "but SFT needs messages or prompt and completion or problem_text"),
        (
            {"question": "a", "text": "b"},
            "rl",
            "but RL needs one of prompt, problem_text, question",
        ),
        ({"messages": []}, "rl", "has the columns messages, but RL needs"),
        (
            {"question": "a", "answer": "b"},
            "sft",
            "has the columns answer, question, but SFT needs",
        ),
    ],
)
def test_missing_columns_name_those_that_are_there(
    tmp_path: Path, row: dict[str, Any], use: Any, message: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(AtlasError, match=message) as caught:
        get_hub_dataset(path, use=use)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "x", "is no parquet, CSV, JSON or JSONL file"),
        ("a.parquet", "no parquet", "a.parquet can't be loaded: "),
        ("a.jsonl", "{no json\n", "a.jsonl can't be loaded: "),
        ("a.csv", "question,answer\n", "has no row in its split train"),
    ],
)
def test_what_can_t_be_read_is_one_line(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(AtlasError, match=message) as caught:
        get_hub_dataset(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """What is asked of a hub that the run takes for out of reach; the cache is a fresh folder."""
    asked: list[str] = []

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    monkeypatch.setattr("atlas.machine.hub.hub_answers", lambda endpoint: False)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        monkeypatch.setattr("datasets.config.HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever).start()
        yield asked
        server.shutdown()


def test_a_hub_out_of_reach_says_what_else_works(requests: list[str]) -> None:
    with pytest.raises(
        AtlasError, match=r"nobody/nothing can't be loaded: .*no hub can be reached"
    ):
        get_hub_dataset("nobody/nothing")
    assert requests == []
    with pytest.raises(AtlasError, match="give dataset_name_or_path"):
        get_hub_dataset()


def test_a_hub_out_of_reach_isn_t_asked_for_what_its_cache_has(
    requests: list[str], tmp_path: Path
) -> None:
    parquet(tmp_path / "rows" / "train.parquet", GUIDE)
    datasets.load_dataset(str(tmp_path / "rows"), split="train", cache_dir=str(tmp_path / "first"))
    # As a set of the hub lies there: under its owner's name.
    shutil.copytree(tmp_path / "first" / "rows", tmp_path / "cache" / "somebody___rows")
    found = get_hub_dataset("somebody/rows")
    assert found.rl == get_hub_dataset(tmp_path / "rows").rl
    assert requests == []
    assert datasets.config.HF_HUB_OFFLINE is False
