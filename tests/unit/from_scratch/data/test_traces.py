from __future__ import annotations

from atlas.from_scratch.data.traces import ranked_from_sessions
from atlas.session import Session, SessionReward


def session(task: str, answer: str | None, score: float | None) -> Session:
    reward = None if score is None else SessionReward(score=score)
    return Session(task=task, final_answer=answer, reward=reward)


def test_sessions_of_a_task_are_ranked_by_reward() -> None:
    records, left_out = ranked_from_sessions(
        [
            session("a", "good", 0.9),
            session("b", "only", 1.0),
            session("a", " bad ", 0.1),
            session("a", "bad", 0.3),  # judged again, better
            session("a", None, 0.5),
            session("a", "unscored", None),
            session("c", "x", 0.5),
            session("c", "y", 0.5),
        ],
        responses_per_prompt=5,
    )
    assert left_out == {
        "tasks have one answer or equal rewards": 2,
        "sessions have no answer or no reward": 2,
    }
    (record,) = records
    assert (record.prompt, record.responses, record.scores) == ("a", ("good", "bad"), (0.9, 0.3))


def test_of_many_answers_the_best_the_worst_and_some_between_are_kept() -> None:
    sessions = [session("a", str(i), i / 10) for i in range(11)]
    (record,), _ = ranked_from_sessions(sessions, responses_per_prompt=3)
    assert record.scores == (1.0, 0.5, 0.0)
