"""``atlas review list``: a row fits any terminal, and its id and states are whole."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from atlas.cli import terminal
from atlas.cli.traces import review
from atlas.session import Session


@pytest.mark.parametrize(("columns", "dated"), [(60, False), (80, True), (120, True)])
def test_rows_fit_and_keep_their_ids(
    columns: int, dated: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    terminal.console.cache_clear()
    monkeypatch.setattr(terminal, "console", terminal.console.__wrapped__)
    made = datetime(2026, 11, 22, 10, 50, tzinfo=UTC)
    review._show(
        [
            Session(
                id=number,
                task="How much is " + "1 + " * 40 + "1?",
                status="succeeded",
                review_status="quarantined",
                created_at=made,
            )
            for number in (7, 4711)
        ]
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(len(line.rstrip()) <= columns for line in lines)
    for number, line in zip(("7", "4711"), lines[1:], strict=True):
        words = line.split()
        assert words[0] == number
        assert ("2026-11-22" in words) == dated
        assert {"succeeded", "quarantined", "How"} <= set(words)
