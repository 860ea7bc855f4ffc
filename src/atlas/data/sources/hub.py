"""Source: a data set of the Hugging Face hub, or a local folder, parquet, JSON, JSONL or CSV file.

Input: rows (columns.py says which columns are read). Output: dialogues for SFT, tasks for RL.
Rows have no reward, so nothing is filtered but by ``limit``. For lineage a row is named by its
column ``id`` (or ``problem_id``), else by its number.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, cast

from datasets import config as library
from datasets import load_dataset, load_from_disk
from datasets.exceptions import DatasetsError
from datasets.utils.logging import disable_progress_bar

from atlas.data.samples import Samples, TraceDataset, Use, dialogue_samples, prompt_samples
from atlas.data.sources.columns import Row, dialogue_in, find_columns, task_in
from atlas.errors import AtlasError
from atlas.machine.hub import local_files_only

_NAMES: Final = ("id", "problem_id")
_READERS: Final = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json"}

# The commands draw their own progress.
disable_progress_bar()


def get_hub_dataset(
    dataset_name_or_path: str | Path | None = None,
    *,
    dataset_config: str | None = None,
    dataset_files: str | None = None,
    dataset_split: str = "train",
    eval_split_ratio: float = 0.1,
    limit: int | None = None,
    use: Use = "both",
    only_sessions: Collection[str] | None = None,
) -> TraceDataset:
    """Return the samples of a data set's rows.

    Args:
        dataset_name_or_path: Its name on the hub, or a local folder or file.
        dataset_split: Which of its splits is read; ours is made by task.
        eval_split_ratio: Share of the tasks that is held out.
        limit: At most so many rows, the first.
        use: ``both`` gives what the columns allow, at least one of the two.
        only_sessions: No other row counts.

    Raises:
        AtlasError: It can't be loaded, or lacks columns; those that it has are named.
    """
    if dataset_name_or_path is None:
        raise AtlasError("give dataset_name_or_path=…, a name on the hub, a folder or a file")
    name = str(dataset_name_or_path)
    all_rows = read_rows(name, dataset_config, dataset_files, dataset_split)
    first = next(all_rows(), None)
    if first is None:
        raise AtlasError(f"data set {name} has no row in its split {dataset_split}")
    columns = find_columns(name, first.keys(), use)

    def rows() -> Iterator[tuple[str, Row]]:
        for place, row in enumerate(itertools.islice(all_rows(), limit)):
            key = next((str(row[name]) for name in _NAMES if row.get(name) is not None), str(place))
            if only_sessions is None or key in only_sessions:
                yield key, row

    chosen = {
        "dataset_config": dataset_config,
        "dataset_files": dataset_files,
        "dataset_split": dataset_split,
        "limit": limit,
        "eval_split_ratio": eval_split_ratio,
    }
    return TraceDataset(
        source=name,
        filters={key: value for key, value in chosen.items() if value is not None},
        sft=dialogue_samples(
            ((key, dialogue_in(row, columns)) for key, row in rows()),
            eval_split_ratio,
            reason="rows without a question and an answer of the assistant",
        )
        if columns.teachings
        else Samples(),
        rl=prompt_samples(
            ((key, task_in(row, columns)) for key, row in rows()),
            eval_split_ratio,
            reason="rows without a question and a reference answer",
        )
        if columns.question
        else Samples(),
    )


def read_rows(
    name: str, config: str | None, files: str | None, split: str
) -> Callable[[], Iterator[Row]]:
    """Return a function that goes through the rows; a local set is streamed, and never copied."""
    path = Path(name)
    loaded: Any
    try:
        if path.is_file():
            reader = _READERS.get(Path(path.name.removesuffix(".gz")).suffix)
            if reader is None:
                raise AtlasError(f"{path} is no parquet, CSV, JSON or JSONL file")
            loaded = load_dataset(reader, data_files=str(path), split="train", streaming=True)
        elif (path / "state.json").is_file():
            loaded = load_from_disk(str(path))
        elif path.is_dir():
            loaded = load_dataset(name, config, data_files=files, split=split, streaming=True)
        else:
            with _offline_where_no_hub_answers(name):
                loaded = load_dataset(name, config, data_files=files, split=split)
    except (OSError, ValueError, DatasetsError) as error:
        raise _unloadable(name, error) from error

    def rows() -> Iterator[Row]:
        try:
            yield from cast("Iterable[Row]", loaded)
        except (OSError, ValueError, DatasetsError) as error:
            raise _unloadable(name, error) from error

    return rows


@contextlib.contextmanager
def _offline_where_no_hub_answers(name: str) -> Iterator[None]:
    """Take the set from the library's cache at once, where its hub would be asked in vain.

    The library's own switch is the only way to tell it; it is looked at in every call.
    """
    before = library.HF_HUB_OFFLINE
    library.HF_HUB_OFFLINE = before or local_files_only(name)
    try:
        yield
    finally:
        library.HF_HUB_OFFLINE = before


def _unloadable(name: str, error: Exception) -> AtlasError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if isinstance(error, ConnectionError) and local_files_only(name):
        # The library speaks of its switch, which the user hasn't touched.
        reason = "the hub's cache hasn't got it, and no hub can be reached"
    return AtlasError(
        f"data set {name} can't be loaded: {reason.rstrip('.')}; check its name and the network, "
        "or give a local folder or file"
    )
