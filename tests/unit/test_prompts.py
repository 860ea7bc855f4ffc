from __future__ import annotations

import pytest

from atlas.prompts import PLACEHOLDERS, render


def test_a_prompt_is_one_message_of_the_user() -> None:
    assert render("attempt", task="Calculate 1 + 2.", teaching="A = 1 + 2. Answer A.") == [
        {
            "role": "user",
            "content": "Calculate 1 + 2.\nTeacher: A = 1 + 2. Answer A.\n"
            'End with "Answer:" and your answer.',
        }
    ]


def test_braces_in_what_is_filled_in_stay_as_they_are() -> None:
    (message,) = render("attempt", task='{teaching} {"a": {}}', teaching="{task}")
    assert message["content"].startswith('{teaching} {"a": {}}\nTeacher: {task}\n')


@pytest.mark.parametrize("kind", PLACEHOLDERS)
def test_every_blank_is_filled_and_none_is_left(kind) -> None:
    values = {name: f"<{name}>" for name in PLACEHOLDERS[kind]}
    content = render(kind, **values)[0]["content"]
    assert all(value in content for value in values.values())
    assert "{" not in content
    assert content == content.strip()


def test_a_missing_value_is_named() -> None:
    with pytest.raises(KeyError, match="prompt 'teaching' lacks approach"):
        render("teaching", task="Calculate 1 + 2.")
