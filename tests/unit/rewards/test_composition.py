"""Parts to one reward, worked by hand: weights, caps, gates, abstentions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from atlas.errors import AtlasError
from atlas.rewards.composition import Part, Reward, compose_group, parts_of
from atlas.types import Attempt, Leak, Lesson, Score, Task, Utterance, Verdict

TASK = Task(question="Calculate 2 + 3.", answer="5", family="chain_sum")
UPLIFT = Part(name="uplift")
GATED = Part(name="rim", weight=0.5, cap=1.0, gate="right", required=False)


def lesson(*, right: bool = True, leaked: bool = False) -> Lesson:
    return Lesson(
        task=TASK,
        attempt=Attempt(verdict=Verdict(score=float(right), parsed=True)),
        leak=Leak(kind="stated", reason="states it") if leaked else None,
    )


def score(value: float | None, reason: str = "") -> Score:
    return Score(value=value, reason=reason)


def composed(parts: tuple[Part, ...], *members: tuple[Lesson, dict[str, Score]]) -> list[Score]:
    lessons = [one for one, _ in members]
    return compose_group(parts, [scores for _, scores in members], lessons)


def test_weights_by_hand_and_every_part_by_itself() -> None:
    uplift = Score(
        value=1.05,
        parts={"uplift": 1.0, "dense": 0.5, "leaked": 0.0},
        weighted={"uplift": 1.0, "dense": 0.05},
    )
    rim = Score(value=0.8, parts={"process": 0.8})
    (found,) = composed((UPLIFT, GATED), (lesson(), {"uplift": uplift, "rim": rim}))
    assert found.value == pytest.approx(1.05 + 0.5 * 0.8)
    assert found.weighted == pytest.approx({"uplift": 1.0, "dense": 0.05, "rim": 0.4})
    assert sum(found.weighted.values()) == pytest.approx(found.value)
    assert {"dense": 0.5, "rim": 0.8, "rim_process": 0.8, "rim_abstained": 0.0}.items() <= dict(
        found.parts
    ).items()


def test_uplift_alone_is_what_it_was_to_the_last_bit() -> None:
    values = [0.1 + 0.2, -1.5, 1e-17, 0.07]
    found = composed((UPLIFT,), *((lesson(), {"uplift": score(value)}) for value in values))
    assert [one.value for one in found] == values


def test_a_cap_cuts_either_side() -> None:
    own = Part(name="own", weight=2.0, cap=0.5)
    found = composed((own,), *((lesson(), {"own": score(v)}) for v in (3.0, -3.0, 0.25)))
    assert [one.value for one in found] == [1.0, -1.0, 0.5]
    assert [one.parts["own"] for one in found] == [3.0, -3.0, 0.25]  # as it was said


@pytest.mark.parametrize(("right", "leaked", "value"), [(True, False, 1.4), (False, False, 1.0)])
def test_judges_give_nothing_where_the_verifier_says_wrong(
    right: bool, leaked: bool, value: float
) -> None:
    scores = {"uplift": score(1.0), "rim": score(0.8)}
    (found,) = composed((UPLIFT, GATED), (lesson(right=right, leaked=leaked), scores))
    assert found.value == pytest.approx(value)
    assert ("rim" in found.parts) is right


def test_a_leak_earns_nothing_from_any_part_but_uplift() -> None:
    ungated = Part(name="rim", weight=0.5)
    scores = {"uplift": score(-0.1), "rim": score(1.0), "own": score(1.0)}
    parts = (UPLIFT, ungated, Part(name="own"))
    (found,) = composed(parts, (lesson(leaked=True), scores))
    assert found.value == -0.1


def test_a_required_part_that_abstains_makes_the_whole_abstain() -> None:
    own = Part(name="own", required=True)
    silent = {"uplift": score(1.0), "own": score(None, "no idea")}
    told = {"uplift": score(1.0), "own": score(0.5)}
    first, second = composed((UPLIFT, own), (lesson(), silent), (lesson(), told))
    assert (first.value, first.reason, first.weighted) == (None, "own: no idea", {})
    assert first.parts["own_abstained"] == 1.0
    assert second.value == 1.5


def test_for_an_optional_part_its_group_s_mean_stands_in() -> None:
    values: list[float | None] = [0.2, None, 0.6]
    members = [(lesson(), {"uplift": score(1.0), "rim": score(v)}) for v in values]
    found = composed((UPLIFT, GATED), *members)
    assert [one.value for one in found] == pytest.approx([1.1, 1.2, 1.3])


def test_the_stand_in_is_the_mean_of_those_that_were_asked() -> None:
    members = [
        (lesson(), {"uplift": score(1.0), "rim": score(0.2)}),
        (lesson(), {"uplift": score(1.0), "rim": score(None)}),
        (lesson(right=False), {"uplift": score(0.0), "rim": score(1.0)}),
    ]
    assert [one.value for one in composed((UPLIFT, GATED), *members)] == pytest.approx(
        [1.1, 1.1, 0.0]
    )


def test_where_no_member_has_an_optional_part_it_is_left_out_for_all() -> None:
    member = (lesson(), {"uplift": score(0.7), "rim": score(None, "outage")})
    found = composed((UPLIFT, GATED), member, member)
    assert [one.value for one in found] == [0.7, 0.7]
    assert found[0].reason == "rim: outage"


def test_the_presets() -> None:
    assert parts_of("uplift", available={"uplift", "rim"}) == (UPLIFT,)
    assert parts_of("hybrid", available={"uplift"}) == (UPLIFT,)
    hybrid = parts_of("hybrid", available={"rim"}, judge_weight=0.5)
    assert hybrid == (UPLIFT, GATED)
    judges, logged = parts_of("rim_offline", available={"rim"})
    assert (judges.name, judges.weight, judges.gate, judges.required) == (
        "rim",
        1.0,
        "always",
        True,
    )
    assert (logged.name, logged.weight, logged.required) == ("uplift", 0.0, False)
    own = Part(name="own")
    assert parts_of("uplift", available=set(), own=own)[-1] == own
    with pytest.raises(AtlasError, match="reward=rim_offline is made of judges"):
        parts_of("rim_offline", available={"uplift"})


def test_a_part_of_weight_0_is_logged_and_changes_nothing() -> None:
    parts = parts_of("rim_offline", available={"rim"})
    uplift = Score(value=None, reason="no verifier")
    (found,) = composed(parts, (lesson(), {"uplift": uplift, "rim": score(0.8)}))
    assert found.value == 0.8
    uplift = Score(value=1.0, parts={"uplift": 1.0}, weighted={"uplift": 1.0})
    (found,) = composed(parts, (lesson(), {"uplift": uplift, "rim": score(0.8)}))
    assert (found.value, found.parts["uplift"], found.weighted["uplift"]) == (0.8, 1.0, 0.0)


def withheld(value: float | None) -> Lesson:
    teaching = Utterance(withheld="unfinished_thoughts", num_tokens=8)
    return replace(lesson(), teaching=teaching, score=Score(value=value, parts={"uplift": 0.0}))


@pytest.mark.parametrize(
    ("values", "own", "expected"),
    [
        ((1.0, -1.5), 0.0, -1.5),  # the least of its group
        ((1.0, 0.5), 0.0, 0.0),  # no more than for nothing
        ((None, 1.0), None, 1.0),
        ((None,), 0.0, None),  # nothing to compare it with
        ((), 0.0, None),
    ],
)
def test_a_teaching_that_was_withheld_earns_least(
    values: tuple[float | None, ...], own: float | None, expected: float | None
) -> None:
    others = tuple(replace(lesson(), score=score(value)) for value in values)
    (group,) = Reward().of([(*others, withheld(own), withheld(own))])
    assert [one.score.value for one in group] == [*values, expected, expected]
    last = group[-1].score
    assert (last.parts, last.reason) == ({"uplift": 0.0}, "unfinished_thoughts")
    assert last.weighted == ({} if expected is None else {"withheld": expected})


def test_judges_are_not_asked_about_a_teaching_that_was_withheld() -> None:
    asked: list[Lesson] = []

    def judges(lessons: Sequence[Lesson]) -> list[Score]:
        asked.extend(lessons)
        return [score(0.5)] * len(lessons)

    told = replace(lesson(), score=score(1.0))
    Reward(parts=(UPLIFT, GATED), scorers={"rim": judges}).of([(told, withheld(0.0))])
    assert asked == [told]
