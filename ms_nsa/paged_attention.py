# SPDX-License-Identifier: Apache-2.0
"""Selected attention for decoding over a paged KV cache: the Cell and the functional form."""

from ms_nsa import cells, checks, refused_gradients

_INFER = "NsaSelectedAttentionInfer"


class NsaSelectedAttentionInfer(cells.OperatorCell):
    r"""
    Selected attention for decoding: the newest tokens of every sequence attend to selected blocks of a paged KV cache.

    Row `p` of a sequence lies in page ``block_table[b, p // page_block_size]`` at row ``p % page_block_size``. Pages
    and selected blocks are independent: a block may span pages and a page may hold several blocks. Tokens are
    right-aligned: token `i` of a sequence with `q` new tokens and `kv` rows sees rows below ``kv - (q - 1 - i)``.

    The method is Native Sparse Attention (arXiv:2502.11089). The call follows
    ``torch_npu.npu_nsa_select_attention_infer``.

    Args:
        head_num (int): Number of query heads N1.
        key_value_head_num (int): Number of key and value heads N2; divides `head_num`. Each has its own index row.
        select_block_size (int): Rows of a selected block.
        select_block_count (int): Slots a token has in `topk_indices`.
        page_block_size (int): Rows of a page.
        scale_value (float, optional): Factor of the scores. Default: ``None``, ``1 / sqrt(D1)``.
        layout (str, optional): ``"BSH"``, ``"BSND"`` or ``"TND"``. Default: ``"BSND"``.
        sparse_mode (int, optional): ``0`` and ``3``: the right-aligned rule above. ``2``: besides it only rows with
            ``j <= i``. Default: ``0``.
        limits (str, optional): ``"auto"`` checks the limits of the device in use, ``"ascend"`` those that CANN
            documents for its own operators, on any device. Default: ``"auto"``.
        return_softmax_lse (bool, optional): ``True`` returns `softmax_max` and `softmax_sum` as well, whose
            ``softmax_max + log(softmax_sum)`` merges the results of parts of a cache. Default: ``False``.
        cache_layout (str, optional): ``"BSND"`` or ``"BNSD"``, in whose pages the rows of a head follow one another:
            the faster one. Default: ``"BSND"``.

    Inputs:
        - **query** (Tensor) - BSH :math:`(B, S, N1 \cdot D1)`, BSND :math:`(B, S, N1, D1)`, TND
          :math:`(T, N1, D1)`; float16, bfloat16 or float32.
        - **key** (Tensor) - :math:`(num\_blocks, page\_block\_size, N2, D1)`, or the last two dimensions as one; with
          `cache_layout` ``"BNSD"`` :math:`(num\_blocks, N2, page\_block\_size, D1)`; dtype of `query`.
        - **value** (Tensor) - the same with D2.
        - **topk_indices** (Tensor) - int32 or int64. TND :math:`(T, N2, select\_block\_count)`, otherwise
          :math:`(B, S, N2, select\_block\_count)`, or :math:`(B, N2, select\_block\_count)` when S is 1. Block
          numbers in the sequence's logical order; negative: nothing; listed twice: counts twice.
        - **block_table** (Tensor) - :math:`(B, max\_blocks)`, int32. Page of every stretch of `page_block_size` rows;
          entries that no selected row needs may hold anything.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. New tokens of every
          sequence (no prefix sums), at most S; in TND they sum to T. Default: ``None``, S each, in TND 1 each.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor]) - :math:`(B)`. Rows of every sequence in the
          cache, the new tokens included. Must be given.
        - **atten_mask** (Tensor, optional) - at least :math:`(max\ q, max\ kv)`, bool or uint8; a non-zero element at
          (token of its sequence, row) drops the row. Or :math:`(B, S, S)` with S at least the largest `q`: a mask of
          each sequence over its new tokens, row `j` standing for row ``kv - q + j``, as trees of drafts need it.
          Default: ``None``.

    Outputs:
        - **attention_out** (Tensor) - the layout of `query` with D2 for D1, dtype of `query`. Zero for tokens that see
          no row and for the padded tokens beyond `actual_seq_qlen`.
        - **softmax_max** (Tensor) - with `return_softmax_lse`: :math:`(B, S, N1, 8)`, in TND :math:`(T, N1, 8)`,
          float32. Largest visible score after scaling, repeated 8 times; -inf for a token that sees no row.
        - **softmax_sum** (Tensor) - likewise. Sum of ``exp(score - softmax_max)``; 0 for a token that sees no row.

    Raises:
        TypeError: If an argument has a wrong type, or an input a wrong dtype.
        ValueError: If an attribute, rank or extent does not fit, or breaks `limits`.
        RuntimeError: If a value does not fit: lengths beyond S or the block table, an index that is not below
            ``ceil(kv / select_block_size)``, a page id that does not exist, a mask that is too small. In PyNative mode
            it is raised when the result is read. On Ascend values are looked at in PyNative mode, where MS_NSA_DEBUG=1
            is set when the Cell is made; elsewhere wrong ones contribute nothing, nor does what lies beyond the mask.

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

    Args:
        query (Tensor): see `Inputs` of the Cell, as are the other tensors.
        key (Tensor): paged cache of the keys.
        value (Tensor): paged cache of the values.
        topk_indices (Tensor): selected blocks, int32 or int64.
        scale_value (float): Factor of the scores; ``None``: ``1 / sqrt(D1)``.
        head_num (int): N1.
        key_value_head_num (int): N2.
        select_block_size (int): Rows of a selected block.
        select_block_count (int): Slots of a token.
        page_block_size (int): Rows of a page.
        layout (str, optional): ``"BSH"``, ``"BSND"`` or ``"TND"``. Default: ``"BSND"``.
        atten_mask (Tensor, optional): non-zero = drop. Default: ``None``.
        block_table (Tensor): :math:`(B, max\_blocks)`, int32. Must be given.
        actual_seq_qlen (Union[tuple, list, ndarray, Tensor], optional): New tokens of every sequence. Default:
            ``None``, S each, in TND 1 each.
        actual_seq_kvlen (Union[tuple, list, ndarray, Tensor]): Rows of every sequence. Must be given.
        cache_layout (str, optional): ``"BSND"`` or ``"BNSD"``. Default: ``"BSND"``.

    Returns:
        Tensor, attention_out in the layout of `query`.

    Raises:
        TypeError: As :class:`ms_nsa.NsaSelectedAttentionInfer`.
        ValueError: As :class:`ms_nsa.NsaSelectedAttentionInfer`.
        RuntimeError: As :class:`ms_nsa.NsaSelectedAttentionInfer`.

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
