"""What prompts begin with in common, so that it is computed once.

The prompts of a call share their instructions and examples, and those of a group of attempts the
task as well::

    You are ... | There are 3 boxes ... | What is 3 * 4?     stem: up to the second bar
    You are ... | There are 3 boxes ... | Count the boxes.   the same stem
    You are ... | Tom reads 5 pages ... | What is 5 * 7?     stem: up to the first bar

Input: prompts. Output: how many tokens of each one are its stem. Stems are prompts in turn, that
may begin alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from atlas.rollouts.generator import Prompt

# Fewest tokens that are worth a pass of their own.
_SHORTEST = 16


def stem_lengths(prompts: Sequence[Prompt]) -> list[int]:
    """Return for each prompt how many of its first tokens are shared with others; 0: none.

    A prompt always has a token behind its stem, also where it is there twice. Each further stem is
    at least 16 tokens longer than the one that it begins with.
    """
    lengths = [0] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda i: tuple(prompts[i]))
    waiting = [(order, 0)] if len(prompts) > 1 else []
    while waiting:
        places, known = waiting.pop()
        # Of sorted sequences the first and the last have in common what all have.
        common = _common(prompts[places[0]], prompts[places[-1]])
        stem = min(common, *(len(prompts[i]) - 1 for i in places))
        if stem - known >= _SHORTEST:
            known = stem
            for i in places:
                lengths[i] = stem
        parts: dict[tuple[int, ...], list[int]] = {}
        for i in places:
            parts.setdefault(tuple(prompts[i][common : common + 1]), []).append(i)
        if len(parts) > 1:
            waiting += [(part, known) for part in parts.values() if len(part) > 1]
    return lengths


def _common(one: Prompt, other: Prompt) -> int:
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))
