"""The best model of a run by its loss on held-out examples, kept beside the checkpoints.

Input: the loss after each measurement. Output: ``checkpoints/best``, a model folder that says in
``best.json`` which step it is and what its loss was. The folder is the only memory of it: a run
that goes on from a checkpoint compares with what is there. It stays when the run has ended: a kill
between the last model and the mark that the run is finished must not lose it.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from atlas.errors import AtlasError
from atlas.json_file import read_json
from atlas.models.checkpoints import is_whole
from atlas.parallel.distributed import ALONE, Ranks

_RECORD = "best.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A loss on held-out examples, and after which step it was measured."""

    step: int
    eval_loss: float


class BestModel:
    """Keeps the weights of the lowest loss.

    Args:
        checkpoints: Folder of the run's checkpoints.
        resumed: The run goes on; otherwise what an earlier attempt kept is forgotten.
        save: Writes a model folder, with the text files ``extra`` in it.
        refresh: Brings the model that is saved up to date; all ranks take part.
        ranks: Who trains together: all of them decide alike, rank 0 writes.
    """

    def __init__(
        self,
        checkpoints: Path,
        *,
        resumed: bool,
        save: Callable[..., None],
        refresh: Callable[[], None] = lambda: None,
        ranks: Ranks = ALONE,
    ) -> None:
        self._refresh = refresh
        self.folder = checkpoints / "best"
        self._save = save
        self._writes = ranks.is_main
        kept = self._read() if resumed and ranks.is_main else None
        self.best: Measured | None = ranks.broadcast(kept, "the best model so far")
        if not self.best:
            self._forget()

    def offer(self, step: int, eval_loss: float) -> bool:
        """Keep the model as it is now if its loss is the lowest so far; tell whether it is."""
        if math.isnan(eval_loss) or (self.best and eval_loss >= self.best.eval_loss):
            return False
        self.best = Measured(step=step, eval_loss=eval_loss)
        self._refresh()
        if self._writes:
            self._save(self.folder, extra={_RECORD: json.dumps(asdict(self.best)) + "\n"})
        return True

    def _forget(self) -> None:
        if self._writes:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self) -> Measured | None:
        if not is_whole(self.folder):
            return None
        record = read_json(self.folder / _RECORD)
        step, loss = record.get("step"), record.get("eval_loss")
        if type(step) is not int or not isinstance(loss, int | float):
            raise AtlasError(
                f"{self.folder / _RECORD} doesn't say which step is the best, at what "
                "loss; remove the folder, and the best one is sought from here on"
            )
        return Measured(step=step, eval_loss=float(loss))
