"""The key/value cache of groups: each prompt once, and what every row wrote after it.

One query a row attends to the keys of its group's prompt and to its own keys::

    prompt part    [S, H, L]      p p p p . .     one a group, right padded
    own part       [B, H, T]          . . c c c   one a row; all rows write the same column

The prompt's keys are read once a group, not once a row: the members' queries are stacked. Each part
gives its output o and the logarithm l of the sum that its softmax divides by; the whole is
o_own + sigmoid(l_prompt - l_own) (o_prompt - o_own), which is exact. Rows that entered later than
others leave the columns before them masked.

Shapes: S groups, B rows in flight, G most rows of a group, H key/value heads, R queries to a
key/value head, D width of a head, L longest prompt, T columns written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Columns of room made at a time, and the share by which room grows.
_ROOM = 32
_GROWTH = 1.5
# Devices whose attention kernel also returns the logarithm of the sum.
_HAS_KERNEL = ("cpu",)


class SharedCache:
    """Keys and values of all layers."""

    def __init__(self) -> None:
        self._empty()

    def _empty(self) -> None:
        self._groups: list[int] = []
        """The group of each row in flight: rising places in the prompt part."""
        self._lengths: list[int] = []
        """Tokens of each prompt."""
        self._starts: list[int] = []
        """The column in which each row wrote first."""
        self._num_written = 0
        self._prompts: list[tuple[Tensor, Tensor]] = []
        self._own: list[tuple[Tensor, Tensor]] = []

    def admit(
        self, layers: Sequence[tuple[Tensor, Tensor]], lengths: Sequence[int], num_samples: int
    ) -> None:
        """Add groups of ``num_samples`` rows with these keys and values [P, H, L, D]."""
        first = len(self._lengths)
        self._lengths += lengths
        self._groups += [first + p for p in range(len(lengths)) for _ in range(num_samples)]
        self._starts += [self._num_written] * (len(lengths) * num_samples)
        if not self._prompts:
            self._prompts = list(layers)
            self._own = [_no_columns(keys, len(self._groups)) for keys, _ in layers]
        else:
            for layer, (keys, values) in enumerate(layers):
                old_keys, old_values = self._prompts[layer]
                self._prompts[layer] = _stacked(old_keys, keys), _stacked(old_values, values)
            self._change_own(lambda part: _more_rows(part, len(self._groups)))
        self._lay_out()

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only the rows at these places, and the prompts that they need."""
        if not rows:
            self._empty()
            return
        groups = sorted({self._groups[row] for row in rows})
        place = {group: i for i, group in enumerate(groups)}
        device = self._prompts[0][0].device
        if len(groups) < len(self._lengths):
            kept_S = torch.tensor(groups, device=device)
            longest = max(self._lengths[group] for group in groups)
            for layer, (keys, values) in enumerate(self._prompts):
                self._prompts[layer] = keys[kept_S, :, :longest], values[kept_S, :, :longest]
        self._lengths = [self._lengths[group] for group in groups]
        self._groups = [place[self._groups[row]] for row in rows]
        unused = min(self._starts[row] for row in rows)
        self._starts = [self._starts[row] - unused for row in rows]
        written = slice(unused, self._num_written)
        self._num_written -= unused
        kept_B = torch.tensor(rows, device=device)
        room = self._num_written + _ROOM
        self._change_own(lambda part: _with_room(part[:, :, written][kept_B], room))
        self._lay_out()

    def _change_own(self, change: Callable[[Tensor], Tensor]) -> None:
        """Replace the own part, a layer at a time: only one is in memory twice."""
        for layer, (keys, values) in enumerate(self._own):
            self._own[layer] = change(keys), change(values)

    def begin_step(self) -> None:
        """Make a column for one more token of every row."""
        room = self._own[0][0].shape[2]
        if self._num_written == room:
            room = max(room + _ROOM, int(room * _GROWTH))
            self._change_own(lambda part: _with_room(part, room))
        self._num_written += 1
        if self._late:
            columns = torch.arange(self._num_written, device=self._starts_B.device)
            self._own_mask_BT = self._mask(columns >= self._starts_B.unsqueeze(-1))

    def attend(self, layer: int, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Write one key and value a row [B, H, D] and attend to all that the row may see.

        Args:
            queries: [B, H, R, D], scaled.
            keys: of the new tokens, [B, H, D].
            values: of the new tokens, [B, H, D].

        Returns:
            [B, H, R, D].
        """
        own_keys, own_values = self._own[layer]
        num = self._num_written
        own_keys[:, :, num - 1] = keys
        own_values[:, :, num - 1] = values
        from_own, own_BHR = attention_part(
            queries, own_keys[:, :, :num], own_values[:, :, :num], self._own_mask_BT
        )
        from_prompt, prompt_SHQ = attention_part(
            self._stack(queries), *self._prompts[layer], self._prompt_mask_SL
        )
        repeats = queries.shape[2]
        share_BHR1 = self._unstack(prompt_SHQ.unsqueeze(-1), repeats) - own_BHR.unsqueeze(-1)
        share_BHR1 = share_BHR1.sigmoid().to(from_own.dtype)
        return torch.lerp(from_own, self._unstack(from_prompt, repeats), share_BHR1)

    def _lay_out(self) -> None:
        """Work out how rows stack into groups, and which columns are masked."""
        device = self._prompts[0][0].device
        num_groups, num_rows = len(self._lengths), len(self._groups)
        members: list[list[int]] = [[] for _ in range(num_groups)]
        for row, group in enumerate(self._groups):
            members[group].append(row)
        self._most = max(map(len, members))
        self._row_of_place_SG: Tensor | None = None
        self._place_of_row_B: Tensor | None = None
        if num_groups * self._most != num_rows:
            rows = [m + [m[0]] * (self._most - len(m)) for m in members]
            places = [
                group * self._most + i for group, m in enumerate(members) for i in range(len(m))
            ]
            self._row_of_place_SG = torch.tensor(rows, device=device).flatten()
            self._place_of_row_B = torch.tensor(places, device=device)
        longest = self._prompts[0][0].shape[2]
        self._prompt_mask_SL: Tensor | None = None
        if min(self._lengths) < longest:
            lengths_S1 = torch.tensor(self._lengths, device=device).unsqueeze(-1)
            mask_SL = torch.arange(longest, device=device) < lengths_S1
            self._prompt_mask_SL = self._mask(mask_SL)
        self._own_mask_BT: Tensor | None = None
        self._late = any(self._starts)
        self._starts_B = torch.tensor(self._starts, device=device)

    def _mask(self, seen: Tensor) -> Tensor:
        """Return what is added to scores, [rows, 1, 1, columns]."""
        zeros = torch.zeros(seen.shape, dtype=self._prompts[0][0].dtype, device=seen.device)
        return zeros.masked_fill(~seen, float("-inf"))[:, None, None]

    def _stack(self, rows_BHRX: Tensor) -> Tensor:
        """Put the rows of a group side by side: [S, H, G * R, X]."""
        if self._row_of_place_SG is not None:
            rows_BHRX = rows_BHRX[self._row_of_place_SG]
        _, heads, repeats, width = rows_BHRX.shape
        grouped = rows_BHRX.reshape(-1, self._most, heads, repeats, width).transpose(1, 2)
        return grouped.reshape(-1, heads, self._most * repeats, width)

    def _unstack(self, stacked: Tensor, repeats: int) -> Tensor:
        """Undo `_stack`."""
        _, heads, _, width = stacked.shape
        grouped = stacked.unflatten(2, (self._most, repeats)).transpose(1, 2)
        rows = grouped.reshape(-1, heads, repeats, width)
        return rows if self._place_of_row_B is None else rows[self._place_of_row_B]


def attention_part(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Attend to some of the keys.

    Args:
        queries: [B, H, Q, D], scaled.
        keys: [B, H, T, D].
        values: [B, H, T, D].
        mask: added to the scores, [B, 1, 1, T].

    Returns:
        The output [B, H, Q, D], and float32 logsumexp of the scores, [B, H, Q].
    """
    if queries.device.type in _HAS_KERNEL:
        # One pass over the keys, four times faster than the products one after another.
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            queries, keys, values, attn_mask=mask, scale=1.0
        )
    scores = (queries @ keys.transpose(2, 3)).float()
    if mask is not None:
        scores = scores + mask
    sums = scores.logsumexp(dim=-1)
    return (scores - sums.unsqueeze(-1)).exp().to(values.dtype) @ values, sums


def _no_columns(keys: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    empty = keys.new_empty(num_rows, keys.shape[1], 0, keys.shape[3])
    return empty, empty


def _stacked(old: Tensor, new: Tensor) -> Tensor:
    """Put groups under groups; the shorter part is padded on the right, where it is masked."""
    longest = max(old.shape[2], new.shape[2])
    return torch.cat([_padded(old, longest), _padded(new, longest)])


def _padded(part: Tensor, longest: int) -> Tensor:
    return torch.nn.functional.pad(part, (0, 0, 0, longest - part.shape[2]))


def _more_rows(part: Tensor, num_rows: int) -> Tensor:
    # Zeros, not what was in memory: a masked value is multiplied by 0, and 0 * NaN is NaN.
    more = part.new_zeros(num_rows, *part.shape[1:])
    more[: len(part)] = part
    return more


def _with_room(part: Tensor, room: int) -> Tensor:
    rows, heads, held, width = part.shape
    more = part.new_empty(rows, heads, room, width)
    more[:, :, :held] = part
    return more
