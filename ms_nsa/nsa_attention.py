# SPDX-License-Identifier: Apache-2.0
"""The three branches of native sparse attention and their gates, without projections."""

import mindspore as ms
from mindspore import ops

from ms_nsa import cells, layer_checks
from ms_nsa.compressed_attention import NsaCompressAttention
from ms_nsa.gated_sum import make_gated_sum
from ms_nsa.primitive import call_arguments
from ms_nsa.selected_attention import NsaSelectAttention
from ms_nsa.shared import Shared
from ms_nsa.window_attention import NsaWindowAttention

_NAME = "NsaAttention"


class NsaAttention(cells.LengthsCell):
    r"""
    Native sparse attention for training: compressed, selected and sliding-window attention, mixed by gates.

    .. math::
        attention\_out = g_0 \cdot o_{compressed} + g_1 \cdot o_{selected} + g_2 \cdot o_{window}

    The compressed branch chooses the blocks of the selected one; the choice has no gradient. It is for models with
    projections of their own; :class:`ms_nsa.NativeSparseAttention` brings them along.

    A token's result has the same bits whatever comes after it in its sequence, and alone or in any batch. The method is
    Native Sparse Attention (arXiv:2502.11089).

    Args:
        head_num (int): Number of query heads N1.
        key_value_head_num (int): Number of key and value heads N2; divides `head_num`.
        compress_block_size (int, optional): Raw rows of a window. Default: ``32``.
        compress_stride (int, optional): Raw rows from the start of one window to that of the next. Default: ``16``.
        select_block_size (int, optional): Raw rows of a block. Default: ``64``.
        select_block_count (int, optional): Blocks that a token chooses, at least ``init_blocks + local_blocks``.
            Default: ``16``.
        init_blocks (int, optional): The first blocks of a sequence that are always chosen. Default: ``1``.
        local_blocks (int, optional): The last blocks up to the token's own that are always chosen. Default: ``2``.
        window_size (int, optional): Rows that the window branch sees, the token's own included. Default: ``512``.
        scale_value (float, optional): Factor of the scores. Default: ``None``, ``1 / sqrt(D1)``.
        limits (str, optional): ``"auto"`` checks the limits of the device in use, ``"ascend"`` those that CANN
            documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **query** (Tensor) - :math:`(T, N1, D1)`, float16, bfloat16 or float32. The tokens of all sequences, one
          sequence after another.
        - **key** (Tensor) - :math:`(T, N2, D1)`, dtype of `query`, of the selected branch.
        - **value** (Tensor) - :math:`(T, N2, D2)`, dtype of `query`, of the selected branch.
        - **gates** (Tensor) - :math:`(T, N1, 3)`, float: of the compressed, the selected and the window branch.
        - **compressed_key** (Tensor) - :math:`(T3, N2, D1)`, dtype of `query`, as :class:`ms_nsa.NsaCompress` makes
          them.
        - **compressed_value** (Tensor) - :math:`(T3, N2, D2)`, dtype of `query`.
        - **actual_seq_len** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a Tensor.
          Inclusive prefix sums of the lengths; the last entry is T. Default: ``None``, one sequence.
        - **compressed_query** (Tensor, optional) - :math:`(T, N1, D1)`, of the compressed branch. Default: ``None``,
          `query`.
        - **window_key** (Tensor, optional) - :math:`(T, N2, D1)`, of the window branch. Default: ``None``, `key`.
        - **window_value** (Tensor, optional) - :math:`(T, N2, D2)`, of the window branch. Default: ``None``, `value`.

    Outputs:
        - **attention_out** (Tensor) - :math:`(T, N1, D2)`, dtype of `query`.

    Raises:
        TypeError: If an argument has a wrong type, or an input a wrong dtype.
        ValueError: If an attribute, rank or extent does not fit, or breaks `limits`.
        RuntimeError: If lengths decrease or do not end at T, or there are too few rows of `compressed_key`. In
            PyNative mode it is raised when the result is read.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((100, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((100, 2, 24)), ms.float32)
        >>> value = Tensor(rng.standard_normal((100, 2, 16)), ms.float32)
        >>> gates = Tensor(rng.random((100, 8, 3)), ms.float32)
        >>> compress = ms_nsa.NsaCompress(16, 8)
        >>> keys, values = compress(key, None, (30, 100)), compress(value, None, (30, 100))
        >>> attention = ms_nsa.NsaAttention(
        ...     8, 2, compress_block_size=16, compress_stride=8, select_block_size=16, select_block_count=4)
        >>> print(attention(query, key, value, gates, keys, values, (30, 100)).shape)
        (100, 8, 16)
    """

    _lengths, _lengths_at = ("actual_seq_len",), (6,)

    def __init__(
        self,
        head_num,
        key_value_head_num,
        compress_block_size=32,
        compress_stride=16,
        select_block_size=64,
        select_block_count=16,
        init_blocks=1,
        local_blocks=2,
        window_size=512,
        scale_value=None,
        limits="auto",
    ):
        super().__init__()
        layer_checks.check_sizes(
            _NAME,
            head_num=head_num,
            key_value_head_num=key_value_head_num,
            compress_block_size=compress_block_size,
            compress_stride=compress_stride,
            select_block_size=select_block_size,
            select_block_count=select_block_count,
            init_blocks=init_blocks,
            local_blocks=local_blocks,
            window_size=window_size,
        )
        self.head_num, self.key_value_head_num = head_num, key_value_head_num
        self.compressed = NsaCompressAttention(
            head_num,
            scale_value,
            compress_block_size,
            compress_stride,
            select_block_size,
            select_block_count,
            3,
            init_blocks,
            local_blocks,
            limits=limits,
        )
        self.selected = NsaSelectAttention(head_num, scale_value, select_block_size, select_block_count, 3, limits)
        self.window = NsaWindowAttention(head_num, window_size, scale_value, limits)
        self.mix = make_gated_sum()
        self.twice, self.thrice = Shared(2), Shared(3)

    def construct(
        self,
        query,
        key,
        value,
        gates,
        compressed_key,
        compressed_value,
        actual_seq_len=None,
        compressed_query=None,
        window_key=None,
        window_value=None,
    ):
        self._check(query, key, gates)
        if compressed_query is None:
            compressed_query, query, window_query = _branches(query, self.thrice)
        else:
            query, window_query = _branches(query, self.twice)
        if window_key is None:
            key, window_key = _branches(key, self.twice)
        if window_value is None:
            value, window_value = _branches(value, self.twice)
        lengths = actual_seq_len
        compressed, topk_indices, _, _ = self.compressed(
            compressed_query, compressed_key, compressed_value, None, None, lengths, lengths
        )
        topk_indices = ops.stop_gradient(topk_indices)
        selected, _, _ = self.selected(query, key, value, topk_indices, None, lengths, lengths)
        window, _, _ = self.window(window_query, window_key, window_value, lengths, lengths)
        return self.mix(compressed, selected, window, gates).astype(query.dtype)

    def _check(self, query, key, gates):
        if call_arguments.shapes_unknown((query, key, gates)):
            return
        layer_checks.check_shape(_NAME, "query", query.shape, "T N1 D1", (-1, self.head_num, -1))
        tokens = query.shape[0]
        layer_checks.check_shape(_NAME, "key", key.shape, "T N2 D1", (tokens, self.key_value_head_num, -1))
        layer_checks.check_shape(_NAME, "gates", gates.shape, "T N1 3", (tokens, self.head_num, 3))


def _branches(tensor, shared):
    """The tensor for each of its readers."""
    if tensor.dtype == ms.bfloat16:
        return shared(tensor)
    return (tensor,) * shared.count
