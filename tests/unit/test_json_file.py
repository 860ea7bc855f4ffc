"""The one reader of JSON: what it lets in, and what it says of the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import AtlasError
from atlas.json_file import MAX_BYTES, MAX_DEPTH, json_value, parse_json, read_json

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(), max_size=4), inner, max_size=3)
    ),
)


def storable(value: object) -> object:
    if isinstance(value, str):
        # Halves that happen to stand side by side are a pair in JSON.
        whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return whole.replace("\x00", "\ufffd")
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    return value


@given(VALUES, st.sampled_from([None, "\t", 1]))
def test_what_json_writes_is_read_with_text_that_everything_can_store(
    value: object, indent: str | int | None
) -> None:
    text = "\ufeff" + json.dumps(value, indent=indent)
    assert json_value(text.encode(), object) == storable(value)


@given(st.binary(max_size=30) | st.text(st.sampled_from('[]{}",:\\u0d8e19.-tn '), max_size=40))
def test_anything_else_is_a_value_error_of_one_line(content: bytes | str) -> None:
    said = ""
    try:
        json_value(content, object)
    except ValueError as error:
        said = str(error)
    assert said.isprintable()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "line 1, column 1: Expecting value"),
        (b'{"a": 1,\n "b": }', "line 2, column 7: Expecting value"),
        (b'{"a": "\xff"}', "line 1: no UTF-8: invalid start byte"),
        (b"\xff\xfe{\x00}\x00", "no UTF-8"),
        (b"[1]", "expected an object, found a list"),
        (b"null", "expected an object, found null"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": 1e400}', "the number 1e400 is too large"),
        (b'{"a": ' + b"7" * 5000 + b"}", "the number 77777777777777777777… has 5,000 digits"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), f"more than {MAX_DEPTH} levels deep"),
        (b" " * (MAX_BYTES + 1), "longer than 32,000,000 bytes"),
    ],
)
def test_what_is_wrong_is_said_with_the_file_and_the_place(
    content: bytes, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(AtlasError) as caught:
        read_json(path)
    message = str(caught.value)
    assert message.startswith(f"{path} can't be read as JSON: ")
    assert says in message
    assert "\n" not in message


def test_depth_counts_brackets_only_where_they_are_brackets() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json_value(deep, list) == json.loads(deep)
    assert json_value(json.dumps({"a": "[" * 500 + '"'}))["a"].count("[") == 500
    assert len(json_value("[" + "[]," * 500 + "[]]", list)) == 501


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=rf"^{tmp_path} can't be read: Is a directory"):
        read_json(tmp_path)
    with pytest.raises(AtlasError, match="can't be read: No such file"):
        read_json(tmp_path / "gone.json")


def test_a_truth_value_is_no_number() -> None:
    with pytest.raises(AtlasError, match="reply can't be read as JSON: expected a whole number"):
        parse_json("true", "reply", int)
