"""Every way in which a server can have the wrong weights, as the scores of witnesses show it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from atlas.errors import AtlasError
from atlas.policy.attestation import (
    Attestation,
    Reading,
    Tolerance,
    check_sampled,
    tolerance_for,
)

F32 = tolerance_for(torch.float32)
GENERATOR = torch.Generator().manual_seed(0)


def noise(size: float = 1e-6) -> Tensor:
    return torch.randn(200, generator=GENERATOR) * size


def scores(version: int, step: float = 1e-2) -> Tensor:
    """The trainer's: they start somewhere and move by ``step`` with each version."""
    start = torch.linspace(-9, -0.1, 200)
    return start + version * step * torch.sin(torch.arange(200.0))


def attested(*versions: int, step: float = 1e-2, started: Tensor | None = None) -> Attestation:
    attestation = Attestation(url="http://server:8000", tolerance=F32, started_N=started)
    for version in versions:
        attestation.judge(reading(version, scores(version, step) + noise(), step))
    return attestation


def reading(version: int, server_N: Tensor, step: float = 1e-2) -> Reading:
    return Reading(version=version, trainer_N=scores(version, step), server_N=server_N)


def test_weights_that_arrived_pass_and_their_distance_is_told() -> None:
    found = attested(0, 1, 2).judge(reading(3, scores(3) + 1e-5))
    assert found.max == pytest.approx(1e-5, rel=0.2)
    assert found.mean == pytest.approx(1e-5, rel=0.2)


@pytest.mark.parametrize("step", [1e-2, 3e-5])
def test_an_update_that_was_skipped_stops_the_run(step: float) -> None:
    """Even one that moves scores by less than the tolerance."""
    attestation = attested(0, 1, step=step)
    assert attestation.past[-1].version == 1
    with pytest.raises(AtlasError, match=r"version 2.*version 1.*didn't reach it"):
        attestation.judge(reading(2, scores(1, step) + noise(), step))


def test_an_old_version_is_named() -> None:
    attestation = attested(0, 1, 2, 3)
    with pytest.raises(AtlasError, match=r"exactly as with version 1, so it serves an old"):
        attestation.judge(reading(4, scores(1) + noise()))


def test_base_weights_are_recognised() -> None:
    base_N = scores(0) - 1.0
    attestation = attested(5, 6, started=base_N)
    with pytest.raises(AtlasError, match="base weights"):
        attestation.judge(reading(7, base_N + noise()))


def test_another_model_is_recognised_at_the_first_reading() -> None:
    with pytest.raises(AtlasError, match="another model"):
        attested().judge(reading(0, scores(0).flip(0)))


def test_one_corrupted_tensor_shows_though_most_scores_agree() -> None:
    server_N = scores(2) + noise()
    server_N[17] += 2e-3
    with pytest.raises(AtlasError, match=r"up to 0.002.*lost, changed or mixed up"):
        attested(0, 1).judge(reading(2, server_N))


@pytest.mark.parametrize("side", ["server", "trainer"])
def test_scores_that_are_no_numbers_never_pass(side: str) -> None:
    broken_N = scores(0).clone()
    broken_N[3] = float("nan")
    server_N, trainer_N = (broken_N, scores(0)) if side == "server" else (scores(0), broken_N)
    with pytest.raises(AtlasError):
        attested().judge(Reading(version=0, trainer_N=trainer_N, server_N=server_N))


def test_a_step_that_changes_nothing_may_leave_the_server_as_it_is() -> None:
    """No update was taken, or it was lost in rounding."""
    attestation = attested(0)
    same = attestation.past[0]
    attestation.judge(Reading(version=1, trainer_N=same.trainer_N, server_N=same.server_N))
    assert [kept.version for kept in attestation.past] == [0, 1]


def test_pushing_a_version_again_after_a_restart_passes() -> None:
    attestation = attested(0, 1)
    attestation.judge(reading(1, scores(1) + noise()))


def test_tolerances_follow_the_precision_and_can_be_set() -> None:
    assert Tolerance(max=1e-4, mean=2e-5, noise=2e-6) == F32
    assert tolerance_for(torch.bfloat16).max > 100 * F32.max
    wider = tolerance_for(torch.float32, mean=4e-5)
    assert wider.max == pytest.approx(2e-4)
    assert wider.noise == pytest.approx(4e-6)


def test_sampled_logprobs_at_another_temperature_are_refused() -> None:
    logits = torch.tensor([1.0, 3.0, 0.5])
    at_one, at_half = (float((logits / t).log_softmax(0)[1]) for t in (1.0, 0.5))
    check_sampled("http://server", [at_half], [at_half], F32)
    with pytest.raises(AtlasError, match=r"softmax\(logits / temperature\)"):
        check_sampled("http://server", [at_one], [at_half], F32)
