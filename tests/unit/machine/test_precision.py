"""Where float32 products are permitted to be faster, and that they stay exact there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from atlas.config.parts.model import ModelConfig
from atlas.machine import precision
from atlas.machine.precision import (
    gains_from_permission,
    product_error,
    set_matmul_precision,
    trains_in_bf16,
)

ZEN5 = "vendor_id : AuthenticAMD\nflags : fpu avx2 avx512f avx512_bf16\n"
ZEN3 = "vendor_id : AuthenticAMD\nflags : fpu avx2\n"
XEON = "vendor_id : GenuineIntel\nflags : fpu avx2 avx512f amx_bf16 amx_tile\n"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    ("cpuinfo", "gains"), [(ZEN5, True), (ZEN3, False), (XEON, False), ("", False)]
)
def test_who_only_gains(cpuinfo: str, gains: bool) -> None:
    assert gains_from_permission(cpuinfo) == gains


def test_the_permission_is_withdrawn_where_it_costs_accuracy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "_cpuinfo", lambda: ZEN5)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(precision, "product_error", lambda: 3e-3)
    assert set_matmul_precision("auto") == "highest" == torch.get_float32_matmul_precision()
    monkeypatch.setattr(precision, "product_error", lambda: 1e-7)
    assert set_matmul_precision("auto") == "medium" == torch.get_float32_matmul_precision()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert set_matmul_precision("auto") == "highest"


def test_a_choice_of_the_user_is_taken() -> None:
    assert set_matmul_precision("high") == "high" == torch.get_float32_matmul_precision()


def test_products_are_exact_as_they_are_set_here() -> None:
    set_matmul_precision("auto")
    assert product_error() < precision._ACCURATE


def test_bfloat16_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.Tensor,
        "__matmul__",
        lambda a, b: (
            torch.matmul(*(x.bfloat16().to(x) for x in (a, b)))
            if a.dtype == torch.float32
            else torch.matmul(a, b)
        ),
    )
    assert product_error() > 100 * precision._ACCURATE


@pytest.mark.parametrize(
    ("choice", "gpu", "units", "expected"),
    [
        ("auto", True, True, True),
        ("auto", True, False, False),
        ("auto", False, True, False),
        ("bf16", False, False, True),
        ("float32", True, True, False),
    ],
)
def test_bf16_is_chosen_where_a_gpu_computes_it(
    choice: str, gpu: bool, units: bool, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(precision, "computes_bf16", lambda: units)
    assert trains_in_bf16(ModelConfig(model_name_or_path="m", precision=choice)) is expected  # pyright: ignore[reportArgumentType]
