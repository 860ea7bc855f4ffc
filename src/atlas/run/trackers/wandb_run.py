"""Weights & Biases: a run that goes on keeps its page.

``WANDB_MODE=offline`` writes to ``wandb/`` in the run directory, to be sent later by ``wandb
sync``; address and key are wandb's own variables and login.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import wandb

from atlas.masking import mask_secrets
from atlas.run.trackers.tracker import RunInfo


class WandbRun:
    """One page in wandb."""

    def __init__(self, info: RunInfo) -> None:
        info.folder.mkdir(parents=True, exist_ok=True)
        words = sys.argv
        # It notes the words of the command, and sends them; there may be a password among them.
        sys.argv = [mask_secrets(word) for word in words]
        try:
            self._run = wandb.init(
                project=info.project,
                name=info.name,
                id=info.id,
                group=info.group,
                config=dict(info.config),
                dir=str(info.folder),
                resume="allow",
            )
        finally:
            sys.argv = words

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of a step; more of the same step join them."""
        self._run.log(dict(metrics), step=step)

    def close(self) -> None:
        """Send what waits."""
        self._run.finish()
