"""No part of a password is shown, however it is spelt, and what is no secret stays as it is."""

from __future__ import annotations

import pytest

from atlas.masking import is_masked, mask_secrets

SECRET = "Hunter2"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"postgresql://u:{SECRET}@h:1/d", "postgresql://u:***@h:1/d"),
        (f"postgresql+asyncpg://u:{SECRET}@h/d", "postgresql+asyncpg://u:***@h/d"),
        (f"postgresql://u:s3c@{SECRET}@h/d", "postgresql://u:***@h/d"),
        (f"postgresql://u@corp:{SECRET}@h/d", "postgresql://u@corp:***@h/d"),
        (f"postgresql://u:a/{SECRET}?x#y@h/d", "postgresql://u:***@h/d"),
        (f"postgresql://u:correct {SECRET}@h/d", "postgresql://u:***@h/d"),
        (f"postgresql://:{SECRET}@h", "postgresql://:***@h"),
        (f"https://{SECRET}@host/v1", "https://***@host/v1"),
        (f"https://me:{SECRET}@host/v1", "https://me:***@host/v1"),
        (f"postgresql://h/d?user=u&password={SECRET}", "postgresql://h/d?user=u&password=***"),
        (f"postgresql://h/d?sslpassword={SECRET}", "postgresql://h/d?sslpassword=***"),
        (f"postgresql://h/d?pass%77ord={SECRET}", "postgresql://h/d?pass%77ord=***"),
        (f"https://h/v1?token={SECRET}", "https://h/v1?token=***"),
        (f"host=h password={SECRET} user=u", "host=h password=*** user=u"),
        (f"host=h PASSWORD = {SECRET} x", "host=h PASSWORD = ***"),
        (f"host=h password\t=\t{SECRET}", "host=h password\t=\t***"),
        (f"host=h password='a b {SECRET}' user=u", "host=h password=*** user=u"),
        (f"host=h password='a\\'b x={SECRET}' user=u", "host=h password=*** user=u"),
        (f"host=h password='never closed {SECRET}", "host=h password=***"),
        (f"bad key sk-proj-{SECRET}-0123456789abc.", "bad key sk-***."),
        (f"timeout_s says 'hf_{SECRET}0123456789'", None),
        (f"host=h passwd={SECRET} pwd={SECRET}", "host=h passwd=*** pwd=***"),
        (f"seed: 1\ndb_url: postgresql://u:{SECRET}@h/d\nbeta: 2", None),
        (f"db_url: 'host=h password=''a {SECRET}'''", None),
        (
            f"  judge_api_key: {SECRET}\nhf_token: {SECRET}\n",
            "  judge_api_key: ***\nhf_token: ***\n",
        ),
    ],
)
def test_passwords_are_masked(text: str, shown: str | None) -> None:
    masked = mask_secrets(text)
    assert SECRET not in masked
    assert is_masked(masked)
    assert mask_secrets(masked) == masked
    if shown is not None:
        assert masked == shown


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://localhost:5433/atlas",
        "postgresql://atlas@localhost:5433/atlas",
        "http://localhost:8000/v1",
        "max_new_tokens: 512\nreward_token_bonus: 0.1\n",
        "api_key_env: OPENAI_API_KEY",
        "password:\nseed: 1",
        "org/model@main",
        "data/**/*.jsonl",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert mask_secrets(text) == text
    assert not is_masked(text)
