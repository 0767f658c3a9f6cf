# SPDX-License-Identifier: Apache-2.0
"""The layer in float64 NumPy, from the oracles of its operators: what NativeSparseAttention means.

``parameters`` are arrays by the names that the layer's have.
"""

import numpy as np

from ms_nsa import family_reference, reference
from ms_nsa.family_rules import packed_ends, window_starts


def rotate(x, positions, theta):
    """Rotary positions: elements i and i + D / 2 of x [T, N, D] turn by ``position * theta ** (-2 i / D)``.

    >>> rotate(np.array([[[1.0, 2.0]], [[1.0, 0.0]]]), [0, 1], 1.0).round(4).tolist()
    [[[1.0, 2.0]], [[0.5403, 0.8415]]]
    """
    half = x.shape[-1] // 2
    angle = np.asarray(positions)[:, None, None] * theta ** (-np.arange(half) / half)
    left, right = x[..., :half], x[..., half:]
    return np.concatenate(
        [left * np.cos(angle) - right * np.sin(angle), right * np.cos(angle) + left * np.sin(angle)], -1
    )


def positions_of(ends):
    """Every token's place in its sequence.

    >>> positions_of([2, 5]).tolist()
    [0, 1, 0, 1, 2]
    """
    return np.concatenate([np.arange(end - start) for start, end in zip([0, *ends], ends)])


class Layer:
    """The arguments of NativeSparseAttention that decide about numbers, and its parameters."""

    def __init__(
        self, parameters, head_num, key_value_head_num, compress_block_size=32, compress_stride=16,
        select_block_size=64, select_block_count=16, init_blocks=1, local_blocks=2, window_size=512,
        compress="weighted", compress_rope="after", rope_theta=10000.0, independent_kv=False, scale_value=None,
    ):  # fmt: skip
        self.parameters = {name: np.asarray(value).astype(np.float64) for name, value in parameters.items()}
        self.heads, self.kv_heads, self.scale = head_num, key_value_head_num, scale_value
        self.window = compress_block_size, compress_stride
        self.blocks = {"select_block_size": select_block_size, "select_block_count": select_block_count}
        self.blocks.update(init_blocks=init_blocks, local_blocks=local_blocks)
        self.window_size, self.compress, self.rope = window_size, compress, compress_rope
        self.theta, self.independent_kv = rope_theta, independent_kv

    def __call__(self, x, actual_seq_len=None):
        """x [T, hidden] to [T, hidden]."""
        x = np.asarray(x).astype(np.float64)
        ends = packed_ends("actual_seq_len", actual_seq_len, len(x))
        branches = self.branches(x, ends)
        logits = self.project(x, "to_gates").reshape(len(x), self.heads, 3)
        gates = 1 / (1 + np.exp(-logits))
        mixed = sum(gates[..., [i]] * branch for i, branch in enumerate(branches))
        return self.project(mixed.reshape(len(x), -1), "to_out")

    def branches(self, x, ends):
        """Compressed, selected and window attention, [T, N1, D2] each."""
        turn = self._turn(positions_of(ends))
        query = self.project(x, "to_query").reshape(len(x), self.heads, -1)
        key, value = self._rows(x, "key"), self._rows(x, "value")
        raw_key, raw_value = self._rows(x, "compress_key"), self._rows(x, "compress_value")
        raw_key = turn(raw_key) if self.rope == "before" else raw_key
        keys = self.compressed("compress_key", raw_key, ends)
        if self.rope == "after":
            starts = np.asarray(window_starts(ends, *self.window), np.int64)
            keys = self._turn(positions_of(ends)[starts])(keys)
        lengths = {"actual_seq_qlen": ends, "actual_seq_kvlen": ends}
        compressed, topk, _, _ = family_reference.nsa_compress_attention(
            query if self.rope == "none" else turn(query), keys, self.compressed("compress_value", raw_value, ends),
            self.scale, self.heads, *self.window, **self.blocks, sparse_mode=3, **lengths,
        )  # fmt: skip
        selected, _, _ = reference.select_attention(
            turn(query), turn(key), value, topk, self.scale, self.blocks["select_block_size"], None, ends, ends, 3
        )
        window_rows = turn(self._rows(x, "window_key")), self._rows(x, "window_value")
        window, _, _ = family_reference.nsa_window_attention(
            turn(query), *window_rows, self.scale, self.heads, self.window_size, **lengths
        )
        return compressed, selected, window

    def compressed(self, name, rows, ends):
        """Raw rows [T, N2, D] to a row per window."""
        if self.compress in ("mean", "weighted"):
            weight = self.parameters[name + ".weight"] if self.compress == "weighted" else None
            return family_reference.nsa_compress(rows, weight, *self.window, ends)
        starts = window_starts(ends, *self.window)
        windows = [rows[start : start + self.window[0]].swapaxes(0, 1) for start in starts]
        windows = np.array(windows).reshape(len(starts), rows.shape[1], self.window[0], rows.shape[2])
        if callable(self.compress):
            return self.compress(windows)
        flat = windows.reshape(*windows.shape[:2], self.window[0] * rows.shape[2])
        return np.einsum("whk,hkd->whd", flat, self.parameters[name + ".weight"])

    def project(self, x, name):
        y = x @ self.parameters[name + ".weight"].T
        return y + self.parameters[name + ".bias"] if name + ".bias" in self.parameters else y

    def _rows(self, x, name):
        name = name if self.independent_kv else name.split("_")[-1]
        return self.project(x, "to_" + name).reshape(len(x), self.kv_heads, -1)

    def _turn(self, positions):
        if self.theta is None:
            return np.asarray
        if callable(self.theta):
            return lambda x: self.theta(x, positions)
        return lambda x: rotate(x, positions, self.theta)
