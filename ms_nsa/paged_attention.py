# SPDX-License-Identifier: Apache-2.0
"""Selected attention for decoding over a paged KV cache: Cell and functional form."""

from ms_nsa import cells, checks, refused_gradients

_INFER = "NsaSelectedAttentionInfer"


class NsaSelectedAttentionInfer(cells.OperatorCell):
    r"""
    Selected attention for decoding: the newest tokens of each sequence attend to selected blocks of a paged KV cache.

    Row `p` of a sequence is row ``p % page_block_size`` of page ``block_table[b, p // page_block_size]``. Pages and
    selected blocks are independent: a block may span pages, and a page may hold several blocks. Tokens are
    right-aligned: token `i` of a sequence with `q` new tokens and `kv` rows sees the rows below ``kv - (q - 1 - i)``.

    The method is Native Sparse Attention (arXiv:2502.11089). The signature follows
    ``torch_npu.npu_nsa_select_attention_infer``.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Note:
        In PyNative mode, a RuntimeError is raised when the result is read. On Ascend, invalid values are reported only
        in PyNative mode and only if MS_NSA_DEBUG=1 was set when the Cell was created; otherwise they are ignored.
        Rows outside a mask that is too small are then hidden.

    Args:
        head_num (int): Number of query heads, N1.
        key_value_head_num (int): Number of key and value heads, N2. It must divide `head_num`. Each head has its own
            row of indices.
        select_block_size (int): Rows per selected block.
        select_block_count (int): Slots per token in `topk_indices`.
        page_block_size (int): Rows per page.
        scale_value (float, optional): Factor applied to the scores. ``None`` means ``1 / sqrt(D1)``. Default: ``None``.
        layout (str, optional): Layout of `query`: ``"BSH"``, ``"BSND"`` or ``"TND"``. Default: ``"BSND"``.
        sparse_mode (int, optional): ``0`` and ``3``: the right-aligned rule above. ``2``: that rule, and only rows with
            ``j <= i``. Default: ``0``.
        limits (str, optional): ``"auto"`` checks the limits of the current device. ``"ascend"`` checks the limits that
            CANN documents for its own operators, on any device. Default: ``"auto"``.
        return_softmax_lse (bool, optional): If ``True``, `softmax_max` and `softmax_sum` are returned too. Results over
            parts of a cache can be merged by ``softmax_max + log(softmax_sum)``, the log-sum-exp of the scores.
            Default: ``False``.
        cache_layout (str, optional): Layout of a page, ``"BSND"`` or ``"BNSD"``. ``"BNSD"`` stores the rows of a head
            next to each other and is faster. Default: ``"BSND"``.

    Inputs:
        - **query** (Tensor) - For BSH :math:`(B, S, N1 \cdot D1)`, for BSND :math:`(B, S, N1, D1)`, for TND
          :math:`(T, N1, D1)`; float16, bfloat16 or float32.
        - **key** (Tensor) - :math:`(num\_blocks, page\_block\_size, N2, D1)`; the last two dimensions may be merged.
          With `cache_layout` ``"BNSD"``: :math:`(num\_blocks, N2, page\_block\_size, D1)`. Same dtype as `query`.
        - **value** (Tensor) - Same as `key` with D2 in place of D1.
        - **topk_indices** (Tensor) - :math:`(B, S, N2, select\_block\_count)`; also
          :math:`(B, N2, select\_block\_count)` if S is 1; for TND :math:`(T, N2, select\_block\_count)`; int32 or
          int64. Indices of blocks in the sequence's logical order. A negative entry selects nothing. A block listed
          twice counts twice.
        - **block_table** (Tensor) - :math:`(B, max\_blocks)`, int32. Entry `i` of a sequence is the page of its rows
          ``i * page_block_size`` to ``(i + 1) * page_block_size - 1``. Entries for rows that no token selects may hold
          any value.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. New tokens per sequence,
          not prefix sums; at most S each. With TND their sum is T. ``None`` means S per sequence (TND: 1).
          Default: ``None``.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor]) - :math:`(B)`. Rows per sequence in the cache,
          including the new tokens. Required.
        - **atten_mask** (Tensor, optional) - At least :math:`(max\ q, max\ kv)`, bool or uint8. A non-zero element at
          (token of its sequence, row) hides the row from the token. Or :math:`(B, S, S)` with S at least the largest
          `q`: one mask per sequence over its new tokens, whose column `j` stands for row ``kv - q + j``, as speculative
          decoding with draft trees needs. Default: ``None``.

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
        RuntimeError: If an index is not below ``ceil(kv / select_block_size)``.
        RuntimeError: If a page does not exist.
        RuntimeError: If a mask is too small.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((2, 1, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((9, 16, 2, 24)), ms.float32)  # 9 pages of 16 rows
        >>> value = Tensor(rng.standard_normal((9, 16, 2, 20)), ms.float32)
        >>> block_table = Tensor([[4, 0, 7], [2, 8, -1]], ms.int32)
        >>> topk_indices = Tensor(rng.integers(0, 3, (2, 1, 2, 2)), ms.int32)
        >>> attention = ms_nsa.NsaSelectedAttentionInfer(
        ...     head_num=8, key_value_head_num=2, select_block_size=8, select_block_count=2, page_block_size=16)
        >>> attention_out = attention(query, key, value, topk_indices, block_table, actual_seq_kvlen=(45, 23))
        >>> print(attention_out.shape)
        (2, 1, 8, 20)
    """

    def __init__(
        self,
        head_num,
        key_value_head_num,
        select_block_size,
        select_block_count,
        page_block_size,
        scale_value=None,
        layout="BSND",
        sparse_mode=0,
        limits="auto",
        return_softmax_lse=False,
        cache_layout="BSND",
    ):
        super().__init__()
        attributes, device = checks.operator_attributes(
            _INFER,
            limits,
            head_num=head_num,
            key_value_head_num=key_value_head_num,
            select_block_size=select_block_size,
            select_block_count=select_block_count,
            page_block_size=page_block_size,
            scale_value=scale_value,
            layout=layout,
            cache_layout=cache_layout,
            sparse_mode=sparse_mode,
            return_softmax_lse=return_softmax_lse,
        )
        self._make_operator(_INFER, attributes, device, (refused_gradients.of_decoding, _INFER))

    def construct(
        self,
        query,
        key,
        value,
        topk_indices,
        block_table,
        actual_seq_qlen=None,
        actual_seq_kvlen=None,
        atten_mask=None,
    ):
        return self._call(query, key, value, topk_indices, block_table, actual_seq_qlen, actual_seq_kvlen, atten_mask)


_cell = cells.cached(NsaSelectedAttentionInfer)


def nsa_select_attention_infer(
    query,
    key,
    value,
    topk_indices,
    scale_value,
    head_num,
    key_value_head_num,
    select_block_size,
    select_block_count,
    page_block_size,
    layout="BSND",
    atten_mask=None,
    block_table=None,
    actual_seq_qlen=None,
    actual_seq_kvlen=None,
    cache_layout="BSND",
):
    r"""
    Functional form of :class:`ms_nsa.NsaSelectedAttentionInfer`, called like
    ``torch_npu.npu_nsa_select_attention_infer``.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Args:
        query (Tensor): See `Inputs` of the Cell, also for the other tensors.
        key (Tensor): Paged cache of the keys.
        value (Tensor): Paged cache of the values.
        topk_indices (Tensor): Indices of the selected blocks, int32 or int64.
        scale_value (float): Factor applied to the scores; ``None`` means ``1 / sqrt(D1)``.
        head_num (int): Number of query heads, N1.
        key_value_head_num (int): Number of key and value heads, N2.
        select_block_size (int): Rows per selected block.
        select_block_count (int): Slots per token in `topk_indices`.
        page_block_size (int): Rows per page.
        layout (str, optional): Layout of `query`: ``"BSH"``, ``"BSND"`` or ``"TND"``. Default: ``"BSND"``.
        atten_mask (Tensor, optional): Non-zero elements hide rows. Default: ``None``.
        block_table (Tensor): :math:`(B, max\_blocks)`, int32. Required.
        actual_seq_qlen (Union[tuple, list, ndarray, Tensor], optional): New tokens per sequence. ``None`` means S per
            sequence (TND: 1). Default: ``None``.
        actual_seq_kvlen (Union[tuple, list, ndarray, Tensor]): Rows per sequence. Required.
        cache_layout (str, optional): Layout of a page, ``"BSND"`` or ``"BNSD"``. Default: ``"BSND"``.

    Returns:
        Tensor, attention_out in the layout of `query`.

    Raises:
        TypeError: As raised by :class:`ms_nsa.NsaSelectedAttentionInfer`.
        ValueError: As raised by :class:`ms_nsa.NsaSelectedAttentionInfer`.
        RuntimeError: As raised by :class:`ms_nsa.NsaSelectedAttentionInfer`.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((2, 1, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((9, 16, 2, 24)), ms.float32)  # 9 pages of 16 rows
        >>> value = Tensor(rng.standard_normal((9, 16, 2, 20)), ms.float32)
        >>> block_table = Tensor([[4, 0, 7], [2, 8, -1]], ms.int32)
        >>> topk_indices = Tensor(rng.integers(0, 3, (2, 1, 2, 2)), ms.int32)
        >>> attention_out = ms_nsa.nsa_select_attention_infer(
        ...     query, key, value, topk_indices, 0.2, 8, 2, 8, 2, 16, block_table=block_table,
        ...     actual_seq_kvlen=[45, 23])
        >>> print(attention_out.shape)
        (2, 1, 8, 20)
    """
    sizes = head_num, key_value_head_num, select_block_size, select_block_count, page_block_size
    attributes = *sizes, scale_value, layout, 0, "auto", False, cache_layout
    cell = _cell(*attributes)
    return cell(query, key, value, topk_indices, block_table, actual_seq_qlen, actual_seq_kvlen, atten_mask)
