"""Where a training run goes on from, and when it saves: the same for every loop.

Input: the folder of a run's checkpoints. Output: the newest whole one, its state, and new ones as
they fall due or as the user asks to stop. Of several ranks rank 0 decides which it is. Those that
see the folder read their share there and write a part (saving.py); others get theirs from rank 0.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from atlas.config.parts.record import RecordConfig
from atlas.config.parts.run import RunConfig
from atlas.models.checkpoints import (
    damaged_checkpoints,
    load_state,
    newest_checkpoint,
    not_a_state,
    prune_checkpoints,
    remove_unfinished,
    step_name,
)
from atlas.models.manifest import MANIFEST, sha256
from atlas.parallel.distributed import ALONE, Ranks
from atlas.parallel.engine.protocol import Engine
from atlas.run.prompts_kept import model_files
from atlas.run.run_dir import RunDir
from atlas.run.stopping import StopRequest
from atlas.training.chain import Chain, fingerprint
from atlas.training.loop import Window
from atlas.training.saving import Saver

_log = logging.getLogger(__name__)


def resumable(
    run: RunDir, config: RecordConfig, *, total_steps: int, stop: StopRequest, ranks: Ranks
) -> Resumable:
    """Return the checkpoints of a training's run directory, kept as its configuration says."""
    return Resumable(
        run.checkpoints,
        total_steps=total_steps,
        save_steps=config.save_steps,
        keep=config.save_total_limit,
        stop=stop,
        extra=model_files(run.path) if ranks.is_main else {},
        ranks=ranks,
        note=partial(run.note, run.kind),
    )


class Resumable:
    """The checkpoints of one run.

    Args:
        checkpoints: Folder of the checkpoints; it may be missing.
        total_steps: After the last step the final model is written, and no checkpoint.
        save_steps: Optimiser steps between two checkpoints; 0 saves only when a stop is asked for.
        keep: Checkpoints that are kept.
        stop: Whether the user asked to stop.
        extra: Text files that lie in every checkpoint, by name.
        ranks: Who trains together.
        note: Writes a line to the run's log.

    Raises:
        AtlasError: The newest whole checkpoint holds no training state.
    """

    def __init__(
        self,
        checkpoints: Path,
        *,
        total_steps: int,
        save_steps: int,
        keep: int,
        stop: StopRequest,
        extra: Mapping[str, str] = {},
        ranks: Ranks = ALONE,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.folder = newest_checkpoint(checkpoints) if ranks.is_main else None
        """The checkpoint that the run goes on from; None where it starts anew, and on every rank
        but 0, whose weights all others get."""
        if ranks.is_main:
            remove_unfinished(checkpoints)
        for damaged in damaged_checkpoints(checkpoints, self.folder) if ranks.is_main else []:
            goes_on = f"from {self.folder.name}" if self.folder else "from the start"
            text = f"warning: {damaged} is damaged and passed over; the run goes on {goes_on}"
            note(text)
            _log.warning(text)
        seen = _seen(checkpoints, self.folder, ranks)
        state: dict[str, Any] = load_state(seen) if seen else {}
        self._of_engine: dict[str, Any] = state.pop("engine", {})
        self.state = ranks.broadcast(state, "state of the checkpoint")
        """What was saved there; empty where the run starts anew."""
        self.first = int(self.state.get("step", 0))
        """Steps that were done before."""
        self.window = Window()
        """Of metrics, which is open; what was saved of it is there once `restore` is called."""
        self._chain: Chain | None = None
        self._checkpoints = checkpoints
        self._total_steps = total_steps
        self._save_steps = save_steps
        self._stop = stop
        self._extra = dict(extra)
        self._saver = Saver(ranks, lambda newest: prune_checkpoints(checkpoints, keep, newest))

    def restore(self, engine: Engine, config: RunConfig) -> Chain:
        """Give optimiser and schedule their state back, where there is one.

        Returns:
            The chain of what was done; checkpoints keep it from here on.
        """
        if self.first:
            try:
                engine.load_state(self._of_engine)
                self.window = Window(**self.state.get("window", {}))
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                raise not_a_state(self.folder or self._checkpoints, error) from error
            self._of_engine = {}
        head = self.state.get("chain")
        self._chain = Chain(head, config, partial(fingerprint, engine.trained))
        return self._chain

    def save_if_due(
        self, step: int, engine: Engine, tokenizer: PreTrainedTokenizerBase, **kept: Any
    ) -> None:
        """Begin a checkpoint after ``step`` if one is due; ``kept`` is found in `state` again.

        Where it is the last thing that the training does, it is whole when this returns.

        Raises:
            AtlasError: This one can't be begun, or the one before couldn't be written.
        """
        self._stop.settle()
        due = self._save_steps and step % self._save_steps == 0
        if (due or self._stop.asked) and step < self._total_steps:
            chain = self._chain.head if self._chain else None
            state = {"step": step, "chain": chain, **kept, "window": asdict(self.window)}
            folder = self._checkpoints / step_name(step)
            self._saver.save(folder, engine, tokenizer, state, self._extra)
        if self._stop.asked or step >= self._total_steps:
            self._saver.wait()


def _seen(checkpoints: Path, newest: Path | None, ranks: Ranks) -> Path | None:
    """Return rank 0's newest checkpoint where this rank sees it too; all agree on which it is."""
    own = (newest.name, sha256(newest / MANIFEST)) if newest else None
    found = ranks.broadcast(own, "newest checkpoint")
    if found is None:
        return None
    manifest = checkpoints / found[0] / MANIFEST
    return manifest.parent if manifest.is_file() and sha256(manifest) == found[1] else None
