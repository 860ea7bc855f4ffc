from atlas.report.curves import panels, thinned
from atlas.run.goals import bounds_in

BOUNDS = {stage: bounds_in(stage, {}) for stage in ("sft", "grpo")}
LINE = ((1.0, 0.5), (2.0, 0.75))


def drawn(*runs, names=(), banded=False, bounds=BOUNDS):
    found = panels([{"grpo": run} for run in runs], bounds, names, banded=banded)
    return {panel["title"]: panel for panel in found}


def test_only_what_was_logged_is_drawn():
    found = drawn({"train/reward": LINE, "train/accuracy_alone": ((1.0, 0.4),)})
    assert list(found) == ["Reward", "Accuracy"]
    (line,) = found["Reward"]["lines"]
    assert line == {
        **{"label": "reward", "colour": 0, "dash": 0},
        **{"x": [1.0, 2.0], "y": [0.5, 0.75]},
    }


def test_parts_phases_and_causes_have_lines_of_their_own():
    logged = {"train/reward": LINE, "reward/uplift": LINE, "reward/rim": LINE, "time/update": LINE}
    logged |= {"train/dead_groups": LINE, "train/dead_groups_right": LINE}
    logged |= {"canary/accuracy_taught": LINE, "canary/alarm": LINE}
    found = drawn(logged)
    labels = {title: [line["label"] for line in panel["lines"]] for title, panel in found.items()}
    assert labels["Reward"] == ["reward", "uplift", "rim"]
    assert labels["Phases of a step"] == ["update"]
    assert labels["Dead groups"] == ["all dead groups", "all right"]
    assert labels["Accuracy"] == ["canary, accuracy taught"]
    several = drawn(logged, logged, names=("a", "b"))["Reward"]["lines"]
    assert [line["label"] for line in several] == ["reward, a", "reward, b"]


def test_what_is_healthy_is_drawn_as_the_run_was_held_against_it():
    logged = {"train/kl": LINE, "train/kl_per_token": LINE, "train/non_degrade_rate": LINE}
    found = drawn(logged)
    assert found["KL per sequence"]["band"] == [0.5, 2.0]
    assert found["KL per token"]["band"] is None
    assert found["Non-degradation"]["band"] == [0.95, 0.95]
    other = drawn(logged, bounds={"grpo": bounds_in("grpo", {"goal_kl_high": 3.0})})
    assert other["KL per sequence"]["band"] == [0.5, 3.0]


def test_runs_have_a_line_each_and_seeds_a_band():
    runs = [{"train/kl": LINE}, {"train/kl": ((1.0, 1.5), (3.0, 9.0))}]
    lines = drawn(*runs, names=("a", "b"))["KL per sequence"]["lines"]
    assert [line["label"] for line in lines] == [
        "KL to the first teacher, a",
        "KL to the first teacher, b",
    ]
    assert [(line["colour"], line["dash"]) for line in lines] == [(0, 0), (1, 0)]
    (line,) = drawn(*runs, banded=True)["KL per sequence"]["lines"]
    assert line == {
        "label": "KL to the first teacher, mean of 2 seeds",
        **{"colour": 0, "dash": 0},
        **{"x": [1.0], "y": [1.0], "low": [0.5], "high": [1.5]},
    }


def test_a_long_line_is_thinned_to_means():
    curve = tuple((float(step), float(step % 2)) for step in range(1, 9))
    assert thinned(curve, 4) == ((1.5, 0.5), (3.5, 0.5), (5.5, 0.5), (7.5, 0.5))
    assert thinned(curve) == curve
