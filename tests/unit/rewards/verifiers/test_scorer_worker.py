"""The worker of reasoning-gym's scorers: each answer meets its task as it was given."""

from __future__ import annotations

from typing import Any

import pytest

from atlas.rewards.sandbox.wire import encode
from atlas.rewards.verifiers import scorer_worker


def test_what_a_scorer_changes_in_a_task_the_next_answer_does_not_meet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def score(answer: str, entry: dict[str, Any]) -> float:
        entry["metadata"]["seen"].append(answer)
        return float(len(entry["metadata"]["seen"]))

    monkeypatch.setattr(scorer_worker, "_scorer", lambda _: score)
    entry = encode({"metadata": {"seen": []}}, int)
    items = [("family", 0, "a"), ("family", 0, "b")]
    work = scorer_worker.prepare({"items": items, "entries": [entry]})
    assert [work(item) for item in items] == [1.0, 1.0]
