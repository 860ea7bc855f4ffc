"""Models that can't be found are told before anything is loaded, and no hub is asked in vain."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.models import presence


def test_a_link_to_a_run_that_is_gone_is_told_and_no_hub_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "local_files_only", lambda _: pytest.fail("a hub was asked"))
    link = tmp_path / "rl_checkpoint"
    link.symlink_to("../runs/gone/final")
    with pytest.raises(AtlasError, match=r"rl_checkpoint is a link to \.\./runs/gone/final, which"):
        presence.refuse_missing(link)
