"""What a YAML file may hold; what it mustn't is one line that names file and place."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import atlas
from atlas.config import SFTConfig, load_config
from atlas.config.rim import load_rim_config
from atlas.errors import AtlasError
from atlas.yaml_file import MAX_BYTES, MAX_VALUES, read_yaml

NESTED_BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)
)
MERGED_BOMB = "a0: &a0 {k: 1}\n" + "".join(
    f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}\n" for i in range(1, 10)
)

BROKEN: dict[str, tuple[str | bytes, str]] = {
    "a list that isn't closed": ("a: [1", "line 1, column 6: expected ',' or ']'"),
    "a mapping in a value": ("seed: 1\na: b: c", "line 2, column 5: mapping values are not"),
    "a tab": ("\tseed: 1", "line 1, column 1: found character"),
    "a list": ("- a", "must hold keys and values, as in `seed: 1`"),
    "a number": ("5", "must hold keys and values"),
    "two documents": ("seed: 1\n---\nseed: 2", "line 2, column 1: but found another document"),
    "a key twice": ("seed: 1\nseed: 2", "line 2, column 1: found duplicate key seed"),
    "a key in a block twice": ("a: {b: 1, b: 2}", "line 1, column 11: found duplicate key b"),
    "null as a key": ("~: c", "line 1, column 1: a key must be text"),
    "a number as a key": ("5: a", "line 1, column 1: a key must be text"),
    "a truth value as a key": ("seed: 1\non: a", "line 2, column 1: a key must be text"),
    "a list as a key": ("? [a, b]\n: 5", "line 1, column 3: a key must be text"),
    "a date by its tag": ("a: !!timestamp 2021-13-45", "line 1, column 4: the tag tag:yaml"),
    "a set": ("a: !!set {a, b}", "the tag tag:yaml.org,2002:set isn't understood; leave it out"),
    "a wrong number": ("a: !!int x", "the tag tag:yaml.org,2002:int"),
    "bytes": ("a: !!binary x", "the tag tag:yaml.org,2002:binary"),
    "code": ("a: !!python/object/apply:os.system [ls]", "line 1, column 4: the tag tag:yaml.org"),
    "a tag of one's own": ("a: !mine 3", "the tag !mine isn't understood"),
    "5,000 digits": (f"a: {'9' * 5000}", "line 1, column 4: a number is too long"),
    "4,000 hexadecimal digits": (f"a: 0x{'f' * 4000}", "line 1, column 4: a number is too long"),
    "depth": (f"a: {'[' * 2000}", "line 1, column 23: more than 20 levels deep"),
    "depth of mappings": ("a: " + "{a: " * 2000, "more than 20 levels deep"),
    "depth of blocks": ("- " * 2000, "more than 20 levels deep"),
    "depth of keys": ("? " * 2000, "more than 20 levels deep"),
    "a bomb of lists": (NESTED_BOMB, "line 5, column "),
    "a bomb of merged mappings": (MERGED_BOMB, "line 5, column "),
    "many values": ("a: [" + "x," * MAX_VALUES + "]", f"than {MAX_VALUES:,} values with those of"),
    "length": (f"a: {'x' * MAX_BYTES}", f"it is longer than {MAX_BYTES:,} bytes"),
    "a list in itself": ("a: &s [*s]", "line 1, column 8: *s stands for nothing that has ended"),
    "a list in itself, by an old name": ("b: &s 1\na: &s [*s]", "line 2, column 8: *s stands for"),
    "an alias of nothing": ("a: *b", "line 1, column 4: *b stands for nothing"),
    "a merge with text": ("<<: a", "line 1, column 5: expected a mapping or list of mappings"),
    "half a surrogate pair": (r'a: "\ud83d"', "line 1, column 4: a control character or half"),
    "half a pair in a key": (r'"\udc00": 1', "line 1, column 1: a control character or half"),
    "NUL, escaped": (r'a: "\0"', "line 1, column 4: a control character"),
    "an escape sequence": (r'a: "\e[2J"', "line 1, column 4: a control character"),
    "NUL": (b"a: \x00", "special characters are not allowed"),
    "bytes that aren't UTF-8": (b"seed: 1\na: \xff\xfe", "line 2: not UTF-8"),
    "UTF-16": ("seed: 1".encode("utf-16"), "line 1: not UTF-8"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_one_line(name: str, tmp_path: Path) -> None:
    content, says = BROKEN[name]
    path = tmp_path / "broken.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    for read in (read_yaml, load_rim_config, lambda path: load_config(SFTConfig, path)):
        with pytest.raises(AtlasError, match=rf"broken\.yaml .*{re.escape(says)}") as caught:
            read(path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400


def test_a_folder_and_a_missing_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="can't be read as YAML: Is a directory"):
        read_yaml(tmp_path)
    with pytest.raises(AtlasError, match="is a folder; name a YAML file"):
        load_config(SFTConfig, tmp_path)
    for name in ("gone.yaml", "x" * 300, "a\0b", "a/" * 3000):
        with pytest.raises(AtlasError, match="isn't there"):
            load_config(SFTConfig, name)


def test_a_password_in_a_broken_line_is_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("db_url: postgresql://u:Hunter2: x@h/d\n")
    with pytest.raises(AtlasError) as caught:
        read_yaml(path)
    assert "Hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2021-13-45", "2021-13-45"),
        ("12:30:45", "12:30:45"),
        (r'"\ud83d\ude00"', "\N{GRINNING FACE}"),
        (r'"a\n\tb"', "a\n\tb"),
        ("&x 3", 3),
        ("5.0e-07", 5e-7),
        ("[yes, No, ~, '~', 0x10]", [True, False, None, "~", 16]),
        ("", None),
    ],
)
def test_what_a_value_is(text: str, value: object, tmp_path: Path) -> None:
    path = tmp_path / "fine.yaml"
    path.write_text(f"\N{BYTE ORDER MARK}a: {text}\nb: {{seed: 1}}\n", encoding="utf-8")
    assert read_yaml(path) == {"a": value, "b": {"seed": 1}}


def test_aliases_and_merged_mappings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "fine.yaml"
    path.write_text("a: &a {b: 1, c: 2}\nd: {<<: *a, c: 3}\ne: *a\n")
    content = read_yaml(path)
    assert (content["d"], content["e"]) == ({"b": 1, "c": 3}, {"b": 1, "c": 2})
    path.write_text("")
    assert read_yaml(path) == {}


def test_no_other_file_reads_yaml() -> None:
    """One reader, so that no other one has to know all that a file can do."""
    package = Path(atlas.__file__).parent
    calls = set()
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            call = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            imported = isinstance(node, ast.ImportFrom) and node.module in ("yaml", "omegaconf")
            if imported or call.startswith(("yaml.load", "yaml.safe_load", "OmegaConf.")):
                calls.add(path.name)
    assert calls == {"yaml_file.py"}
