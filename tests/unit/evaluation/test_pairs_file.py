import json
from dataclasses import replace

import pytest
from tests.unit.evaluation.outcomes import UNTOLD, arm_of, outcome, pair

from atlas.errors import AtlasError
from atlas.evaluation.pairs_file import read_pairs, write_pairs
from atlas.types import StudentTurn, ToolCall


def test_pairs_come_back_as_they_were_written(tmp_path):
    path = tmp_path / "eval" / "pairs.jsonl"
    # A line separator of Unicode inside a text is no end of a line of the file.
    odd = pair(7, outcome(False, text="A is 3.\n\u2028<b>\u00e4"), outcome(True), leaked=True)
    pairs = [*arm_of("sft", gained=2, lost=1, both=0, neither=1), odd]

    write_pairs(path, pairs)

    assert read_pairs(path) == tuple(pairs)


def test_what_the_session_of_a_task_says_is_kept(tmp_path):
    path = tmp_path / "pairs.jsonl"
    plain = pair(3, outcome(False), outcome(True))
    facts = {"lane": "coach", "personas": "critic"}
    metadata = {"recorded": {**facts, "dossier": "A sum."}, "entry": "f"}
    write_pairs(path, [replace(plain, task=replace(plain.task, metadata=metadata)), plain])
    read = [one.task.metadata for one in read_pairs(path)]
    assert read == [{"recorded": facts}, {}]


def test_thoughts_stand_apart(tmp_path):
    path = tmp_path / "pairs.jsonl"
    alone = replace(outcome(False, text="5"), thoughts="Two? Three?")
    plain = pair(3, alone, outcome(True))
    thought = replace(plain, teaching=replace(plain.teaching, thoughts="He guesses."))
    write_pairs(path, [thought])
    assert read_pairs(path) == (thought,)
    record = json.loads(path.read_text())
    assert (record["alone"]["thoughts"], record["alone"]["text"]) == ("Two? Three?", "5")
    assert (record["teaching_thoughts"], record["teaching"]) == ("He guesses.", "Teaching 3")


def test_turns_of_a_student_that_acts_come_back(tmp_path):
    path = tmp_path / "pairs.jsonl"
    call = ToolCall(name="sql", arguments="{}", result="7", failed=True)
    turns = (StudentTurn(text="I look.", calls=(call,), num_tokens=3), StudentTurn(text="7"))
    lesson = pair(3, outcome(False), replace(outcome(True), turns=turns))
    write_pairs(path, [lesson])
    assert read_pairs(path) == (lesson,)
    record = json.loads(path.read_text())
    assert "turns" not in record["alone"]
    for damage in ([7], [{"text": "x", "odd": 1}], [{}], [{"text": "x", "calls": [7]}]):
        record["taught"]["turns"] = damage
        path.write_text(json.dumps(record))
        with pytest.raises(AtlasError, match="'turns' must hold a student's turns"):
            read_pairs(path)


def test_the_layout_is_the_one_that_others_read(tmp_path):
    path = tmp_path / "pairs.jsonl"
    write_pairs(path, [pair(3, outcome(False), outcome(True))])

    record = json.loads(path.read_text())

    assert record["task"]["question"] == "Question 3"
    assert set(record["task"]) == {"id", "question", "answer", "family"}
    assert set(record["alone"]) == {"text", "correct", "num_tokens", "finished", "parsed"}
    assert record["arm"] == "grpo"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda record: record.pop("arm"), r"jsonl:2: key 'arm' is missing"),
        (lambda record: record["alone"].pop("correct"), r"jsonl:2, alone: key 'correct'"),
        (lambda record: record.update(leaked="no"), r"jsonl:2: 'leaked' must be bool, got str"),
        (lambda record: record["task"].update(question="Other"), r"jsonl:2: task id"),
    ],
)
def test_a_damaged_line_is_named_by_file_line_and_key(tmp_path, damage, message):
    path = tmp_path / "pairs.jsonl"
    write_pairs(path, [pair(number, outcome(True), outcome(True)) for number in (1, 2)])
    first, second = path.read_text().splitlines()
    record = json.loads(second)
    damage(record)
    path.write_text(first + "\n" + json.dumps(record) + "\n")

    with pytest.raises(AtlasError, match=message):
        read_pairs(path)


def test_a_torn_line_and_a_missing_file_are_named(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"task": {')

    with pytest.raises(AtlasError, match=r"pairs\.jsonl:1 can't be read as JSON"):
        read_pairs(path)
    with pytest.raises(AtlasError, match="isn't there"):
        read_pairs(tmp_path / "nothing.jsonl")


def test_why_a_verifier_could_not_tell_is_kept(tmp_path):
    path = tmp_path / "pairs.jsonl"
    told = pair(1, outcome(True), UNTOLD)
    write_pairs(path, [told])
    assert read_pairs(path) == (told,)
