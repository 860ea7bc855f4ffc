"""What the pinned packages are licensed under, and that a licence which isn't allowed is found."""

from __future__ import annotations

from email.message import Message
from typing import Any

import pytest
from scripts import audit


def test_every_pinned_package_that_is_installed_may_be_used() -> None:
    found = audit.installed_licences(audit.pinned(audit.PINS))
    assert len(found) > 100
    assert list(audit.refused_licences(found)) == []


def test_every_exception_is_still_needed() -> None:
    found = audit.installed_licences(list(audit.EXCEPTIONS))
    # What only comparisons need isn't here before they have run.
    assert {"psycopg", "zss"} <= found.keys() <= audit.EXCEPTIONS.keys()
    assert audit.EXCEPTIONS.keys() <= set(audit.pinned(audit.PINS))
    assert not any(map(audit.is_allowed, found.values()))


@pytest.mark.parametrize(
    "licence",
    [
        *("", "GPL-3.0-only", "GNU Affero General Public License v3", "Proprietary", "SSPL-1.0"),
        *("MIT AND GPL-2.0", "MIT License AND GNU General Public License (GPL)", "CC-BY-NC-4.0"),
        *("(GPL-2.0 OR MIT) AND AGPL-3.0", "Business Source License 1.1", "Limited"),
    ],
)
def test_a_licence_that_is_not_allowed_is_found(licence: str) -> None:
    (line,) = audit.refused_licences({"a": licence, "b": "MIT", "psycopg": licence})
    assert line == f"a: {licence or 'its metadata says no licence'}"


@pytest.mark.parametrize(
    "licence",
    ["MIT", "BSD-3-Clause", "3-Clause BSD License", "Apache 2.0", "GPL-2.0 OR MIT", "ISC License"],
)
def test_one_that_is_allowed_is_not(licence: str) -> None:
    assert not list(audit.refused_licences({"a": licence}))


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License-Expression", "MIT"), ("License", "other")], "MIT"),
        ([("Classifier", "License :: OSI Approved :: MIT License")], "MIT License"),
        ([("Classifier", "License :: OSI Approved"), ("License", "GPL")], "GPL"),
        ([("License", "All rights reserved.\nYou may not…")], ""),
        ([], ""),
    ],
)
def test_where_a_package_says_its_licence(fields: list[tuple[str, str]], licence: str) -> None:
    about = Message()
    for name, value in fields:
        about.add_header(name, value)
    assert audit.licence_of(about) == licence


def found(*vulnerable: str, unknown: int = 0) -> dict[str, Any]:
    vulnerability = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": []}
    known = [
        {"name": name, "version": "1.0", "vulns": [vulnerability] if name in vulnerable else []}
        for name in ("a", "b")
    ]
    skipped = [{"name": f"x{n}", "skip_reason": "not found on PyPI"} for n in range(unknown)]
    return {"dependencies": [*([] if unknown else known), *skipped]}


@pytest.mark.parametrize(
    ("answer", "code", "says"),
    [
        ((found(), ""), 0, "vulnerabilities: 0 known in"),
        ((found("a"), ""), 1, "  a 1.0: PYSEC-1, mended in 1.1"),
        ((None, "no network"), 3, "couldn't be asked for audit.txt: no network"),
        ((found(unknown=3), ""), 3, "couldn't be asked for audit.txt: it knows none"),
    ],
)
def test_a_list_that_cannot_be_asked_is_no_clean_bill(
    answer: tuple[Any, str],
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(audit, "ask", lambda *_: answer)
    assert audit.main(["python"]) == code
    assert says in capsys.readouterr().out
