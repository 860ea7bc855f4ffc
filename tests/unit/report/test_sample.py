from atlas.report.sample import Sample, Token, sample_lines


def _told(**columns):
    row = (
        Token(id=1, text="Add", learned=False, logprob=0.0),
        Token(id=2, text="7", learned=True, logprob=-0.25),
    )
    return "\n".join(sample_lines(Sample(columns=columns, rows=(row,), source="traces.jsonl")))


def test_a_sample_in_words():
    text = _told(
        **{"step": 3, "group": 0, "question": "7 + 1?", "teaching": "Add.", "reward": 0.5},
        **{"advantage": -0.5, "part_uplift": 0.0, "reward_uplift": 0.0, "session": "17"},
        **{"turns": 2, "leaked": ""},
    )
    assert "step 3, group 0" in text
    assert "session 17 of traces.jsonl" in text
    assert "reward 0.5000" in text
    assert "uplift 0.0000, adds +0.0000" in text
    assert "advantage -0.5000" in text
    assert "besides: turns 2" in text
    assert "2, of which 1 are learned; log-probability -0.2500" in text


def test_what_is_in_no_loss_says_so():
    text = _told(reward=None, advantage=None, reason="the judge was down")
    assert "its scorer abstained" in text
    assert "reason: the judge was down" in text
    assert "it is in no loss" in text
