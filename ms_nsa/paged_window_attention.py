# SPDX-License-Identifier: Apache-2.0
"""The sliding window for decoding over a paged cache: the Cell and the functional form."""

from ms_nsa import cells, checks, refused_gradients

_INFER = "NsaWindowAttentionInfer"


class NsaWindowAttentionInfer(cells.OperatorCell):
    r"""
    Sliding-window attention for decoding: the newest tokens of every sequence attend to the last rows up to their own.

    Token `i` of a sequence with `q` new tokens and `kv` rows stands at row ``p = kv - q + i`` and sees rows `j` with
    ``p - window_size < j <= p``. Row `j` lies in page ``block_table[b, j // page_block_size]``.

    Args:
        head_num (int): Number of query heads N1.
        key_value_head_num (int): Number of key and value heads N2; divides `head_num`.
        window_size (int): Rows that a token sees, its own included.
        page_block_size (int): Rows of a page.
        scale_value (float, optional): Factor of the scores. Default: ``None``, ``1 / sqrt(D1)``.
        layout (str, optional): ``"BSH"``, ``"BSND"`` or ``"TND"``. Default: ``"BSND"``.
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
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor]) - :math:`(B)`. Rows of every sequence in the cache,
          the new tokens included. Must be given.

    Outputs:
        - **attention_out** (Tensor) - the layout of `query` with D2 for D1, dtype of `query`. Zero for tokens that see
          nothing and for the padded tokens beyond `actual_seq_qlen`.
        - **softmax_max** (Tensor) - with `return_softmax_lse`: :math:`(B, S, N1, 8)`, in TND :math:`(T, N1, 8)`,
          float32. Largest visible score after scaling, repeated 8 times; -inf for a token that sees nothing.
        - **softmax_sum** (Tensor) - likewise. Sum of ``exp(score - softmax_max)``; 0 for a token that sees nothing.

    Raises:
        TypeError: If an argument has a wrong type, or an input a wrong dtype.
        ValueError: If an attribute, rank or extent does not fit, or breaks `limits`.
        RuntimeError: If a value does not fit: lengths beyond S or the block table, a page id that does not
            exist. In PyNative mode it is raised when the result is read. On Ascend values are looked at in PyNative
            mode, where MS_NSA_DEBUG=1 is set when the Cell is made; elsewhere wrong ones contribute nothing.

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

    Args:
        query (Tensor): see `Inputs` of the Cell, as are the other tensors.
        key (Tensor): paged cache of the keys.
        value (Tensor): paged cache of the values.
        scale_value (float): Factor of the scores; ``None``: ``1 / sqrt(D1)``.
        head_num (int): N1.
        key_value_head_num (int): N2.
        window_size (int): Rows that a token sees, its own included.
        page_block_size (int): Rows of a page.
        layout (str, optional): ``"BSH"``, ``"BSND"`` or ``"TND"``. Default: ``"BSND"``.
        block_table (Tensor): :math:`(B, max\_blocks)`, int32. Must be given.
        actual_seq_qlen (Union[tuple, list, ndarray, Tensor], optional): New tokens of every sequence. Default:
            ``None``, S each, in TND 1 each.
        actual_seq_kvlen (Union[tuple, list, ndarray, Tensor]): Rows of every sequence. Must be given.

    Returns:
        Tensor, attention_out in the layout of `query`.

    Raises:
        TypeError: As :class:`ms_nsa.NsaWindowAttentionInfer`.
        ValueError: As :class:`ms_nsa.NsaWindowAttentionInfer`.
        RuntimeError: As :class:`ms_nsa.NsaWindowAttentionInfer`.

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
