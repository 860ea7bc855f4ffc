from __future__ import annotations

import pytest

from atlas.endpoint.dialect import Dialect

SCHEMA = {"type": "object"}


def arguments(dialect: Dialect) -> dict:
    return dialect.arguments(max_tokens=50, temperature=0.5, schema=SCHEMA)


def test_everything_is_asked_for_at_first() -> None:
    assert arguments(Dialect(structured=True)) == {
        "max_tokens": 50,
        "temperature": 0.5,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": SCHEMA},
        },
    }
    assert "response_format" not in arguments(Dialect(structured=False))


@pytest.mark.parametrize(
    ("status", "message", "gone"),
    [
        (400, "Unknown field: response_format", "response_format"),
        (422, "json_schema is not supported by this model", "response_format"),
        (400, "Invalid grammar", "response_format"),
        (400, "'max_tokens' is not supported, use 'max_completion_tokens'", "max_tokens"),
        (400, "temperature does not support 0.5 with this model", "temperature"),
    ],
)
def test_a_refusal_teaches_once(status: int, message: str, gone: str) -> None:
    dialect = Dialect(structured=True)
    sent = arguments(dialect)
    assert dialect.learn(status, message, sent)
    assert sent.keys() - arguments(dialect).keys() == {gone}
    assert not dialect.learn(status, message, arguments(dialect))
    # Another call that was on its way with the old arguments is worth sending again too.
    assert dialect.learn(status, message, sent)


@pytest.mark.parametrize(
    ("status", "message"), [(400, "maximum context length is 100"), (500, "json_schema"), (429, "")]
)
def test_other_refusals_teach_nothing(status: int, message: str) -> None:
    dialect = Dialect(structured=True)
    assert not dialect.learn(status, message, arguments(dialect))
    assert dialect == Dialect(structured=True)
