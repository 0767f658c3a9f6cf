# SPDX-License-Identifier: Apache-2.0
"""Sliding-window attention for decoding over a paged cache: Cell and functional form."""

from ms_nsa import cells, checks, refused_gradients

_INFER = "NsaWindowAttentionInfer"


class NsaWindowAttentionInfer(cells.OperatorCell):
    r"""
    Sliding-window attention for decoding: the newest tokens of each sequence attend to the last `window_size` rows up
    to their own.

    Token `i` of a sequence with `q` new tokens and `kv` rows is at row ``p = kv - q + i`` and sees the rows `j` with
    ``p - window_size < j <= p``. Row `j` is in page ``block_table[b, j // page_block_size]``.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Note:
        In PyNative mode, a RuntimeError is raised when the result is read. On Ascend, invalid values are reported only
        in PyNative mode and only if MS_NSA_DEBUG=1 was set when the Cell was created; otherwise they are ignored.

    Args:
        head_num (int): Number of query heads, N1.
        key_value_head_num (int): Number of key and value heads, N2. It must divide `head_num`.
        window_size (int): Rows that a token sees, including its own.
        page_block_size (int): Rows per page.
        scale_value (float, optional): Factor applied to the scores. ``None`` means ``1 / sqrt(D1)``. Default: ``None``.
        layout (str, optional): Layout of `query`: ``"BSH"``, ``"BSND"`` or ``"TND"``. Default: ``"BSND"``.
        return_softmax_lse (bool, optional): If ``True``, `softmax_max` and `softmax_sum` are returned too.
            Default: ``False``.
        limits (str, optional): ``"auto"`` checks the limits of the current device. ``"ascend"`` checks the limits that
            CANN documents for its own operators, on any device. Default: ``"auto"``.
        cache_layout (str, optional): Layout of a page, ``"BSND"`` or ``"BNSD"``. ``"BNSD"`` stores the rows of a head
            next to each other and is faster. Default: ``"BSND"``.

    Inputs:
        - **query** (Tensor) - For BSH :math:`(B, S, N1 \cdot D1)`, for BSND :math:`(B, S, N1, D1)`, for TND
          :math:`(T, N1, D1)`; float16, bfloat16 or float32.
        - **key** (Tensor) - :math:`(num\_blocks, page\_block\_size, N2, D1)`; the last two dimensions may be merged.
          With `cache_layout` ``"BNSD"``: :math:`(num\_blocks, N2, page\_block\_size, D1)`. Same dtype as `query`.
        - **value** (Tensor) - Same as `key` with D2 in place of D1.
        - **block_table** (Tensor) - :math:`(B, max\_blocks)`, int32. Entry `i` of a sequence is the page of its rows
          ``i * page_block_size`` to ``(i + 1) * page_block_size - 1`` in the cache. Entries for rows that no token sees
          may hold any value.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. New tokens per sequence,
          not prefix sums; at most S each. With TND their sum is T. ``None`` means S per sequence (TND: 1).
          Default: ``None``.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor]) - :math:`(B)`. Rows per sequence in the cache,
          including the new tokens. Required.

    Outputs:
        - **attention_out** (Tensor) - Same layout as `query` with D2 in place of D1; same dtype as `query`. Zero for
          tokens that see no row and for padding tokens beyond `actual_seq_qlen`.
        - **softmax_max** (Tensor) - Only if `return_softmax_lse` is ``True``. :math:`(B, S, N1, 8)`, or
          :math:`(T, N1, 8)` for TND, float32. Largest visible score after scaling, repeated 8 times; -inf for a token
          that sees no row.
        - **softmax_sum** (Tensor) - Same condition, shape and dtype as `softmax_max`. Sum of
          ``exp(score - softmax_max)``; 0 for a token that sees no row.

    Raises:
        TypeError: If an argument has the wrong type.
        TypeError: If an input has the wrong dtype.
        ValueError: If an attribute, rank or extent is invalid.
        ValueError: If an attribute or extent does not satisfy `limits`.
        RuntimeError: If lengths exceed S or the block table.
        RuntimeError: If a page does not exist.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((2, 1, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((9, 16, 2, 24)), ms.float32)  # 9 pages of 16 rows
        >>> block_table = Tensor([[4, 0, 7], [2, 8, -1]], ms.int32)
        >>> attention = ms_nsa.NsaWindowAttentionInfer(8, 2, window_size=20, page_block_size=16)
        >>> print(attention(query, key, key, block_table, actual_seq_kvlen=(45, 23)).shape)
        (2, 1, 8, 24)
    """

    def __init__(
        self,
        head_num,
        key_value_head_num,
        window_size,
        page_block_size,
        scale_value=None,
        layout="BSND",
        return_softmax_lse=False,
        limits="auto",
        cache_layout="BSND",
    ):
        super().__init__()
        attributes, device = checks.operator_attributes(
            _INFER,
            limits,
            head_num=head_num,
            key_value_head_num=key_value_head_num,
            window_size=window_size,
            page_block_size=page_block_size,
            scale_value=scale_value,
            layout=layout,
            cache_layout=cache_layout,
            return_softmax_lse=return_softmax_lse,
        )
        self._make_operator(_INFER, attributes, device, (refused_gradients.of_paged, _INFER))

    def construct(self, query, key, value, block_table, actual_seq_qlen=None, actual_seq_kvlen=None):
        return self._call(query, key, value, block_table, actual_seq_qlen, actual_seq_kvlen)


_cell = cells.cached(NsaWindowAttentionInfer)


def nsa_window_attention_infer(
    query,
    key,
    value,
    scale_value,
    head_num,
    key_value_head_num,
    window_size,
    page_block_size,
    layout="BSND",
    block_table=None,
    actual_seq_qlen=None,
    actual_seq_kvlen=None,
):
    r"""
    Functional form of :class:`ms_nsa.NsaWindowAttentionInfer`.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Args:
        query (Tensor): See `Inputs` of the Cell, also for the other tensors.
        key (Tensor): Paged cache of the keys.
        value (Tensor): Paged cache of the values.
        scale_value (float): Factor applied to the scores; ``None`` means ``1 / sqrt(D1)``.
        head_num (int): Number of query heads, N1.
        key_value_head_num (int): Number of key and value heads, N2.
        window_size (int): Rows that a token sees, including its own.
        page_block_size (int): Rows per page.
        layout (str, optional): Layout of `query`: ``"BSH"``, ``"BSND"`` or ``"TND"``. Default: ``"BSND"``.
        block_table (Tensor): :math:`(B, max\_blocks)`, int32. Required.
        actual_seq_qlen (Union[tuple, list, ndarray, Tensor], optional): New tokens per sequence. ``None`` means S per
            sequence (TND: 1). Default: ``None``.
        actual_seq_kvlen (Union[tuple, list, ndarray, Tensor]): Rows per sequence. Required.

    Returns:
        Tensor, attention_out in the layout of `query`.

    Raises:
        TypeError: As raised by :class:`ms_nsa.NsaWindowAttentionInfer`.
        ValueError: As raised by :class:`ms_nsa.NsaWindowAttentionInfer`.
        RuntimeError: As raised by :class:`ms_nsa.NsaWindowAttentionInfer`.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((2, 1, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((9, 16, 2, 24)), ms.float32)
        >>> block_table = Tensor([[4, 0, 7], [2, 8, -1]], ms.int32)
        >>> print(ms_nsa.nsa_window_attention_infer(
        ...     query, key, key, None, 8, 2, 20, 16, block_table=block_table, actual_seq_kvlen=[45, 23]).shape)
        (2, 1, 8, 24)
    """
    attributes = head_num, key_value_head_num, window_size, page_block_size, scale_value, layout
    return _cell(*attributes)(query, key, value, block_table, actual_seq_qlen, actual_seq_kvlen)
