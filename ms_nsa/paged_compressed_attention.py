# SPDX-License-Identifier: Apache-2.0
"""Attention over a paged cache of compressed rows with the choice of blocks: the Cell and the functional form."""

from mindspore import ops

from ms_nsa import cells, checks, refused_gradients

_INFER = "NsaCompressAttentionInfer"


class NsaCompressAttentionInfer(cells.OperatorCell):
    r"""
    :class:`ms_nsa.NsaCompressAttention` for decoding: the newest tokens of every sequence attend to a paged cache of
    compressed rows, and choose the blocks that :class:`ms_nsa.NsaSelectedAttentionInfer` shall read.

    Token `i` of a sequence with `q` new tokens and `kv` raw rows stands at row ``kv - q + i`` and sees and chooses
    what a training token there does with ``sparse_mode=3``. Any number of new tokens may come at once, a whole prompt
    too. Compressed row `c` lies in page ``block_table[b, c // page_block_size]``.

    The method is Native Sparse Attention (arXiv:2502.11089). The call follows
    ``torch_npu.npu_nsa_compress_attention_infer``.

    Args:
        head_num (int): Number of query heads N1.
        key_value_head_num (int): Number of key and value heads N2; divides `head_num`.
        select_block_size (int): Raw rows of a block.
        select_block_count (int): Blocks that a token chooses, at least ``init_blocks + local_blocks``; ``0`` chooses
            none.
        page_block_size (int): Compressed rows of a page.
        compress_block_size (int): Raw rows of a window, at least `compress_stride`.
        compress_stride (int): Raw rows from the start of one window to that of the next.
        scale_value (float, optional): Factor of the scores. Default: ``None``, ``1 / sqrt(D1)``.
        layout (str, optional): ``"BSH"``, ``"BSND"`` or ``"TND"``. Default: ``"BSND"``.
        init_blocks (int, optional): The first blocks of a sequence that are always chosen. Default: ``1``.
        local_blocks (int, optional): The last blocks up to the token's own that are always chosen. Default: ``2``.
        return_softmax_lse (bool, optional): ``True`` returns `softmax_max` and `softmax_sum` as well. Default:
            ``False``.
        limits (str, optional): ``"auto"`` checks the limits of the device in use, ``"ascend"`` those that CANN
            documents for its own operators, on any device. Default: ``"auto"``.
        cache_layout (str, optional): ``"BSND"`` or ``"BNSD"``, in whose pages the rows of a head follow one another:
            the faster one. Default: ``"BSND"``.

    Inputs:
        - **query** (Tensor) - BSH :math:`(B, S, N1 \cdot D1)`, BSND :math:`(B, S, N1, D1)`, TND
          :math:`(T, N1, D1)`; float16, bfloat16 or float32.
        - **key** (Tensor) - :math:`(num\_blocks, page\_block\_size, N2, D1)`, or the last two dimensions as one; with
          `cache_layout` ``"BNSD"`` :math:`(num\_blocks, N2, page\_block\_size, D1)`; dtype of `query`.
        - **value** (Tensor) - the same with D2.
        - **block_table** (Tensor) - :math:`(B, max\_blocks)`, int32. Page of every stretch of `page_block_size` rows of
          the cache; entries that no visible row needs may hold anything.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. New tokens of every
          sequence (no prefix sums), at most S; in TND they sum to T. Default: ``None``, S each, in TND 1 each.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor]) - :math:`(B)`. Raw rows of every sequence, the new
          tokens included. Must be given.

    Outputs:
        - **attention_out** (Tensor) - the layout of `query` with D2 for D1, dtype of `query`. Zero for tokens that see
          nothing and for the padded tokens beyond `actual_seq_qlen`.
        - **topk_indices** (Tensor) - int32, :math:`(B, S, N2, select\_block\_count)`, in TND
          :math:`(T, N2, select\_block\_count)`. The chosen blocks in ascending order, then -1; -1 alone for the padded
          tokens.
        - **softmax_max** (Tensor) - with `return_softmax_lse`: :math:`(B, S, N1, 8)`, in TND :math:`(T, N1, 8)`,
          float32. Largest visible score after scaling, repeated 8 times; -inf for a token that sees nothing.
        - **softmax_sum** (Tensor) - likewise. Sum of ``exp(score - softmax_max)``; 0 for a token that sees nothing.

    Raises:
        TypeError: If an argument has a wrong type, or an input a wrong dtype.
        ValueError: If an attribute, rank or extent does not fit, or breaks `limits`.
        RuntimeError: If a value does not fit: lengths beyond S, a block table without pages for all compressed
            rows, a page id that does not exist. In PyNative mode it is raised when the result is read. On Ascend values
            are looked at in PyNative mode, where MS_NSA_DEBUG=1 is set when the Cell is made; elsewhere wrong ones
            contribute nothing.

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

    Args:
        query (Tensor): see `Inputs` of the Cell, as are the other tensors.
        key (Tensor): paged cache of the compressed keys.
        value (Tensor): paged cache of the compressed values.
        scale_value (float): Factor of the scores; ``None``: ``1 / sqrt(D1)``.
        head_num (int): N1.
        key_value_head_num (int): N2.
        select_block_size (int): Raw rows of a block.
        select_block_count (int): Blocks that a token chooses.
        page_block_size (int): Compressed rows of a page.
        compress_block_size (int): Raw rows of a window.
        compress_stride (int): Raw rows from one window to the next.
        layout (str, optional): ``"BSH"``, ``"BSND"`` or ``"TND"``. Default: ``"BSND"``.
        atten_mask (Tensor, optional): Must be ``None``. Default: ``None``.
        block_table (Tensor): :math:`(B, max\_blocks)`, int32. Must be given.
        topk_mask (Tensor, optional): Must be ``None``. Default: ``None``.
        actual_seq_qlen (Union[tuple, list, ndarray, Tensor], optional): New tokens of every sequence. Default:
            ``None``, S each, in TND 1 each.
        actual_cmp_seq_kvlen (Union[tuple, list, ndarray, Tensor], optional): Not read: it follows from the raw rows.
            Default: ``None``.
        actual_sel_seq_kvlen (Union[tuple, list, ndarray, Tensor]): Raw rows of every sequence. Must be given.
        init_blocks (int, optional): see the Cell. Default: ``1``.
        local_blocks (int, optional): see the Cell. Default: ``2``.

    Returns:
        tuple of Tensor: attention_out in the layout of `query`, and topk_indices.

    Raises:
        TypeError: As :class:`ms_nsa.NsaCompressAttentionInfer`.
        ValueError: As :class:`ms_nsa.NsaCompressAttentionInfer`.
        RuntimeError: As :class:`ms_nsa.NsaCompressAttentionInfer`.

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
