import json

import pytest
from tests.unit.evaluation.outcomes import arm_of, outcome, pair

from atlas.errors import AtlasError
from atlas.evaluation.claims import claims_table
from atlas.evaluation.claims_file import (
    claims_from_json,
    claims_to_json,
    read_claims,
    write_claims,
)


def _table():
    return claims_table(
        arm_of("sft", gained=3, lost=1, both=4, neither=2)
        + arm_of("grpo", gained=4, lost=0, both=4, neither=2)
    )


def test_a_table_comes_back_as_it_was_written(tmp_path):
    write_claims(tmp_path / "eval" / "claims.json", _table())

    assert read_claims(tmp_path / "eval" / "claims.json") == _table()


def test_what_cannot_be_measured_is_null_in_the_file_and_comes_back(tmp_path):
    table = claims_table([pair(1, outcome(False), outcome(True))])
    record = claims_to_json(table)

    [claim] = [row for row in record["arms"]["grpo"] if row["name"] == "degraded_when_right"]
    assert claim["value"] is claim["interval"] is claim["met"] is None
    assert claims_from_json(json.loads(json.dumps(record))) == table


def test_the_layout_is_the_one_that_others_read():
    record = claims_to_json(_table())

    assert set(record) == {"num_tasks", "arms", "comparisons", "read_by"}
    uplift = record["arms"]["sft"][0]
    assert uplift["name"] == "uplift"
    assert uplift["value"] == pytest.approx(20)
    assert uplift["interval"][0] < 20 < uplift["interval"][1]
    assert uplift["met"] is True
    [comparison] = record["comparisons"]
    assert (comparison["arm"], comparison["baseline_arm"]) == ("grpo", "sft")


def test_a_file_that_is_missing_or_torn_is_named(tmp_path):
    torn = tmp_path / "claims.json"
    torn.write_text('{"num_tasks": 4')

    with pytest.raises(AtlasError, match=r"claims\.json can't be read as JSON: line 1, column 16"):
        read_claims(torn)
    with pytest.raises(AtlasError, match=r"other\.json isn't there"):
        read_claims(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda record: record.pop("num_tasks"), "'num_tasks' is missing"),
        (lambda record: record.update(arms={}), "no arm"),
        (lambda record: record.update(arms=[]), "not laid out"),
        (lambda record: record["arms"]["sft"].pop(0), "'sft'.*uplift"),
        (lambda record: record["comparisons"][0].update(interval=None), "no interval"),
    ],
)
def test_a_table_of_another_layout_is_refused(damage, message):
    record = claims_to_json(_table())
    damage(record)

    with pytest.raises(AtlasError, match=message):
        claims_from_json(record)
