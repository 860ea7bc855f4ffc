"""KL estimators: hand-worked numbers, sign, equality, clamp and gradients."""

import math

import pytest
import torch

from atlas.objectives.kl import KL_ESTIMATORS, kl_k1, kl_k2, kl_k3


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def test_by_hand():
    # policy = ln 0.25, ref = ln 0.5: d = ln 2
    policy, ref = scalar(math.log(0.25)), scalar(math.log(0.5))
    assert kl_k1(policy, ref).item() == pytest.approx(-math.log(2))
    assert kl_k2(policy, ref).item() == pytest.approx(math.log(2) ** 2 / 2)
    assert kl_k3(policy, ref).item() == pytest.approx(2 - math.log(2) - 1)


def test_gradient_by_hand():
    # d k1 = 1; d k2 = policy - ref = -ln 2; d k3 = -(exp(d) - 1) = -(2 - 1)
    expected = {"k1": 1.0, "k2": -math.log(2), "k3": -1.0}
    for name, estimator in KL_ESTIMATORS.items():
        policy, ref = scalar(math.log(0.25)), scalar(math.log(0.5))
        estimator(policy, ref).backward()
        assert policy.grad is not None
        assert policy.grad.item() == pytest.approx(expected[name])
        assert ref.grad is None


def test_k3_and_k2_are_never_negative_and_vanish_only_at_equality():
    # In float32, where exp(d) - 1 - d would round to either side of 0 for the small ones.
    ref = torch.full((401,), -2.0)
    policy = ref - torch.linspace(-0.02, 0.02, 401)
    for estimator in (kl_k2, kl_k3):
        kl = estimator(policy, ref)
        assert (kl >= 0).all()
        assert torch.equal(kl == 0, policy == ref)


@pytest.mark.parametrize("name", ["k1", "k3"])
def test_unbiased_estimators_average_to_the_exact_kl(name):
    # Sum over the vocabulary of policy(x) k(x): the expectation itself, no sampling.
    generator = torch.Generator().manual_seed(0)
    policy = torch.randn(7, dtype=torch.float64, generator=generator).log_softmax(-1)
    ref = torch.randn(7, dtype=torch.float64, generator=generator).log_softmax(-1)
    exact = (policy.exp() * (policy - ref)).sum()
    expectation = (policy.exp() * KL_ESTIMATORS[name](policy, ref)).sum()
    torch.testing.assert_close(expectation, exact)


def test_expected_gradients_are_what_the_docstring_says():
    """k1 pulls nowhere; k2's is the gradient of KL(policy, ref), k3's of KL(ref, policy)."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(5, dtype=torch.float64, generator=generator, requires_grad=True)
    ref = torch.randn(5, dtype=torch.float64, generator=generator).log_softmax(-1)
    policy = logits.log_softmax(-1)
    probs = policy.exp().detach()  # sampling weights, through which no gradient flows

    def gradient(value):
        return torch.autograd.grad(value, logits, retain_graph=True)[0]

    got = {name: gradient((probs * k(policy, ref)).sum()) for name, k in KL_ESTIMATORS.items()}
    torch.testing.assert_close(got["k1"], torch.zeros_like(logits), rtol=0, atol=1e-14)
    torch.testing.assert_close(got["k2"], gradient((policy.exp() * (policy - ref)).sum()))
    torch.testing.assert_close(got["k3"], gradient((ref.exp() * (ref - policy)).sum()))


def test_k3_is_held_beyond_the_clamp():
    policy, ref = scalar(-500.0), scalar(-0.1)
    kl = kl_k3(policy, ref)
    kl.backward()
    assert kl.item() == pytest.approx(math.exp(20) - 21)
    assert policy.grad is not None
    assert policy.grad.item() == 0.0


def test_k3_is_not_clamped_where_the_policy_is_the_likelier():
    policy, ref = scalar(-0.1), scalar(-500.1)
    kl = kl_k3(policy, ref)
    kl.backward()
    assert kl.item() == pytest.approx(499.0)  # 0 + 500 - 1
    assert policy.grad is not None
    assert policy.grad.item() == pytest.approx(1.0)


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_gradcheck(name):
    generator = torch.Generator().manual_seed(1)
    policy = torch.randn(2, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    ref = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    assert torch.autograd.gradcheck(lambda p: KL_ESTIMATORS[name](p, ref), (policy,))
