"""The one definition of how a token is drawn from logits.

Order: repetition penalty, temperature, ``top_k``, ``top_p`` (of what ``top_k`` leaves), ``min_p``.

Nothing is sorted. A token is drawn from the whole distribution by inverting its cumulative sum,
and drawn again if it lies in the tail that ``top_p`` cuts, from the tokens that are likelier than
it: what lies in the nucleus keeps its proportions, so the law is exact, and one draw in
1 / ``top_p`` is enough in the mean. Tokens exactly as likely as the last one of the nucleus belong
to it too.

Shapes: B rows, V vocabulary, K tokens that ``top_k`` keeps, N rows that are looked at again, C
blocks of _BLOCK tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from atlas.rollouts.generator import Sampling
from atlas.rollouts.local.chance import uniforms

_BLOCK = 64
# Just below 1: a target is kept under the sum, so that the token found there has some weight.
_BELOW_ONE = 1 - 2.0**-22


def draw(
    logits_BV: Tensor,
    sampling: Sampling,
    keys_B: Tensor,
    positions_B: Tensor,
    seen_BV: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw one token a row.

    Args:
        logits_BV: raw logits.
        keys_B: source of chance, one a row (`row_keys`); unused when greedy.
        positions_B: which token of its completion each row draws.
        seen_BV: bool, the tokens that the repetition penalty is for; None where there is none.

    Returns:
        tokens_B and their log-probabilities_B (float32) under softmax(logits / temperature), before
        anything is cut or penalised.
    """
    logits_BV = logits_BV.float()
    raw_BV = logits_BV
    if seen_BV is not None:
        logits_BV = penalised(logits_BV, seen_BV, sampling.repetition_penalty)
    if sampling.temperature == 0:
        tokens_B = likeliest(logits_BV)
        return tokens_B, _log_softmax_at(raw_BV, tokens_B)
    if sampling.temperature != 1:
        logits_BV = logits_BV / sampling.temperature
    probs_BV = logits_BV.softmax(dim=-1)
    if sampling.top_k and sampling.top_k < probs_BV.shape[-1]:
        tokens_B = _of_the_likeliest(probs_BV, sampling, uniforms(keys_B, positions_B))
    else:
        tokens_B = _of_the_nucleus(probs_BV, sampling, keys_B, positions_B)
    if seen_BV is not None:
        return tokens_B, _log_softmax_at(raw_BV / sampling.temperature, tokens_B)
    return tokens_B, _at(probs_BV, tokens_B).log()


def penalised(logits_BV: Tensor, seen_BV: Tensor, penalty: float) -> Tensor:
    """Make tokens that were seen less likely (Keskar et al. 2019, section 4.1; 1 changes nothing).

    Positive logits are divided and negative ones multiplied, as everybody does since.
    """
    lower_BV = torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
    return torch.where(seen_BV, lower_BV, logits_BV)


def _of_the_likeliest(probs_BV: Tensor, sampling: Sampling, uniform_B: Tensor) -> Tensor:
    probs_BK, ids_BK = probs_BV.topk(sampling.top_k)  # in falling order
    before_BK = probs_BK.cumsum(dim=-1) - probs_BK
    share_B1 = sampling.top_p * probs_BK.sum(dim=-1, keepdim=True)
    kept_BK = probs_BK >= sampling.min_p * probs_BK[:, :1]
    if sampling.top_p < 1:
        kept_BK &= before_BK < share_B1
    return _at(ids_BK, inverted(probs_BK * kept_BK, uniform_B))


def _of_the_nucleus(
    probs_BV: Tensor, sampling: Sampling, keys_B: Tensor, positions_B: Tensor
) -> Tensor:
    weights_BV = probs_BV
    if sampling.min_p:
        floor_B1 = sampling.min_p * probs_BV.amax(dim=-1, keepdim=True)
        weights_BV = torch.where(probs_BV >= floor_B1, probs_BV, 0.0)
    tokens_B = inverted(weights_BV, uniforms(keys_B, positions_B))
    if sampling.top_p >= 1:
        return tokens_B
    attempt, zero = 0, probs_BV.new_zeros(())
    while True:
        chosen_B = _at(probs_BV, tokens_B)
        # What is likelier than a token holds less than 1 minus its own share: no need to look.
        rows_N = (chosen_B <= 1 - sampling.top_p).nonzero().squeeze(-1)
        probs_NV = probs_BV[rows_N]
        likelier_NV = torch.where(probs_NV > chosen_B[rows_N].unsqueeze(-1), probs_NV, zero)
        again_N = (likelier_NV.sum(dim=-1) >= sampling.top_p).nonzero().squeeze(-1)
        if not len(again_N):
            return tokens_B
        attempt += 1
        rows_N = rows_N[again_N]
        # All of them are above the floor of ``min_p``: the token that they are likelier than was.
        uniform_N = uniforms(keys_B[rows_N], positions_B[rows_N], attempt)
        tokens_N = inverted(likelier_NV[again_N], uniform_N)
        tokens_B = tokens_B.index_copy(0, rows_N, tokens_N)


def inverted(weights_BV: Tensor, uniform_B: Tensor) -> Tensor:
    """Return for each row the token where the cumulative sum of weights passes ``uniform`` of it.

    The sum runs over blocks, then over the one block that it ends in: a tenth of the work.
    """
    width = weights_BV.shape[-1]
    whole = width - width % _BLOCK
    sums_BC = weights_BV[:, :whole].unflatten(-1, (-1, _BLOCK)).sum(dim=-1)
    if whole < width:
        sums_BC = torch.cat([sums_BC, weights_BV[:, whole:].sum(dim=-1, keepdim=True)], dim=-1)
    blocks_B, rest_B = _passed(sums_BC, uniform_B * sums_BC.sum(dim=-1))
    tokens_B, _ = _passed(_block(weights_BV, blocks_B, 0.0), rest_B)
    return blocks_B * _BLOCK + tokens_B


def likeliest(logits_BV: Tensor) -> Tensor:
    """Return the first largest of each row, as ``argmax`` does, in blocks: three times faster."""
    width = logits_BV.shape[-1]
    whole = width - width % _BLOCK
    largest_BC = logits_BV[:, :whole].unflatten(-1, (-1, _BLOCK)).amax(dim=-1)
    if whole < width:
        largest_BC = torch.cat([largest_BC, logits_BV[:, whole:].amax(-1, keepdim=True)], dim=-1)
    blocks_B = largest_BC.argmax(dim=-1)
    return blocks_B * _BLOCK + _block(logits_BV, blocks_B, float("-inf")).argmax(dim=-1)


def _block(values_BV: Tensor, blocks_B: Tensor, beyond: float) -> Tensor:
    """Return one block of each row; what lies beyond its end is filled up."""
    width = values_BV.shape[-1]
    places = blocks_B.unsqueeze(-1) * _BLOCK + torch.arange(_BLOCK, device=values_BV.device)
    block = values_BV.gather(-1, places.clamp(max=width - 1))
    return block if width % _BLOCK == 0 else block.masked_fill(places >= width, beyond)


def _passed(weights_BC: Tensor, target_B: Tensor) -> tuple[Tensor, Tensor]:
    """Return where the cumulative sum passes the target, and what is left of the target there."""
    sums_BC = weights_BC.cumsum(dim=-1)
    target_B = torch.minimum(target_B, sums_BC[:, -1] * _BELOW_ONE)
    places_B = (sums_BC <= target_B.unsqueeze(-1)).sum(dim=-1)
    before_B = torch.where(places_B > 0, _at(sums_BC, (places_B - 1).clamp(min=0)), 0.0)
    return places_B, target_B - before_B


def _log_softmax_at(logits_BV: Tensor, tokens_B: Tensor) -> Tensor:
    return _at(logits_BV, tokens_B) - logits_BV.logsumexp(dim=-1)


def _at(values_BV: Tensor, places_B: Tensor) -> Tensor:
    return values_BV.gather(-1, places_B.unsqueeze(-1)).squeeze(-1)
