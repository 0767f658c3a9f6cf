# SPDX-License-Identifier: Apache-2.0
"""Compressed attention with the choice of blocks for decoding over a paged cache: Cell and functional form."""

from mindspore import ops

from ms_nsa import cells, checks, refused_gradients

_INFER = "NsaCompressAttentionInfer"


class NsaCompressAttentionInfer(cells.OperatorCell):
    r"""
    :class:`ms_nsa.NsaCompressAttention` for decoding: the newest tokens of each sequence attend to a paged cache of
    compressed rows and choose the blocks for :class:`ms_nsa.NsaSelectedAttentionInfer`.

    Token `i` of a sequence with `q` new tokens and `kv` raw rows is at row ``kv - q + i``. It sees and chooses the same
    as a training token at that row with ``sparse_mode=3``. There may be any number of new tokens, even a whole prompt.
    Compressed row `c` is in page ``block_table[b, c // page_block_size]``.

    The method is Native Sparse Attention (arXiv:2502.11089). The signature follows
    ``torch_npu.npu_nsa_compress_attention_infer``.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Note:
        In PyNative mode, a RuntimeError is raised when the result is read. On Ascend, invalid values are reported only
        in PyNative mode and only if MS_NSA_DEBUG=1 was set when the Cell was created; otherwise they are ignored.

    Args:
        head_num (int): Number of query heads, N1.
        key_value_head_num (int): Number of key and value heads, N2. It must divide `head_num`.
        select_block_size (int): Raw rows per block.
        select_block_count (int): Blocks chosen per token: ``0``, or at least ``init_blocks + local_blocks``.
        page_block_size (int): Compressed rows per page.
        compress_block_size (int): Raw rows per window, at least `compress_stride`.
        compress_stride (int): Raw rows between the starts of consecutive windows.
        scale_value (float, optional): Factor applied to the scores. ``None`` means ``1 / sqrt(D1)``. Default: ``None``.
        layout (str, optional): Layout of `query`: ``"BSH"``, ``"BSND"`` or ``"TND"``. Default: ``"BSND"``.
        init_blocks (int, optional): Number of first blocks of a sequence that are always chosen. Default: ``1``.
        local_blocks (int, optional): Number of blocks, ending with the token's own block, that are always chosen.
            Default: ``2``.
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
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor]) - :math:`(B)`. Raw rows per sequence, including the
          new tokens. Required.

    Outputs:
        - **attention_out** (Tensor) - Same layout as `query` with D2 in place of D1; same dtype as `query`. Zero for
          tokens that see no row and for padding tokens beyond `actual_seq_qlen`.
        - **topk_indices** (Tensor) - :math:`(B, S, N2, select\_block\_count)`, or :math:`(T, N2, select\_block\_count)`
          for TND, int32. The chosen blocks in ascending order, then -1. Padding tokens hold only -1.
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
        RuntimeError: If lengths exceed S.
        RuntimeError: If the block table has no pages for some compressed rows.
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
        >>> key = Tensor(rng.standard_normal((9, 16, 2, 24)), ms.float32)  # 9 pages of 16 compressed rows
        >>> block_table = Tensor([[4, 0, 7], [2, 8, -1]], ms.int32)
        >>> attention = ms_nsa.NsaCompressAttentionInfer(
        ...     8, 2, select_block_size=16, select_block_count=4, page_block_size=16, compress_block_size=8,
        ...     compress_stride=4)
        >>> attention_out, topk_indices = attention(query, key, key, block_table, actual_seq_kvlen=(180, 90))
        >>> print(attention_out.shape, topk_indices.shape)
        (2, 1, 8, 24) (2, 1, 2, 4)
    """

    def __init__(
        self,
        head_num,
        key_value_head_num,
        select_block_size,
        select_block_count,
        page_block_size,
        compress_block_size,
        compress_stride,
        scale_value=None,
        layout="BSND",
        init_blocks=1,
        local_blocks=2,
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
            select_block_size=select_block_size,
            select_block_count=select_block_count,
            page_block_size=page_block_size,
            compress_block_size=compress_block_size,
            compress_stride=compress_stride,
            scale_value=scale_value,
            layout=layout,
            cache_layout=cache_layout,
            init_blocks=init_blocks,
            local_blocks=local_blocks,
            return_softmax_lse=return_softmax_lse,
        )
        self._make_operator(_INFER, attributes, device, (refused_gradients.of_paged, _INFER))

    def construct(self, query, key, value, block_table, actual_seq_qlen=None, actual_seq_kvlen=None):
        return self._call(query, key, value, block_table, actual_seq_qlen, actual_seq_kvlen)


_cell = cells.cached(NsaCompressAttentionInfer)


@ops.constexpr
def _check_no_mask(name, mask):
    if mask is not None:
        checks.fail(ValueError, _INFER, name, "be None", type(mask).__name__)


def nsa_compress_attention_infer(
    query,
    key,
    value,
    scale_value,
    head_num,
    key_value_head_num,
    select_block_size,
    select_block_count,
    page_block_size,
    compress_block_size,
    compress_stride,
    layout="BSND",
    atten_mask=None,
    block_table=None,
    topk_mask=None,
    actual_seq_qlen=None,
    actual_cmp_seq_kvlen=None,
    actual_sel_seq_kvlen=None,
    init_blocks=1,
    local_blocks=2,
):
    r"""
    Functional form of :class:`ms_nsa.NsaCompressAttentionInfer`, called like
    ``torch_npu.npu_nsa_compress_attention_infer``.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Args:
        query (Tensor): See `Inputs` of the Cell, also for the other tensors.
        key (Tensor): Paged cache of compressed keys.
        value (Tensor): Paged cache of compressed values.
        scale_value (float): Factor applied to the scores; ``None`` means ``1 / sqrt(D1)``.
        head_num (int): Number of query heads, N1.
        key_value_head_num (int): Number of key and value heads, N2.
        select_block_size (int): Raw rows per block.
        select_block_count (int): Blocks chosen per token.
        page_block_size (int): Compressed rows per page.
        compress_block_size (int): Raw rows per window.
        compress_stride (int): Raw rows between the starts of consecutive windows.
        layout (str, optional): Layout of `query`: ``"BSH"``, ``"BSND"`` or ``"TND"``. Default: ``"BSND"``.
        atten_mask (Tensor, optional): Must be ``None``. Default: ``None``.
        block_table (Tensor): :math:`(B, max\_blocks)`, int32. Required.
        topk_mask (Tensor, optional): Must be ``None``. Default: ``None``.
        actual_seq_qlen (Union[tuple, list, ndarray, Tensor], optional): New tokens per sequence. ``None`` means S per
            sequence (TND: 1). Default: ``None``.
        actual_cmp_seq_kvlen (Union[tuple, list, ndarray, Tensor], optional): Ignored, because it follows from the
            lengths of the raw rows. Default: ``None``.
        actual_sel_seq_kvlen (Union[tuple, list, ndarray, Tensor]): Raw rows per sequence. Required.
        init_blocks (int, optional): See the Cell. Default: ``1``.
        local_blocks (int, optional): See the Cell. Default: ``2``.

    Returns:
        tuple of Tensor: attention_out in the layout of `query`, and topk_indices.

    Raises:
        TypeError: As raised by :class:`ms_nsa.NsaCompressAttentionInfer`.
        ValueError: As raised by :class:`ms_nsa.NsaCompressAttentionInfer`.
        RuntimeError: As raised by :class:`ms_nsa.NsaCompressAttentionInfer`.

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
        >>> attention_out, topk_indices = ms_nsa.nsa_compress_attention_infer(
        ...     query, key, key, None, 8, 2, 16, 4, 16, 8, 4, block_table=block_table, actual_sel_seq_kvlen=[180, 90])
        >>> print(topk_indices.shape)
        (2, 1, 2, 4)
    """
    _check_no_mask("atten_mask", atten_mask)
    _check_no_mask("topk_mask", topk_mask)
    attributes = (
        head_num,
        key_value_head_num,
        select_block_size,
        select_block_count,
        page_block_size,
        compress_block_size,
        compress_stride,
        scale_value,
        layout,
        init_blocks,
        local_blocks,
    )
    return _cell(*attributes)(query, key, value, block_table, actual_seq_qlen, actual_sel_seq_kvlen)
