# SPDX-License-Identifier: Apache-2.0
"""Compressed attention with the choice of blocks for training: forward Cell, gradient Cell and functional form."""

from mindspore import ops

from ms_nsa import cells, checks, refused_gradients

_FORWARD = "NsaCompressAttention"
_GRAD = "NsaCompressAttentionGrad"


class NsaCompressAttentionGrad(cells.OperatorCell):
    r"""
    Gradient of :class:`ms_nsa.NsaCompressAttention` with respect to query, key and value.

    The training Cell calls it automatically. Use it directly in code that keeps the results of the forward pass and
    differentiates by hand. The choice of blocks has no gradient.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Note:
        In PyNative mode, a RuntimeError is raised when the result is read. On Ascend, invalid values are reported only
        in PyNative mode and only if MS_NSA_DEBUG=1 was set when the Cell was created; otherwise they are ignored.

    Args:
        head_num (int): Number of query heads, N1.
        scale_value (float, optional): Same as in the forward pass. Default: ``None``.
        compress_block_size (int, optional): Raw rows per window, at least `compress_stride`. Default: ``32``.
        compress_stride (int, optional): Raw rows between the starts of consecutive windows. Default: ``16``.
        sparse_mode (int, optional): Same as in the forward pass. Default: ``3``.
        limits (str, optional): Same as in the forward pass. Default: ``"auto"``.

    Inputs:
        - **grad** (Tensor) - :math:`(T1, N1, D2)`, same dtype as `query`. Gradient of `attention_out`.
        - **query** (Tensor) - :math:`(T1, N1, D1)`, float16, bfloat16 or float32. Tokens of all sequences,
          concatenated.
        - **key** (Tensor) - :math:`(T3, N2, D1)`, same dtype as `query`. Compressed rows: the windows of all sequences,
          concatenated. Rows beyond T3 are not read.
        - **value** (Tensor) - :math:`(T3, N2, D2)`, same dtype as `query`.
        - **attention_out** (Tensor) - :math:`(T1, N1, D2)`, same dtype as `query`, from the forward pass.
        - **softmax_max** (Tensor) - :math:`(T1, N1, 8)`, float32, from the forward pass.
        - **softmax_sum** (Tensor) - :math:`(T1, N1, 8)`, float32, from the forward pass.
        - **atten_mask** (Tensor, optional) - Same as in the forward pass. Default: ``None``.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a Tensor.
          Inclusive prefix sums of the query lengths; the last is T1. ``None`` means one sequence. Default: ``None``.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. Inclusive prefix sums of
          the raw rows, before compression. ``None`` means the same as `actual_seq_qlen`. Default: ``None``.
        - **softmax_max_grad** (Tensor, optional) - :math:`(T1, N1, 8)`, float32. Gradient of `softmax_max`; its 8 lanes
          are summed. ``None`` means zero. Default: ``None``.
        - **softmax_sum_grad** (Tensor, optional) - :math:`(T1, N1, 8)`, float32. Gradient of `softmax_sum`; its 8 lanes
          are summed. ``None`` means zero. Default: ``None``.

    Outputs:
        - **dq** (Tensor) - :math:`(T1, N1, D1)`, same dtype as `query`.
        - **dk** (Tensor) - Same shape and dtype as `key`. Zero for rows that no query sees.
        - **dv** (Tensor) - Same shape and dtype as `value`. Zero for rows that no query sees.

    Raises:
        TypeError: If an argument has the wrong type.
        TypeError: If an input has the wrong dtype.
        ValueError: If an attribute, rank or extent is invalid.
        ValueError: If an attribute or extent does not satisfy `limits`.
        RuntimeError: If prefix sums decrease, or those of the queries do not end at T1.
        RuntimeError: If `key` has too few rows.
        RuntimeError: If a mask is too small.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((40, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((4, 2, 24)), ms.float32)
        >>> value = Tensor(rng.standard_normal((4, 2, 16)), ms.float32)
        >>> sizes = {"compress_block_size": 16, "compress_stride": 8}
        >>> attention = ms_nsa.NsaCompressAttention(8, select_block_size=8, select_block_count=4, **sizes)
        >>> attention_out, _, softmax_max, softmax_sum = attention(query, key, value)
        >>> bprop = ms_nsa.NsaCompressAttentionGrad(8, **sizes)
        >>> grad = ops.ones_like(attention_out)
        >>> dq, dk, dv = bprop(grad, query, key, value, attention_out, softmax_max, softmax_sum)
        >>> print(dq.shape, dk.shape, dv.shape)
        (40, 8, 24) (4, 2, 24) (4, 2, 16)
    """

    def __init__(
        self, head_num, scale_value=None, compress_block_size=32, compress_stride=16, sparse_mode=3, limits="auto"
    ):
        super().__init__()
        attributes, device = checks.operator_attributes(
            _GRAD,
            limits,
            head_num=head_num,
            scale_value=scale_value,
            compress_block_size=compress_block_size,
            compress_stride=compress_stride,
            sparse_mode=sparse_mode,
        )
        self._make_operator(_GRAD, attributes, device, (refused_gradients.of_compressed_gradient, _GRAD))

    def construct(
        self,
        grad,
        query,
        key,
        value,
        attention_out,
        softmax_max,
        softmax_sum,
        atten_mask=None,
        actual_seq_qlen=None,
        actual_seq_kvlen=None,
        softmax_max_grad=None,
        softmax_sum_grad=None,
    ):
        return self._call(
            grad,
            query,
            key,
            value,
            attention_out,
            softmax_max,
            softmax_sum,
            atten_mask,
            actual_seq_qlen,
            actual_seq_kvlen,
            softmax_max_grad,
            softmax_sum_grad,
        )


class NsaCompressAttention(cells.OperatorCell):
    r"""
    Attention over compressed rows, which also chooses the blocks of raw rows for selected attention.

    Window `c` of a sequence holds `compress_block_size` raw rows from ``c * compress_stride`` on.
    :class:`ms_nsa.NsaCompress` turns it into one row of `key` and `value`. A query sees the windows that end at or
    before its own position. The importance of block `j` for a token and a key head is

    .. math::
        I_j = \sum_c \frac{|window_c \cap block_j|}{compress\_stride} \sum_{n \in group} P_{n,c}

    where :math:`P` are the probabilities of the query heads of the group. The candidates are the blocks up to the
    token's own. Forced blocks are chosen first, then the most important ones. NaN ranks above numbers; of equally
    important blocks the one with the smaller index comes first.

    Scores, softmax and sums are float32. Results are bitwise identical in every run, for any number of threads and in
    any batch. Results of a token do not depend on later rows of its sequence. Gradients of `attention_out`,
    `softmax_max` and `softmax_sum` flow to `query`, `key` and `value`.

    The method is Native Sparse Attention (arXiv:2502.11089). The signature follows
    ``torch_npu.npu_nsa_compress_attention`` and ``mindspore.ops.nsa_compress_attention``.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Note:
        In PyNative mode, a RuntimeError is raised when the result is read. On Ascend, invalid values are reported only
        in PyNative mode and only if MS_NSA_DEBUG=1 was set when the Cell was created; otherwise they are ignored.
        Rows outside a mask that is too small are then hidden.

    Args:
        head_num (int): Number of query heads, N1. It must be a multiple of N2, the number of key and value heads. Query
            head `n` reads key and value head ``n // (N1 / N2)``.
        scale_value (float, optional): Factor applied to the scores; zero and negative values are valid. ``None`` means
            ``1 / sqrt(D1)``. Default: ``None``.
        compress_block_size (int, optional): Raw rows per window, at least `compress_stride`. Default: ``32``.
        compress_stride (int, optional): Raw rows between the starts of consecutive windows. Default: ``16``.
        select_block_size (int, optional): Raw rows per block. Default: ``64``.
        select_block_count (int, optional): Blocks chosen per token: ``0``, or at least ``init_blocks + local_blocks``.
            Default: ``16``.
        sparse_mode (int, optional): Which windows query `s` sees; `s` counts from the start of its sequence. ``3``:
            windows that end at or before raw row ``s + Sk - Sq``. ``2``: windows that end at or before raw row ``s``.
            ``0``: all windows. Default: ``3``.
        init_blocks (int, optional): Number of first blocks of a sequence that are always chosen. Default: ``1``.
        local_blocks (int, optional): Number of blocks, ending with the token's own block, that are always chosen.
            Default: ``2``.
        need_output (bool, optional): If ``False``, `attention_out` is not computed and is ``None``; for models that
            only choose blocks. Such a call has no gradient. Default: ``True``.
        limits (str, optional): ``"auto"`` checks the limits of the current device. ``"ascend"`` checks the limits that
            CANN documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **query** (Tensor) - :math:`(T1, N1, D1)`, float16, bfloat16 or float32. Tokens of all sequences,
          concatenated.
        - **key** (Tensor) - :math:`(T3, N2, D1)`, same dtype as `query`. Compressed rows: the windows of all sequences,
          concatenated. Rows beyond T3 are not read.
        - **value** (Tensor) - :math:`(T3, N2, D2)`, same dtype as `query`.
        - **topk_mask** (Tensor, optional) - At least :math:`(max\ Sq, max\ blocks)`, bool or uint8. A non-zero element
          at (query, block) forces the choice of that block if it is a candidate. Default: ``None``.
        - **atten_mask** (Tensor, optional) - At least :math:`(max\ Sq, max\ windows)`, bool or uint8. A non-zero
          element at (query, window) hides the window from that query, in addition to `sparse_mode`. Default: ``None``.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a Tensor.
          Inclusive prefix sums of the query lengths; the last is T1. ``None`` means one sequence. Default: ``None``.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. Inclusive prefix sums of
          the raw rows, before compression. ``None`` means the same as `actual_seq_qlen`. Default: ``None``.

    Outputs:
        - **attention_out** (Tensor) - :math:`(T1, N1, D2)`, same dtype as `query`. Zero for a query that sees no row.
        - **topk_indices** (Tensor) - :math:`(T1, N2, select\_block\_count)`, int32. The chosen blocks of the token's
          own sequence in ascending order, then -1. It has no gradient.
        - **softmax_max** (Tensor) - :math:`(T1, N1, 8)`, float32. Largest visible score after scaling, repeated 8
          times; -inf for a query that sees no row.
        - **softmax_sum** (Tensor) - :math:`(T1, N1, 8)`, float32. Sum of ``exp(score - softmax_max)``, repeated 8
          times; 0 for a query that sees no row.

    Raises:
        TypeError: If an argument has the wrong type.
        TypeError: If an input has the wrong dtype.
        ValueError: If an attribute, rank or extent is invalid.
        ValueError: If an attribute or extent does not satisfy `limits`.
        RuntimeError: If prefix sums decrease, or those of the queries do not end at T1.
        RuntimeError: If `key` has too few rows.
        RuntimeError: If a mask is too small.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((40, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((4, 2, 24)), ms.float32)
        >>> value = Tensor(rng.standard_normal((4, 2, 16)), ms.float32)
        >>> attention = ms_nsa.NsaCompressAttention(
        ...     head_num=8, compress_block_size=16, compress_stride=8, select_block_size=8, select_block_count=4)
        >>> attention_out, topk_indices, softmax_max, softmax_sum = attention(query, key, value)
        >>> print(attention_out.shape, topk_indices.shape)
        (40, 8, 16) (40, 2, 4)
        >>> print(topk_indices[17, 0])
        [ 0  1  2 -1]
    """

    def __init__(
        self,
        head_num,
        scale_value=None,
        compress_block_size=32,
        compress_stride=16,
        select_block_size=64,
        select_block_count=16,
        sparse_mode=3,
        init_blocks=1,
        local_blocks=2,
        need_output=True,
        limits="auto",
    ):
        super().__init__()
        attributes, device = checks.operator_attributes(
            _FORWARD,
            limits,
            head_num=head_num,
            scale_value=scale_value,
            compress_block_size=compress_block_size,
            compress_stride=compress_stride,
            select_block_size=select_block_size,
            select_block_count=select_block_count,
            sparse_mode=sparse_mode,
            init_blocks=init_blocks,
            local_blocks=local_blocks,
            need_output=need_output,
        )
        self._need_output = need_output
        grad_cell = NsaCompressAttentionGrad(
            head_num, scale_value, compress_block_size, compress_stride, sparse_mode, limits
        )
        gradient = (self._bprop_with, grad_cell) if need_output else (refused_gradients.of_choice_alone, _FORWARD)
        self._make_operator(_FORWARD, attributes, device, gradient)

    @staticmethod
    def _bprop_with(grad_cell):
        """The primitive's gradient function; not bound to this Cell, because copies of the primitive make their own."""

        def bprop(query, key, value, topk_mask, atten_mask, actual_seq_qlen, actual_seq_kvlen, out, dout):
            dq, dk, dv = grad_cell(
                dout[0],
                query,
                key,
                value,
                out[0],
                out[2],
                out[3],
                atten_mask,
                actual_seq_qlen,
                actual_seq_kvlen,
                dout[2],
                dout[3],
            )
            return (
                dq,
                dk,
                dv,
                ops.zeros_like(topk_mask),
                ops.zeros_like(atten_mask),
                ops.zeros_like(actual_seq_qlen),
                ops.zeros_like(actual_seq_kvlen),
            )

        return bprop

    def construct(
        self, query, key, value, topk_mask=None, atten_mask=None, actual_seq_qlen=None, actual_seq_kvlen=None
    ):
        outputs = self._call(query, key, value, topk_mask, atten_mask, actual_seq_qlen, actual_seq_kvlen)
        if self._need_output:
            return outputs
        return None, outputs[0], outputs[1], outputs[2]


_cell = cells.cached(NsaCompressAttention)


def nsa_compress_attention(
    query,
    key,
    value,
    scale_value,
    head_num,
    compress_block_size,
    compress_stride,
    select_block_size,
    select_block_count,
    topk_mask=None,
    atten_mask=None,
    actual_seq_qlen=None,
    actual_cmp_seq_kvlen=None,
    actual_sel_seq_kvlen=None,
    actual_seq_kvlen=None,
    sparse_mode=0,
    init_blocks=0,
    local_blocks=0,
):
    r"""
    Functional form of :class:`ms_nsa.NsaCompressAttention`, called like ``torch_npu.npu_nsa_compress_attention`` and
    ``mindspore.ops.nsa_compress_attention``, with their defaults: no causal rule and no forced blocks.

    It differs from them where they are wrong: the importance of a block comes from the windows that overlap it, a query
    that sees no window gets 0, and unused entries of `topk_indices` are -1.

    Args:
        query (Tensor): See `Inputs` of the Cell, also for the other tensors.
        key (Tensor): Compressed keys.
        value (Tensor): Compressed values.
        scale_value (float): Factor applied to the scores; ``None`` means ``1 / sqrt(D1)``.
        head_num (int): Number of query heads, N1.
        compress_block_size (int): Raw rows per window.
        compress_stride (int): Raw rows between the starts of consecutive windows.
        select_block_size (int): Raw rows per block.
        select_block_count (int): Blocks chosen per token.
        topk_mask (Tensor, optional): Non-zero elements force blocks. Default: ``None``.
        atten_mask (Tensor, optional): Non-zero elements hide rows. Default: ``None``.
        actual_seq_qlen (Union[tuple, list, ndarray, Tensor], optional): Inclusive prefix sums of the query lengths.
            ``None`` means one sequence. Default: ``None``.
        actual_cmp_seq_kvlen (Union[tuple, list, ndarray, Tensor], optional): Ignored, because it follows from the
            lengths of the raw rows. Default: ``None``.
        actual_sel_seq_kvlen (Union[tuple, list, ndarray, Tensor], optional): Ignored. Default: ``None``.
        actual_seq_kvlen (Union[tuple, list, ndarray, Tensor], optional): Inclusive prefix sums of the raw rows.
            ``None`` means the same as `actual_seq_qlen`. Default: ``None``.
        sparse_mode (int, optional): See the Cell. Default: ``0``.
        init_blocks (int, optional): See the Cell. Default: ``0``.
        local_blocks (int, optional): See the Cell. Default: ``0``.

    Returns:
        tuple of Tensor: attention_out, topk_indices, softmax_max and softmax_sum.

    Raises:
        TypeError: As raised by :class:`ms_nsa.NsaCompressAttention`.
        ValueError: As raised by :class:`ms_nsa.NsaCompressAttention`.
        RuntimeError: As raised by :class:`ms_nsa.NsaCompressAttention`.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((40, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((4, 2, 24)), ms.float32)
        >>> attention_out, topk_indices, softmax_max, softmax_sum = ms_nsa.nsa_compress_attention(
        ...     query, key, key, None, 8, 16, 8, 8, 3, sparse_mode=3)
        >>> print(attention_out.shape, topk_indices.shape)
        (40, 8, 24) (40, 2, 3)
    """
    attributes = (
        head_num, scale_value, compress_block_size, compress_stride, select_block_size, select_block_count, sparse_mode,
        init_blocks, local_blocks,
    )  # fmt: skip
    return _cell(*attributes)(query, key, value, topk_mask, atten_mask, actual_seq_qlen, actual_seq_kvlen)
