"""An attention that can't run here is refused before anything is loaded."""

from __future__ import annotations

import pytest

from atlas.errors import AtlasError
from atlas.models import attention
from atlas.models.attention import checked_attention


def test_flash_attention_without_its_package_names_the_fallback() -> None:
    with pytest.raises(AtlasError, match=r"needs a CUDA GPU and the package flash-attn.*=sdpa"):
        checked_attention("flash_attention_2")


def test_where_it_can_run_it_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "is_flash_attn_2_available", lambda: True)
    assert checked_attention("flash_attention_2") == "flash_attention_2"


def test_the_others_run_everywhere_and_auto_leaves_it_to_the_library() -> None:
    assert [checked_attention(name) for name in ("auto", "sdpa", "eager")] == [
        None,
        "sdpa",
        "eager",
    ]
