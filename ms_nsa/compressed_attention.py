# SPDX-License-Identifier: Apache-2.0
"""Attention over compressed rows with the choice of blocks, for training: the forward Cell, its bprop Cell and the
functional form."""

from mindspore import ops

from ms_nsa import cells, checks, refused_gradients

_FORWARD = "NsaCompressAttention"
_GRAD = "NsaCompressAttentionGrad"


class NsaCompressAttentionGrad(cells.OperatorCell):
    r"""
    Gradient of :class:`ms_nsa.NsaCompressAttention` with respect to query, key and value.

    The training Cell calls it by itself; as a Cell of its own it serves code that keeps the forward's results and
    differentiates by hand. The choice of blocks has no gradient.

    Args:
        head_num (int): Number of query heads N1. N2, the number of key and value heads, must divide it; query head
            `n` reads key and value head ``n // (N1 / N2)``.
        scale_value (float, optional): Factor of the scores; 0 and negative values are valid. Default: ``None``,
            ``1 / sqrt(D1)``.
        compress_block_size (int, optional): Raw rows of a window, at least `compress_stride`. Default: ``32``.
        compress_stride (int, optional): Raw rows from the start of one window to that of the next. Default: ``16``.
        sparse_mode (int, optional): Which windows a query sees, with query `s` counted from the start of its sequence.
            ``3``: those that end at or before raw row ``s + Sk - Sq``. ``2``: at or before row ``s``. ``0``: all.
            Default: ``3``.
        limits (str, optional): ``"auto"`` checks the limits of the device in use, ``"ascend"`` those that CANN
            documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **grad** (Tensor) - :math:`(T1, N1, D2)`, dtype of `query`. Gradient of `attention_out`.
        - **query** (Tensor) - :math:`(T1, N1, D1)`, float16, bfloat16 or float32. The tokens of all sequences, one
          sequence after another.
        - **key** (Tensor) - :math:`(T3, N2, D1)`, dtype of `query`. Compressed rows: the windows of all
          sequences, one sequence after another; further rows are not read.
        - **value** (Tensor) - :math:`(T3, N2, D2)`, dtype of `query`.
        - **attention_out** (Tensor) - :math:`(T1, N1, D2)`, dtype of `query`, from the forward.
        - **softmax_max** (Tensor) - :math:`(T1, N1, 8)`, float32, from the forward.
        - **softmax_sum** (Tensor) - :math:`(T1, N1, 8)`, float32, from the forward.
        - **atten_mask** (Tensor, optional) - as in the forward. Default: ``None``.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a
          Tensor. Inclusive prefix sums of the query lengths; the last entry is T1. Default: ``None``, one sequence.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. The same for the raw
          rows. Default: ``None``, as `actual_seq_qlen`.
        - **softmax_max_grad** (Tensor, optional) - :math:`(T1, N1, 8)`, float32. Gradient of `softmax_max`, of which
          the lanes are summed. Default: ``None``, zero.
        - **softmax_sum_grad** (Tensor, optional) - The same of `softmax_sum`. Default: ``None``, zero.

    Outputs:
        - **dq** (Tensor) - :math:`(T1, N1, D1)`, dtype of `query`.
        - **dk** (Tensor) - as `key`. Zero for rows that no query sees.
        - **dv** (Tensor) - as `value`. Zero for rows that no query sees.

    Raises:
        TypeError: If an argument has a wrong type, or an input a wrong dtype.
        ValueError: If an attribute, rank or extent does not fit, or breaks `limits`.
        RuntimeError: If a value does not fit: prefix sums that decrease or do not end at T1, too few rows of
            `key`, a mask that is too small. In PyNative mode it is raised when the result is read.

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
    Attention over compressed rows, and the blocks of raw rows that selected attention shall read.

    Window `c` of a sequence, raw rows ``c * compress_stride`` to ``c * compress_stride + compress_block_size - 1``, is
    one row of `key` and `value`, as :class:`ms_nsa.NsaCompress` makes them. A query sees the windows that end at or
    before its own position. The importance of block `j` for a token and a key head is

    .. math::
        I_j = \sum_c \frac{|window_c \cap block_j|}{compress\_stride} \sum_{n \in group} P_{n,c}

    with the probabilities :math:`P` of the query heads of the group. Candidates are the blocks up to the token's own.
    The forced ones and then the most important ones are chosen, NaN before numbers and the smaller block first among
    equals.

    Scores, softmax and sums are float32; results are bitwise the same in every run, for any number of threads and in
    any batch, and a sequence's first results do not depend on its later rows. Gradients of `attention_out` and of the
    statistics reach `query`, `key` and `value`.

    The method is Native Sparse Attention (arXiv:2502.11089). The call follows
    ``torch_npu.npu_nsa_compress_attention`` and ``mindspore.ops.nsa_compress_attention``.

    Args:
        head_num (int): Number of query heads N1. N2, the number of key and value heads, must divide it; query head
            `n` reads key and value head ``n // (N1 / N2)``.
        scale_value (float, optional): Factor of the scores; 0 and negative values are valid. Default: ``None``,
            ``1 / sqrt(D1)``.
        compress_block_size (int, optional): Raw rows of a window, at least `compress_stride`. Default: ``32``.
        compress_stride (int, optional): Raw rows from the start of one window to that of the next. Default: ``16``.
        select_block_size (int, optional): Raw rows of a block. Default: ``64``.
        select_block_count (int, optional): Blocks that a token chooses, at least ``init_blocks + local_blocks``; ``0``
            chooses none. Default: ``16``.
        sparse_mode (int, optional): Which windows a query sees, with query `s` counted from the start of its sequence.
            ``3``: those that end at or before raw row ``s + Sk - Sq``. ``2``: at or before row ``s``. ``0``: all.
            Default: ``3``.
        init_blocks (int, optional): The first blocks of a sequence that are always chosen. Default: ``1``.
        local_blocks (int, optional): The last blocks up to the token's own that are always chosen. Default: ``2``.
        need_output (bool, optional): ``False`` computes no `attention_out`, which is then ``None``, for models that
            only choose blocks; such a call has no gradient. Default: ``True``.
        limits (str, optional): ``"auto"`` checks the limits of the device in use, ``"ascend"`` those that CANN
            documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **query** (Tensor) - :math:`(T1, N1, D1)`, float16, bfloat16 or float32. The tokens of all sequences, one
          sequence after another.
        - **key** (Tensor) - :math:`(T3, N2, D1)`, dtype of `query`. Compressed rows: the windows of all
          sequences, one sequence after another; further rows are not read.
        - **value** (Tensor) - :math:`(T3, N2, D2)`, dtype of `query`.
        - **topk_mask** (Tensor, optional) - at least :math:`(max\ Sq, max\ blocks)`, bool or uint8. A non-zero element
          at (query, block) forces a candidate. Default: ``None``.
        - **atten_mask** (Tensor, optional) - at least :math:`(max\ Sq, max\ windows)`, bool or uint8. A non-zero
          element at (query, window) drops the window for that query, besides `sparse_mode`. Default: ``None``.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a
          Tensor. Inclusive prefix sums of the query lengths; the last entry is T1. Default: ``None``, one sequence.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. The same for the raw
          rows before compression. Default: ``None``, as `actual_seq_qlen`.

    Outputs:
        - **attention_out** (Tensor) - :math:`(T1, N1, D2)`, dtype of `query`. Zero for a query that sees nothing.
        - **topk_indices** (Tensor) - :math:`(T1, N2, select\_block\_count)`, int32. The chosen blocks of the token's
          own sequence in ascending order, then -1. It has no gradient.
        - **softmax_max** (Tensor) - :math:`(T1, N1, 8)`, float32, largest visible score after scaling, repeated 8
          times; -inf for a query that sees nothing.
        - **softmax_sum** (Tensor) - :math:`(T1, N1, 8)`, float32, sum of ``exp(score - softmax_max)``, repeated 8
          times; 0 for a query that sees nothing.

    Raises:
        TypeError: If an argument has a wrong type, or an input a wrong dtype.
        ValueError: If an attribute, rank or extent does not fit, or breaks `limits`.
        RuntimeError: If a value does not fit: prefix sums that decrease or do not end at T1, too few rows of
            `key`, a mask that is too small. In PyNative mode it is raised when the result is read. On Ascend values are
            looked at in PyNative mode, where MS_NSA_DEBUG=1 is set when the Cell is made; elsewhere wrong ones
            contribute nothing.

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

    It differs from them where they are wrong: the importance of a block is that of the windows that overlap it, a query
    that sees no window gets 0, and fewer blocks than `select_block_count` end in -1.

    Args:
        query (Tensor): see `Inputs` of the Cell, as are the other tensors.
        key (Tensor): compressed keys.
        value (Tensor): compressed values.
        scale_value (float): Factor of the scores; ``None``: ``1 / sqrt(D1)``.
        head_num (int): N1.
        compress_block_size (int): Raw rows of a window.
        compress_stride (int): Raw rows from one window to the next.
        select_block_size (int): Raw rows of a block.
        select_block_count (int): Blocks that a token chooses.
        topk_mask (Tensor, optional): non-zero = force. Default: ``None``.
        atten_mask (Tensor, optional): non-zero = drop. Default: ``None``.
        actual_seq_qlen (Union[tuple, list, ndarray, Tensor], optional): Inclusive prefix sums of the query lengths.
            Default: ``None``, one sequence.
        actual_cmp_seq_kvlen (Union[tuple, list, ndarray, Tensor], optional): Not needed and not read: it follows from
            the raw rows. Default: ``None``.
        actual_sel_seq_kvlen (Union[tuple, list, ndarray, Tensor], optional): Not read. Default: ``None``.
        actual_seq_kvlen (Union[tuple, list, ndarray, Tensor], optional): Inclusive prefix sums of the raw rows.
            Default: ``None``, as `actual_seq_qlen`.
        sparse_mode (int, optional): see the Cell. Default: ``0``.
        init_blocks (int, optional): see the Cell. Default: ``0``.
        local_blocks (int, optional): see the Cell. Default: ``0``.

    Returns:
        tuple of Tensor: attention_out, topk_indices, softmax_max and softmax_sum.

    Raises:
        TypeError: As :class:`ms_nsa.NsaCompressAttention`.
        ValueError: As :class:`ms_nsa.NsaCompressAttention`.
        RuntimeError: As :class:`ms_nsa.NsaCompressAttention`.

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
        head_num,
        scale_value,
        compress_block_size,
        compress_stride,
        select_block_size,
        select_block_count,
        sparse_mode,
        init_blocks,
        local_blocks,
    )
    return _cell(*attributes)(query, key, value, topk_mask, atten_mask, actual_seq_qlen, actual_seq_kvlen)
