"""Texts that end a completion, where they fall between tokens."""

from __future__ import annotations

from tests.unit.tiny_models import tiny_tokenizer

from atlas.rollouts.local.stop_strings import StopStrings


def first_end(text: str, stop: list[str], *, special_after: int | None = None) -> str | None:
    """The text up to the token with which one of the stop texts is first found."""
    tokenizer = tiny_tokenizer()
    ids = tokenizer.encode(text, add_special_tokens=False)
    if special_after is not None:
        ids.insert(special_after, tokenizer.eos_token_id)
    finder = StopStrings(tokenizer, stop)
    for end in range(1, len(ids) + 1):
        if finder.complete([ids[:end]])[0]:
            return tokenizer.decode(ids[:end], skip_special_tokens=True)
    return None


def test_a_text_is_found_with_the_token_that_completes_it() -> None:
    text = "B = 1 + A. Answer B. The end, or so."
    found = first_end(text, ["er B. Th"])
    assert found is not None
    assert text.startswith(found)
    assert "er B. Th" in found
    tokenizer = tiny_tokenizer()
    shorter = tokenizer.decode(tokenizer.encode(found, add_special_tokens=False)[:-1])
    assert "er B. Th" not in shorter


def test_the_first_of_several_ends_it_and_absent_ones_do_not() -> None:
    text = "Answer B. Answer: 7 Answer: 8"
    assert first_end(text, ["8", "7"]) == "Answer B. Answer: 7"
    assert first_end(text, ["nothing"]) is None


def test_long_texts_and_characters_of_several_bytes_are_found() -> None:
    long = "Calculate 1 + 2 * 3. A = 2 * 3. B = 1 + A."
    assert first_end("xyz " + long + " more", [long]) is not None
    assert first_end("a → b ✓ c", ["→ b ✓"]) == "a → b ✓"
    assert first_end("✓✓✓", ["✓✓"]) == "✓✓"


def test_special_tokens_between_do_not_hide_it() -> None:
    assert first_end("Answer: 7 END", ["7 END"], special_after=-1) == "Answer: 7 END"


def test_rows_are_told_apart() -> None:
    tokenizer = tiny_tokenizer()
    rows = [tokenizer.encode(text, add_special_tokens=False) for text in ("A. END", "A. EN", "END")]
    assert StopStrings(tokenizer, ["END"]).complete(rows) == [True, False, True]
