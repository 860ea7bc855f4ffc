"""Sessions to samples: what SFT learns from, what RL is asked, and what is left out."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.data.sources.recorded import SUMMARY, recorded, recorded_by_sdk

from atlas.data.recorded import RECORDED, shown_in
from atlas.data.samples import TraceDataset
from atlas.data.sft import dialogue_of
from atlas.data.sources.sessions import SessionFilters, in_order, read_dataset
from atlas.data.split import side_of
from atlas.session import JudgeVerdict, Session, SessionReward, Step
from atlas.traces.store import SessionQuery


class Listed:
    """A store of given sessions, which remembers what it was asked."""

    def __init__(self, sessions: Sequence[Session]) -> None:
        self.all = sessions
        self.asked: list[SessionQuery] = []

    def sessions(self, query: SessionQuery) -> Iterator[Session]:
        """Yield what passes, as the stores do."""
        self.asked.append(query)
        passing = [session for session in self.all if query.matches(session)]
        yield from (query.trimmed(session) for session in passing[: query.limit])

    def pages(self, query: SessionQuery) -> Iterator[list[Session]]:
        """Not used here."""
        raise NotImplementedError

    def count(self, query: SessionQuery) -> int:
        """Not used here."""
        raise NotImplementedError


def read(sessions: Sequence[Session], share: float = 0.0, **given: Any) -> TraceDataset:
    filters = SessionFilters(**{k: given.pop(k) for k in list(given) if hasattr(SessionFilters, k)})
    values: dict[str, Any] = {"use": "both", **given}
    return read_dataset(Listed(sessions), "here", filters, eval_split_ratio=share, **values)


def answers(dataset: TraceDataset) -> dict[str, str]:
    return {p.task.question: p.task.answer for p in (*dataset.rl.train, *dataset.rl.eval)}


def test_failures_are_prompts_and_no_examples() -> None:
    good, bad = recorded(1), recorded(2, good=False)
    dataset = read([bad, good])
    assert dataset.sft.train == (dialogue_of(good),)
    assert answers(dataset) == {"Calculate 1 + 1.": "2", "Calculate 2 + 1.": "3"}
    assert (dataset.sft.num_read, dataset.rl.num_read) == (1, 2)


@pytest.mark.parametrize(
    ("fields", "learned"),
    [
        ({"reward": SessionReward(score=0.8)}, True),
        ({"reward": SessionReward(score=0.79)}, False),
        ({"reward": None}, False),
        ({"status": "failed"}, False),
        ({"status": "running"}, False),
    ],
)
def test_reward_and_status_filter_for_sft_only(fields: dict[str, Any], learned: bool) -> None:
    dataset = read([recorded(1, **fields)])
    assert bool(dataset.sft.train) is learned
    assert len(dataset.rl.train) == 1


def test_review_and_learning_key_filter_for_both() -> None:
    sessions = [
        recorded(1, review_status="approved", learning_key="a"),
        recorded(2, review_status="quarantined", learning_key="a"),
        recorded(3, review_status="approved", learning_key="b"),
    ]
    dataset = read(sessions, review_status_filters=["approved"], learning_key="a")
    assert [dialogue.session for dialogue in dataset.sft.train] == ["1"]
    assert [prompt.sessions for prompt in dataset.rl.train] == [("1",)]


def test_one_task_is_one_prompt_with_all_its_sessions() -> None:
    """The reference is that of the best-rewarded good session, whatever the order."""
    sessions = [
        recorded(number, task="How far?", final_answer=f"Answer: {number}", metadata={}, **fields)
        for number, fields in (
            (9, {"reward": SessionReward(score=0.9)}),
            (10, {"reward": SessionReward(score=0.95)}),
            (2, {"reward": SessionReward(score=1.0), "status": "failed"}),
            (3, {"reward": SessionReward(score=0.7)}),
        )
    ]
    for order in range(5):
        random.Random(order).shuffle(sessions)
        (prompt,) = read(sessions).rl.train
        assert prompt.sessions == ("2", "3", "9", "10")
        assert prompt.task.answer == "10"
    assert answers(read(sessions, min_reward=0.96)) == {}
    assert answers(read(sessions, status_filters=["failed"])) == {"How far?": "2"}


def test_what_is_left_out_is_counted_by_reason() -> None:
    sessions = [
        recorded(1),
        recorded(2, steps=(Step(id=1),)),
        recorded(3, steps=()),
        recorded(4, metadata={"teaching_finished": False}),
        recorded(5, good=False, metadata={}),
        recorded(6, metadata={}, final_answer="x" * 201),
    ]
    dataset = read(sessions)
    assert dataset.sft.left_out == {
        "sessions without guidance": 2,
        "sessions whose teaching was cut": 1,
    }
    assert dataset.rl.left_out == {
        "tasks without a reference answer": 1,
        "tasks whose final answer has more than 200 characters": 1,
    }
    assert [d.session for d in dataset.sft.train] == ["1", "6"]


def test_no_session_and_no_task_is_on_both_sides_of_either_use() -> None:
    wordings = ("Calculate {} + 1.", "What is 1 + {}?", "please compute {}.0+1 =")
    sessions = [
        recorded(10 * number + place, task=wording.format(number))
        for number in range(200)
        for place, wording in enumerate(wordings)
    ]
    dataset = read(sessions, 0.2)
    for side, dialogues in (("train", dataset.sft.train), ("eval", dataset.sft.eval)):
        assert len(dialogues) % 3 == 0
        for dialogue in dialogues:
            number = int(dialogue.session) // 10
            assert all(side_of(wording.format(number), 0.2) == side for wording in wordings)
    learned = {dialogue.session for dialogue in dataset.sft.train}
    held = {dialogue.session for dialogue in dataset.sft.eval}
    assert (len(learned) + len(held), learned & held) == (600, set())
    assert {name for p in dataset.rl.train for name in p.sessions} == learned
    assert {name for p in dataset.rl.eval for name in p.sessions} == held
    assert 60 < len(held) < 180


def test_the_order_of_the_store_makes_no_difference() -> None:
    sessions = [recorded(number, good=number % 3 > 0) for number in range(1, 30)]
    dataset = read(sessions, 0.2)
    assert read(sessions[::-1], 0.2) == dataset
    assert [d.session for d in dataset.sft.train] == sorted(
        (d.session for d in dataset.sft.train), key=int
    )
    identities = [prompt.task.id for prompt in dataset.rl.train]
    assert identities == sorted(identities)
    assert in_order("9") < in_order("10")


def test_a_store_is_asked_only_for_what_is_wanted_and_never_for_events() -> None:
    for use, num_queries in (("sft", 1), ("rl", 1), ("both", 2)):
        store = Listed([recorded(1)])
        filters = SessionFilters(limit=5)
        dataset = read_dataset(store, "here", filters, use=use, eval_split_ratio=0.0)  # pyright: ignore[reportArgumentType]
        assert len(store.asked) == num_queries
        assert {query.include_trajectory_events for query in store.asked} == {False}
        assert {query.limit for query in store.asked} == {5}
        assert (bool(dataset.sft.train), bool(dataset.rl.train)) == (use != "rl", use != "sft")
    assert [query.min_reward for query in store.asked] == [0.8, None]


def test_a_run_that_goes_on_sees_only_the_sessions_that_it_was_begun_with() -> None:
    """A better session on the same task came later; its answer must not become the reference."""
    first = recorded(1, task="How far?", metadata={}, reward=SessionReward(score=0.9))
    later = recorded(2, task="How far?", metadata={}, final_answer="Answer: 9")
    assert answers(read([first, later])) == {"How far?": "9"}
    dataset = read([first, later], only_sessions={"1"})
    assert answers(dataset) == {"How far?": "2"}
    assert [d.session for d in dataset.sft.train] == ["1"]


def test_lineage_says_what_was_chosen() -> None:
    assert read([], learning_key="a").filters == {
        "min_reward": 0.8,
        "status_filters": ["succeeded"],
        "learning_key": "a",
        "eval_split_ratio": 0.0,
    }


@pytest.mark.parametrize(
    ("filters", "passing"),
    [
        ({"lanes": ("coach", "auto")}, [1]),
        ({"min_confidence": 0.4}, [1]),
        ({"min_confidence": 0.41}, []),
        ({"certified": True}, [1]),
        ({"certified": False}, [2]),
    ],
)
def test_what_a_session_knows_filters_for_both_uses(
    filters: dict[str, Any], passing: list[int]
) -> None:
    """The second ran in another lane, unsure and uncertified; the third doesn't say."""
    other = replace(SUMMARY, lane="paired", confidence=0.1, certification_run=False)
    sessions = [recorded_by_sdk(1), recorded_by_sdk(2, adaptive_summary=other), recorded(3)]
    dataset = read(sessions, **filters)
    assert [int(d.session) for d in dataset.sft.train] == passing
    assert sorted(int(p.sessions[0]) for p in dataset.rl.train) == passing
    assert (
        dataset.filters.items()
        >= {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in filters.items()
        }.items()
    )


def test_a_limit_counts_what_passes_every_filter() -> None:
    sessions = [recorded(1), recorded_by_sdk(2), recorded_by_sdk(3)]
    assert [d.session for d in read(sessions, lanes=("coach",), limit=1).sft.train] == ["2"]
    assert [d.session for d in read(sessions, limit=1).sft.train] == ["1"]


def test_judges_filter_what_sft_learns_and_whose_answer_is_believed() -> None:
    def judged(number: int, score: float) -> Session:
        judges = (JudgeVerdict(identifier="process", score=score),)
        return recorded_by_sdk(number, reward=SessionReward(score=1.0, judges=judges))

    dataset = read([judged(1, 0.9), judged(2, 0.5)], min_judge={"process": 0.6})
    assert [d.session for d in dataset.sft.train] == ["1"]
    assert answers(dataset) == {"Calculate 1 + 1.": "2"}
    assert dataset.rl.left_out == {"tasks without a reference answer": 1}


def test_failures_without_a_reference_stay_where_the_reward_does_without() -> None:
    sessions = [recorded_by_sdk(1), recorded_by_sdk(2, good=False)]
    assert answers(read(sessions)) == {"Calculate 1 + 1.": "2"}
    kept = read(sessions, keep_unverified=True)
    assert answers(kept) == {"Calculate 1 + 1.": "2", "Calculate 2 + 1.": ""}
    assert not kept.rl.left_out


def test_a_prompt_keeps_what_its_latest_session_knows() -> None:
    first = recorded_by_sdk(1, task="t", triage_dossier={"summary": "old"})
    last = recorded_by_sdk(12, task="t", triage_dossier={"summary": "new"})
    (prompt,) = read([last, first]).rl.train
    assert shown_in(prompt.task)["dossier"] == "new"
    assert prompt.task.metadata[RECORDED]["lane"] == "coach"
    (plain,) = read([recorded(1)]).rl.train
    assert plain.task.metadata[RECORDED] == {"session": "1"}
