from __future__ import annotations

from tests.unit.data.sources.recorded import recorded
from tests.unit.data.sources.test_sessions import read

from atlas.data.samples import restricted


def test_restricted_keeps_the_samples_of_the_sessions_named() -> None:
    sessions = [recorded(1), recorded(2), recorded(3, task="Calculate 1 + 1.")]
    found = restricted(read(sessions), ["3"])
    assert [dialogue.session for dialogue in found.sft.train] == ["3"]
    assert [prompt.sessions for prompt in found.rl.train] == [("1", "3")]
    held = restricted(read(sessions, 1.0), ["2"])
    assert [dialogue.session for dialogue in held.sft.eval] == ["2"]
    assert [prompt.sessions for prompt in held.rl.eval] == [("2",)]
