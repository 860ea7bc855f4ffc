"""Source: prompts with ranked responses, as ``prepare_grpo_data.py`` writes them.

Input: a file of ranked records (data/ranked.py). Output: for SFT the best response of each
prompt; for RL the prompts whose answers can be verified. So what a model learned from offline
(``atlas ranked``) is what GRPO goes on with, by samples of its own. For lineage a record is named
by its place in the file, counted from 0.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path

from atlas.data.ranked import RankedRecord, read_ranked
from atlas.data.samples import Samples, TraceDataset, Use, dialogue_samples, prompt_samples
from atlas.errors import AtlasError
from atlas.prompts import Message


def get_ranked_dataset(
    ranked_path: str | Path | None = None,
    *,
    eval_split_ratio: float = 0.1,
    limit: int | None = None,
    use: Use = "both",
    only_sessions: Collection[str] | None = None,
) -> TraceDataset:
    """Return the samples of a file of ranked records.

    Args:
        ranked_path: A JSON or JSONL file.
        eval_split_ratio: Share of the prompts that is held out.
        limit: At most so many records, the first.
        only_sessions: No other record counts.

    Raises:
        AtlasError: No file is named, it can't be read, or a record is broken.
    """
    if ranked_path is None:
        raise AtlasError("give ranked_path=…, a file that prepare_grpo_data.py wrote")
    numbered = ((str(place), record) for place, record in enumerate(read_ranked(ranked_path)))
    records = [
        (key, record)
        for key, record in itertools.islice(numbered, limit)
        if only_sessions is None or key in only_sessions
    ]
    chosen = {"limit": limit, "eval_split_ratio": eval_split_ratio}
    return TraceDataset(
        source=str(ranked_path),
        filters={name: value for name, value in chosen.items() if value is not None},
        sft=dialogue_samples(
            ((key, _best(record)) for key, record in records), eval_split_ratio, reason=""
        )
        if use != "rl"
        else Samples(),
        rl=prompt_samples(
            ((key, record.task) for key, record in records),
            eval_split_ratio,
            reason="records without a task that verifies an answer",
        )
        if use != "sft"
        else Samples(),
    )


def _best(record: RankedRecord) -> tuple[str, tuple[Message, ...]]:
    """Return a prompt, and the dialogue in which it gets the best of its responses."""
    best = max(range(len(record.scores)), key=record.scores.__getitem__)
    asked: Message = {"role": "user", "content": record.prompt}
    answered: Message = {"role": "assistant", "content": record.responses[best]}
    return record.prompt, (asked, answered)
