"""Checkpoints that are written while the training goes on.

Input: an engine, after a step. Output: a folder that is a checkpoint once all of it lies on the
disk with its digests; until then it has another name, and the one before it is the newest.

    the training   waits until each rank holds copies of its part in CPU memory
    a thread       writes the part, tells the others its digests; rank 0's gives the folder its name

Every rank that sees the folder of rank 0 writes a part. One that doesn't (another machine, no
shared disk) writes none.
"""

from __future__ import annotations

import copy
import shutil
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from atlas.errors import AtlasError
from atlas.models.checkpoints import begin_checkpoint, finish_checkpoint
from atlas.models.lora import is_adapted
from atlas.models.parts import Written, write_part
from atlas.parallel.distributed import Ranks, SharedError
from atlas.parallel.engine.protocol import Engine
from atlas.run.files import disk_errors


class Saver:
    """Writes one checkpoint at a time.

    Args:
        ranks: Who trains together.
        done: Called on rank 0 with a checkpoint that is whole.
    """

    def __init__(self, ranks: Ranks, done: Callable[[Path], None]) -> None:
        self._ranks = ranks
        self._beside = ranks.beside()
        self._done = done
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(
        self,
        folder: Path,
        engine: Engine,
        tokenizer: PreTrainedTokenizerBase,
        state: Mapping[str, Any],
        extra: dict[str, str],
    ) -> None:
        """Copy all that belongs to a checkpoint and begin to write it; every rank calls this.

        Args:
            state: Of the training, without its engine's.

        Raises:
            AtlasError: This one can't be begun, or the one before couldn't be written.
        """
        self.wait()
        what, ranks = f"checkpoint {folder.name}", self._ranks
        adapted = is_adapted(engine.model)
        if adapted:
            engine.refresh()
        temporary = ranks.on_main(
            lambda: begin_checkpoint(folder, engine.model, tokenizer, extra=extra), what
        )
        sees = [rank for rank, seen in enumerate(ranks.gather(temporary.is_dir(), what)) if seen]
        part = sees.index(ranks.rank) if ranks.rank in sees else None
        weights = {} if adapted else engine.weights(part, len(sees))
        of_engine = engine.state(part, len(sees))
        if part:  # the rest of it is in the first part
            own: dict[str, Any] = {
                "engine": {"optimizer": {"state": of_engine["optimizer"]["state"]}}
            }
        else:
            own = {**copy.deepcopy(dict(state)), "engine": of_engine}

        def write() -> Written:
            if part is None:
                return Written()
            with disk_errors(folder):
                return write_part(temporary, weights, own, part, len(sees))

        # No daemon: what was begun is finished where the process ends with an error.
        self._thread = threading.Thread(
            target=self._written, args=(folder, temporary, write, what), name=what
        )
        self._thread.start()

    def wait(self) -> None:
        """Wait until what was begun is a checkpoint.

        Raises:
            AtlasError: It couldn't be written.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _written(
        self, folder: Path, temporary: Path, write: Callable[[], Written], what: str
    ) -> None:
        """Write this rank's part; of rank 0's, make a checkpoint once all have."""
        ranks = self._beside
        refusal: tuple[str, int] | None = None
        found = Written()
        try:
            try:
                found = write()
            except AtlasError as error:
                refusal = str(error), error.exit_code
            except (OSError, RuntimeError, ValueError) as error:
                refusal = f"{folder} can't be written by rank {ranks.rank}: {error}", 1
            parts = ranks.gather((found, refusal), what)
            for _, refused in parts:
                if refused is not None:
                    if ranks.is_main:
                        shutil.rmtree(temporary, ignore_errors=True)
                    raise SharedError(*refused)
            ranks.on_main(
                lambda: finish_checkpoint(folder, temporary, [one for one, _ in parts]), what
            )
            if ranks.is_main:
                self._done(folder)
        except BaseException as error:  # raised where the training waits for it
            self._error = error
