from __future__ import annotations

import pytest

from atlas.session import (
    MISSING,
    JudgeVerdict,
    Plan,
    PlanStep,
    Session,
    SessionReward,
    Step,
    StepAttempt,
    TrajectoryEvent,
)


def test_missing_is_false_and_not_none():
    assert not MISSING
    assert JudgeVerdict(rationale=None).rationale is None
    assert JudgeVerdict(rationale=None).score is MISSING


def test_a_plan_left_out_is_made_of_the_steps():
    session = Session(
        task="t", steps=(Step(id=1, description="First."), Step(id=2, depends_on=(1,)))
    )

    assert session.plan == Plan(
        steps=(
            PlanStep(id=1, description="First."),
            PlanStep(id=2, description="", depends_on=(1,)),
        )
    )
    assert session.steps[1].description == ""


def test_without_steps_there_is_no_plan():
    assert Session(task="t").plan is None


def test_steps_take_what_the_plan_says_of_them_the_first_of_two_with_one_id():
    plan = Plan(
        steps=(
            PlanStep(id=2, description="Two.", depends_on=(1,)),
            PlanStep(id=2, description="Another."),
        )
    )
    session = Session(task="t", plan=plan, steps=(Step(id=2), Step(id=3)))

    assert (session.steps[0].description, session.steps[0].depends_on) == ("Two.", (1,))
    assert session.steps[1].description is MISSING


def test_a_step_that_contradicts_the_plan_is_refused():
    plan = Plan(steps=(PlanStep(id=1, description="One."),))

    with pytest.raises(ValueError, match="step 1 is described as 'Other'"):
        Session(task="t", plan=plan, steps=(Step(id=1, description="Other"),))
    with pytest.raises(ValueError, match="step 1 depends on"):
        Session(task="t", plan=plan, steps=(Step(id=1, depends_on=(7,)),))


@pytest.mark.parametrize(
    ("reward", "stats", "score"),
    [
        (None, MISSING, None),
        (SessionReward(score=0.5), MISSING, 0.5),
        (SessionReward(score=0.5), {"score": 0.9}, 0.5),
        (SessionReward(score=None), {"score": 0.9}, 0.9),
        (SessionReward(), {"score": "0.9"}, None),
        (SessionReward(score=True), None, None),
    ],
)
def test_the_score_is_the_rewards_else_the_statistics(reward, stats, score):
    assert Session(task="t", reward=reward, reward_stats=stats).score == score


def test_the_score_is_repeated_in_the_statistics_where_none_are_given():
    assert Session(task="t", reward=SessionReward(score=0.5)).reward_stats == {"score": 0.5}
    assert (
        Session(task="t", reward=SessionReward(score=0.5), reward_stats=None).reward_stats is None
    )


def test_the_number_of_attempts_is_counted_unless_it_was_recorded():
    attempts = (StepAttempt(attempt=1), StepAttempt(attempt=2))

    assert Step(id=1).num_attempts == 1
    assert Step(id=1, attempts=attempts).num_attempts == 2
    assert Step(id=1, attempts=attempts, num_attempts=5).num_attempts == 5


def test_the_type_of_an_event_is_read_from_either_field():
    assert TrajectoryEvent(event={"event_type": "LLM_END"}).type == "LLM_END"
    assert TrajectoryEvent(event={"type": "TOOL_END"}).type == "TOOL_END"
    assert TrajectoryEvent(event=["LLM_END"]).type is None
