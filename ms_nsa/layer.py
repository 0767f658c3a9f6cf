# SPDX-License-Identifier: Apache-2.0
"""The layer of native sparse attention for training."""

import mindspore as ms
from mindspore import ops

from ms_nsa import checks, layer_checks
from ms_nsa.compression import NsaCompress, compressed_seq_lens
from ms_nsa.layer_parts import NAME, LayerCell
from ms_nsa.nsa_attention import NsaAttention
from ms_nsa.primitive import call_arguments
from ms_nsa.shared import Shared


class NativeSparseAttention(LayerCell):
    r"""
    A layer of Native Sparse Attention (arXiv:2502.11089) for training: projections, rotary positions, compression, the
    three branches of :class:`ms_nsa.NsaAttention`, and their gates.

    It takes packed sequences, or a batch of sequences of one length. Its checkpoint loads into
    :class:`ms_nsa.NativeSparseAttentionInfer`, which computes the same from pages. A token's output has the same bits
    whatever comes after it in its sequence. With ``compress="mean"``, ``compress_rope="before"``, windows and blocks of
    one size without overlap and no gate bias it is the layer of flash-linear-attention.

    Args:
        hidden_size (int): Width of a row of `x`.
        head_num (int): Number of query heads N1.
        key_value_head_num (int): Number of key and value heads N2; divides `head_num`.
        key_head_dim (int): Width D1 of queries and keys; even where positions are rotary.
        value_head_dim (int, optional): Width D2 of values. Default: ``None``, `key_head_dim`.
        compress_block_size (int, optional): Raw rows of a window. Default: ``32``.
        compress_stride (int, optional): Raw rows from the start of one window to that of the next. Default: ``16``.
        select_block_size (int, optional): Raw rows of a block. Default: ``64``.
        select_block_count (int, optional): Blocks that a token chooses, at least ``init_blocks + local_blocks``.
            Default: ``16``.
        init_blocks (int, optional): The first blocks of a sequence that are always chosen. Default: ``1``.
        local_blocks (int, optional): The last blocks up to the token's own that are always chosen. Default: ``2``.
        window_size (int, optional): Rows that the window branch sees, the token's own included. Default: ``512``.
        compress (Union[str, Cell], optional): How a window becomes a row. ``"mean"``; ``"weighted"``, a learned weight
            per row and head; ``"linear"``, a learned matrix per head; or a Cell from
            :math:`(windows, N2, compress\_block\_size, D)` to :math:`(windows, N2, D)`, which values get a copy of.
            Default: ``"weighted"``.
        compress_rope (Union[str, callable], optional): ``"before"`` compresses rotated keys. ``"after"`` rotates
            compressed keys to the position of the window's first row. ``"none"`` rotates neither them nor the queries
            that meet them. A callable rotates compressed keys in place of the layer's own rotation. Default:
            ``"after"``.
        rope_theta (Union[float, callable], optional): Base of the rotary positions, or a callable (a Cell) that is
            given rows :math:`(T, N, D1)` and their positions :math:`(T)` in int32 and returns the rows rotated;
            ``None``: there are no rotary positions. Default: ``10000.0``.
        independent_kv (bool, optional): Every branch has keys and values of its own. Default: ``False``.
        gate_bias (bool, optional): The gates have a bias; their weight then starts with zeros. Default: ``True``.
        gate_bias_init (Union[float, sequence], optional): First bias: one number, 3 (compressed, selected, window), or
            :math:`(N1, 3)`. Default: ``None``, 0: all gates are one half.
        has_bias (bool, optional): The other projections have a bias. Default: ``False``.
        scale_value (float, optional): Factor of the scores. Default: ``None``, ``1 / sqrt(D1)``.
        param_dtype (mindspore.dtype, optional): Of the parameters. Default: ``mindspore.float32``.
        compute_dtype (mindspore.dtype, optional): Of projections and attention; gates are float32. Default:
            ``mindspore.float32``.
        limits (str, optional): ``"auto"`` checks the limits of the device in use, ``"ascend"`` those that CANN
            documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **x** (Tensor) - :math:`(T, hidden\_size)`, the tokens of all sequences one after another, or
          :math:`(B, S, hidden\_size)`; float16, bfloat16 or float32.
        - **actual_seq_len** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a Tensor.
          Inclusive prefix sums of the lengths; the last entry is T, or ``B * S``. Default: ``None``, one sequence, or B
          of S tokens.

    Outputs:
        - **output** (Tensor) - shape and dtype of `x`.

    Raises:
        TypeError: If an argument has a wrong type, or an input a wrong dtype.
        ValueError: If an argument, rank or extent does not fit, or breaks `limits`.
        RuntimeError: If lengths decrease or do not end at T. For a Tensor of lengths it is raised when the result is
            read.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor
        >>> import ms_nsa
        >>> x = Tensor(np.random.default_rng(0).standard_normal((100, 64)), ms.float32)
        >>> layer = ms_nsa.NativeSparseAttention(
        ...     64, head_num=8, key_value_head_num=2, key_head_dim=16, compress_block_size=16, compress_stride=8,
        ...     select_block_size=16, select_block_count=4, window_size=32)
        >>> print(layer(x, (30, 100)).shape)
        (100, 64)
        >>> print(layer(x.reshape(2, 50, 64)).shape)
        (2, 50, 64)
    """

    _lengths, _lengths_at = ("actual_seq_len",), (1,)

    def __init__(
        self,
        hidden_size,
        head_num,
        key_value_head_num,
        key_head_dim,
        value_head_dim=None,
        compress_block_size=32,
        compress_stride=16,
        select_block_size=64,
        select_block_count=16,
        init_blocks=1,
        local_blocks=2,
        window_size=512,
        compress="weighted",
        compress_rope="after",
        rope_theta=10000.0,
        independent_kv=False,
        gate_bias=True,
        gate_bias_init=None,
        has_bias=False,
        scale_value=None,
        param_dtype=ms.float32,
        compute_dtype=ms.float32,
        limits="auto",
    ):
        given = dict(locals())
        super().__init__()
        sizes = self._make(given)
        self.attention = NsaAttention(**sizes, scale_value=scale_value, limits=limits)
        self.pool = NsaCompress(compress_block_size, compress_stride, limits)
        self.shared_rows = Shared(8 if independent_kv else 4)

    def construct(self, x, actual_seq_len=None):
        self._check_input(x)
        rows = self._rows(x)
        readers = self.shared_rows(rows) if rows.dtype == ms.bfloat16 else (rows,) * self.shared_rows.count
        ends = self._ends(x, rows, actual_seq_len)
        positions, window_positions, window_starts = self._places(rows, ends)
        angles = self._angles(positions)
        gates = self._gates(readers[0])
        query, compressed_query = self._queries(readers[1], angles)
        (key, value), (raw_key, raw_value), (window_key, window_value) = self._keys(readers[2:], angles)
        compressed_key = self._compress(self.compress_key, raw_key, ends, window_starts)
        compressed_value = self._compress(self.compress_value, raw_value, ends, window_starts)
        if self.rotates_after and self.compress_rotary is not None and compressed_key.shape[0] != 0:
            compressed_key = self._turn(self.compress_rotary, compressed_key, window_positions)
        attention_out = self.attention(
            query,
            key,
            value,
            gates,
            self._narrow(compressed_key),
            compressed_value,
            ends,
            compressed_query,
            window_key,
            window_value,
        )
        return self._output(attention_out, x)

    def _check_input(self, x):
        if not isinstance(x, ms.Tensor):
            checks.fail_tensor(NAME, "x", x)
        if not call_arguments.shapes_unknown((x,)):
            layer_checks.check_input(NAME, x.shape, x.dtype, self.hidden_size)

    def _ends(self, x, rows, actual_seq_len):
        """Prefix sums of the lengths, as a tuple wherever they are known."""
        if isinstance(actual_seq_len, ms.Tensor):
            return call_arguments.as_lengths(NAME, "actual_seq_len", actual_seq_len, None)
        unknown = call_arguments.shapes_unknown((x,))
        if actual_seq_len is not None:
            return layer_checks.check_ends(NAME, actual_seq_len, -1 if unknown else rows.shape[0])
        batch = x.shape[0] if x.ndim == 3 else 1
        tokens = x.shape[x.ndim - 2]
        if unknown:
            return (ops.arange(batch) + 1) * tokens
        return layer_checks.batch_ends(batch, tokens)

    def _places(self, rows, ends):
        """Positions of tokens and of the first rows of windows in their sequences, and where those lie in `rows`."""
        if not isinstance(ends, ms.Tensor):
            return layer_checks.positions_of(ends, self.compress_block_size, self.compress_stride)
        positions, _ = _local(ends, rows.shape[0])
        window_ends = compressed_seq_lens(ends, self.compress_block_size, self.compress_stride)
        windows, sequence = _local(window_ends, rows.shape[0] // self.compress_stride)
        starts = ops.gather(_with_zero(ends), sequence, 0) + windows * self.compress_stride
        return positions, windows * self.compress_stride, starts

    def _queries(self, rows, angles):
        """That of the raw rows, and that of the compressed ones where it is another."""
        query = self.to_query(rows)
        if self.rotates_query or self.rotary is None:
            return self._narrow(self._rotate(query, angles)), None
        query, compressed_query = self._twice(query)
        return self._narrow(self._rotate(query, angles)), self._narrow(compressed_query)

    def _keys(self, readers, angles):
        """Keys and values of the selected branch, of the compressed branch before compression, and of the window."""
        key, value = self.to_key(readers[0]), self.to_value(readers[1])
        if not self.independent_kv:
            value, raw_value = self._twice(value)
            if self.rotates_before or self.rotary is None:
                key, raw_key = self._twice(self._rotate(key, angles))
            else:
                key, raw_key = self._twice(key)
                key = self._rotate(key, angles)
            narrow = self._narrow(key), self._narrow(value)
            return narrow, (self._narrow(raw_key), self._narrow(raw_value)), (None, None)
        raw_key, raw_value = self.to_compress_key(readers[2]), self.to_compress_value(readers[3])
        if self.rotates_before:
            raw_key = self._rotate(raw_key, angles)
        window_key = self._rotate(self.to_window_key(readers[4]), angles)
        window_value = self.to_window_value(readers[5])
        return (
            (self._narrow(self._rotate(key, angles)), self._narrow(value)),
            (self._narrow(raw_key), self._narrow(raw_value)),
            (self._narrow(window_key), self._narrow(window_value)),
        )

    def _compress(self, compression, rows, ends, window_starts):
        if compression.pools or window_starts.shape[0] == 0:
            return self.pool(rows, compression.pooling_weight(rows.dtype) if compression.pools else None, ends)
        windows = _windows(self.cast(rows, ms.float32), window_starts, self.compress_block_size)
        return self._narrow(compression(windows, self.compute_dtype))

    def _twice(self, tensor):
        """For two readers."""
        return self.shared_twice(tensor) if self.compute_dtype == ms.bfloat16 else (tensor, tensor)


def _with_zero(ends):
    return ops.concat((ops.zeros((1,), ms.int32), ends.astype(ms.int32)))


def _local(ends, count):
    """For `count` rows of sequences that end at `ends`: each row's place in its sequence, and the sequence."""
    rows = ops.arange(count).astype(ms.int32)
    sequence = ops.searchsorted(ends.astype(ms.int32), rows, right=True)
    return rows - ops.gather(_with_zero(ends), sequence, 0), sequence


def _windows(rows, starts, size):
    """The rows [T, N2, D] of every window, [W, N2, size, D]; rows beyond the last stand for the last."""
    places = starts.reshape((-1, 1)) + ops.arange(size).astype(ms.int32)
    places = ops.minimum(places, ops.full_like(places, rows.shape[0] - 1))
    return ops.gather(rows, places, 0).transpose((0, 2, 1, 3))
