"""Files of a run: its memory, metrics, best model, manifests, claims, and the report of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.reliability.fuzz.broken import (
    as_json,
    documents,
    fuzz,
    refused,
    texts,
)

from atlas.environments.students.baselines import Baselines
from atlas.errors import AtlasError
from atlas.evaluation.claims_file import read_claims
from atlas.evaluation.pairs_file import read_pairs, write_pairs
from atlas.from_scratch.model.folder import claim_folder
from atlas.json_file import parse_json, read_json
from atlas.models.manifest import is_whole, refuse_damaged, sha256
from atlas.report import write_report
from atlas.run.inputs import keep_inputs
from atlas.run.lineage import lineage_json, read_lineage
from atlas.run.metrics import _drop_lines
from atlas.run.run_dir import RunDir
from atlas.training.best import BestModel
from atlas.types import Attempt, Leak, Lesson, Task, Utterance, Verdict

ATTEMPT: dict[str, Any] = {
    "text": "Answer: 5",
    "correct": True,
    "num_tokens": 4,
    "finished": True,
    "parsed": True,
    "rule": "answer",
}
PAIR: dict[str, Any] = {
    "task": {"id": "", "question": "2 + 3?", "answer": "5", "family": "reference"},
    "arm": "sft",
    "alone": ATTEMPT,
    "taught": ATTEMPT,
    "approach": "I add.",
    "teaching": "Add both.",
    "num_teaching_tokens": 3,
    "leaked": False,
}
PAIR["task"]["id"] = Task(question="2 + 3?", answer="5", family="reference").id
CLAIMS: dict[str, Any] = {
    "num_tasks": 4,
    "arms": {
        "sft": [
            {
                "name": "uplift",
                "label": "Uplift",
                "value": 20.5,
                "interval": [16.5, 24.75],
                "unit": "points",
                "guide_value": 15.7,
                "guide_text": "+15.7 points",
                "num": 4,
                "met": True,
            }
        ]
    },
    "comparisons": [
        {"arm": "grpo", "baseline_arm": "sft", "value": 7.0, "interval": [3.5, 10.5], "num": 4}
    ],
}
LINEAGE: dict[str, Any] = {
    "format": "atlas.lineage/1",
    "source": "traces.jsonl",
    "train": ["17", "4"],
    "eval": ["9"],
    "num_samples": {"train": 3, "eval": 1},
    "filters": {"min_reward": 0.8},
    "left_out": {"no guidance": 2},
}
RUN: dict[str, Any] = {
    "layout_version": 1,
    "kind": "sft",
    "created_at": "2026-01-02T03:04:05+00:00",
    "atlas_version": "0.1",
    "command": ["atlas", "sft"],
    "environment": {"torch": "2.13"},
}
STAGE: dict[str, Any] = {
    "stage": "sft",
    "finished_at": "2026-01-02T03:04:05+00:00",
    "seconds": 1.5,
    "summary": {"steps": 3, "loss": {"first": 1.0, "last": 0.5}},
}
METRICS: dict[str, Any] = {
    "step": 3,
    "time": 1763772.5,
    "stage": "sft",
    "train/loss": 0.4,
    "chain": "0" * 64,
}
BASELINE: dict[str, Any] = {
    "key": "k",
    "task": "t",
    "alone": {"text": "5", "num_tokens": 1, "finished": True},
    "approach": {"text": "I add.", "num_tokens": 3, "finished": True},
}
Folder = Callable[[], Path]


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    def emptied() -> Path:
        place = tmp_path_factory.getbasetemp() / "fuzzed-run"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        return place

    return emptied


@fuzz()
@given(documents(RUN), st.sampled_from([dict, list, str, int, float, bool, object]))
def test_json(content: bytes, kind: type) -> None:
    found = refused(parse_json, content, "it", kind)
    assert found is None or isinstance(found, kind)


@fuzz()
@given(documents(PAIR))
def test_pairs(folder: Folder, content: bytes) -> None:
    path = folder() / "pairs.jsonl"
    path.write_bytes(content)
    pairs = refused(read_pairs, path)
    if pairs:
        again = path.with_name("again.jsonl")
        write_pairs(again, pairs)
        assert read_pairs(again) == pairs


attempts = st.builds(
    Attempt,
    text=texts.map(lambda text: text.encode("utf-8", "replace").decode().replace("\0", "")),
    num_tokens=st.integers(0, 10**6),
    finished=st.booleans(),
    verdict=st.builds(Verdict, score=st.sampled_from([0.0, 1.0]), parsed=st.booleans()),
)


@fuzz()
@given(attempts, attempts, st.booleans())
def test_pairs_come_back(folder: Folder, alone: Attempt, taught: Attempt, leaked: bool) -> None:
    pair = Lesson(
        task=Task(question="q", answer="a", family="f"),
        arm="sft",
        alone=alone,
        attempt=taught,
        approach=Utterance(text=alone.text),
        teaching=Utterance(text=taught.text, num_tokens=3),
        leak=Leak(kind="recorded", reason="the evaluation found one") if leaked else None,
    )
    path = folder() / "pairs.jsonl"
    write_pairs(path, [pair, pair])
    assert read_pairs(path) == (pair, pair)


@fuzz()
@given(documents(CLAIMS))
def test_claims(folder: Folder, content: bytes) -> None:
    path = folder() / "claims.json"
    path.write_bytes(content)
    refused(read_claims, path)


@fuzz()
@given(documents(LINEAGE))
def test_lineage(folder: Folder, content: bytes) -> None:
    place = folder()
    (place / "lineage.json").write_bytes(content)
    lineage = refused(read_lineage, place)
    if lineage is not None:
        (place / "lineage.json").write_text(lineage_json(lineage), encoding="utf-8")
        assert read_lineage(place) == lineage


@fuzz()
@given(documents(RUN), st.booleans())
def test_the_memory_of_a_run(folder: Folder, content: bytes, fresh: bool) -> None:
    place = folder()
    (place / "run.json").write_bytes(content)
    (place / "final").mkdir()
    refused(RunDir.open, place)
    refused(RunDir.create, place, "sft", fresh=fresh)


@fuzz()
@given(documents(STAGE))
def test_a_stage_that_has_finished(folder: Folder, content: bytes) -> None:
    place = folder()
    (place / "run.json").write_bytes(as_json(RUN))
    (place / "stages").mkdir()
    (place / "stages" / "sft.json").write_bytes(content)
    refused(RunDir.open(place).stage_summary, "sft")


@fuzz()
@given(documents(METRICS), st.none() | st.integers(1, 5))
def test_metrics_that_are_gone_on_with(folder: Folder, content: bytes, step: int | None) -> None:
    path = folder() / "metrics.jsonl"
    path.write_bytes(as_json(METRICS) + b"\n" + content + b"\n" + as_json(METRICS)[:-9])
    if refused(_dropped, path, step):
        kept = [parse_json(line, "it") for line in path.read_bytes().splitlines()]
        assert all(record["stage"] != "sft" or record["step"] <= (step or -1) for record in kept)


def _dropped(path: Path, step: int | None) -> bool:
    _drop_lines(path, "sft", step)
    return True


@fuzz()
@given(documents({"step": 3, "eval_loss": 0.25}))
def test_the_best_model(folder: Folder, content: bytes) -> None:
    place = folder()
    (place / "best").mkdir()
    (place / "best" / "best.json").write_bytes(content)
    manifest = {"best.json": sha256(place / "best" / "best.json")}
    (place / "best" / "manifest.json").write_bytes(as_json(manifest))
    best = refused(BestModel, place, resumed=True, save=lambda folder, **_: None)
    assert best is None or best.offer(9, -1e300) in (True, False)


@fuzz()
@given(documents({"config.json": "0" * 64, "a/b.txt": "f" * 64}))
def test_a_manifest(folder: Folder, content: bytes) -> None:
    place = folder()
    (place / "config.json").write_bytes(b"{}")
    (place / "manifest.json").write_bytes(content)
    assert is_whole(place) is False
    refused(refuse_damaged, place)


@fuzz()
@given(
    st.dictionaries(
        st.text("abc.-_é ", min_size=1, max_size=8).filter(lambda name: name.strip(". ")),
        st.binary(max_size=20),
        min_size=1,
        max_size=3,
    ),
    st.data(),
)
def test_a_manifest_finds_every_change(
    folder: Folder, files: dict[str, bytes], data: st.DataObject
) -> None:
    place = folder()
    for name, content in files.items():
        (place / name).write_bytes(content)
    manifest = {name: sha256(place / name) for name in files}
    (place / "manifest.json").write_text(json.dumps(manifest))
    assert is_whole(place)
    refuse_damaged(place)
    changed = data.draw(st.sampled_from(sorted(files)))
    (place / changed).write_bytes(files[changed] + b"x")
    assert not is_whole(place)
    with pytest.raises(AtlasError):
        refuse_damaged(place)


@fuzz()
@given(documents(BASELINE))
def test_what_a_student_does_alone(folder: Folder, content: bytes) -> None:
    place = folder()
    (place / "a.jsonl").write_bytes(content + b"\n")
    student: Any = None
    refused(Baselines(student, folder=place, key="k")._read)


@fuzz()
@given(documents({"train_data": "0" * 64, "corpus": "f" * 64}))
def test_the_inputs_of_a_run(folder: Folder, content: bytes) -> None:
    path = folder() / "inputs.json"
    path.write_bytes(content)
    refused(keep_inputs, path.parent, {"train_data": "0" * 64}, {"train_data": "train.jsonl"})


@fuzz()
@given(documents({"run": "runs/a", "steps": 3}))
def test_the_owner_of_a_model_folder(folder: Folder, content: bytes) -> None:
    place = folder()
    (place / "training_stats.json").write_bytes(content)
    refused(claim_folder, place, "runs/a")


@fuzz(40)
@given(documents(RUN, 1), documents(STAGE), documents(METRICS), documents(CLAIMS), documents(PAIR))
def test_the_report_of_any_run(
    folder: Folder, run: bytes, stage: bytes, metrics: bytes, claims: bytes, pairs: bytes
) -> None:
    place = folder()
    for name, content in (
        ("run.json", run),
        ("stages/sft.json", stage),
        ("metrics.jsonl", metrics),
        ("sft/metrics.jsonl", metrics),
        ("config.yaml", stage),
        ("eval/claims.json", claims),
        ("eval/pairs.jsonl", pairs),
    ):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(content)
    page = refused(write_report, place)
    assert page is None or page.stat().st_size > 1000


@fuzz()
@given(st.dictionaries(texts, texts, max_size=3))
def test_json_of_any_texts_is_an_object(folder: Folder, content: dict[str, str]) -> None:
    path = folder() / "any.json"
    path.write_bytes(as_json(content))
    assert len(read_json(path)) <= len(content)
