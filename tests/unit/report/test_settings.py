from atlas.report.settings import changed_settings


def test_only_what_differs_from_the_defaults_is_told():
    text = "beta: 0.04\nlearning_rate: 0.5\nmax_steps: 3\nstatus_filters: [succeeded]\nold_key: 1\n"
    found = {one.key: one for one in changed_settings("grpo/config.yaml", text, "quickstart")}
    assert set(found) == {"learning_rate", "max_steps"}
    assert found["learning_rate"].value == "0.5"
    assert found["learning_rate"].default == "5e-07"


def test_a_broken_file_and_an_unknown_job_tell_nothing():
    assert changed_settings("config.yaml", "a: [", "grpo") == ()
    assert changed_settings("config.yaml", "beta: 1", "run") == ()
