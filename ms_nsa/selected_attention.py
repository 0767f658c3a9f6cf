# SPDX-License-Identifier: Apache-2.0
"""Selected attention for training: forward Cell, gradient Cell and functional form."""

from mindspore import ops

from ms_nsa import cells, checks, refused_gradients

_FORWARD = "NsaSelectAttention"
_GRAD = "NsaSelectAttentionGrad"


class NsaSelectAttentionGrad(cells.OperatorCell):
    r"""
    Gradient of :class:`ms_nsa.NsaSelectAttention` with respect to query, key and value.

    The training Cell calls it automatically. Use it directly in code that keeps the results of the forward pass and
    differentiates by hand. It sees exactly the rows that the forward pass saw, so its arguments must be the same.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Note:
        In PyNative mode, a RuntimeError is raised when the result is read. On Ascend, invalid values are reported only
        in PyNative mode and only if MS_NSA_DEBUG=1 was set when the Cell was created; otherwise they are ignored.
        Rows outside a mask that is too small are then hidden.

    Args:
        head_num (int): Number of query heads, N1. It must be a multiple of N2, the number of key and value heads. Query
            head `n` reads key and value head ``n // (N1 / N2)``.
        scale_value (float, optional): Factor applied to the scores before masking; zero and negative values are valid.
            ``None`` means ``1 / sqrt(D1)``. Default: ``None``.
        select_block_size (int, optional): Rows per selected block. Default: ``64``.
        select_block_count (int, optional): Slots per token in `topk_indices`. Default: ``16``.
        sparse_mode (int, optional): Which rows query `s` sees; `s` and row `j` count from the start of their sequence,
            whose query and key lengths are Sq and Sk. ``0``: all rows of the selected blocks. ``2``: rows with
            ``j <= s``. ``3``: rows with ``j <= s + Sk - Sq``. The values mean the same as in MindSpore's
            FlashAttentionScore. Default: ``0``.
        limits (str, optional): ``"auto"`` checks the limits of the current device. ``"ascend"`` checks the limits that
            CANN documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **grad** (Tensor) - :math:`(T1, N1, D2)`, same dtype as `query`. Gradient of `attention_out`.
        - **query** (Tensor) - :math:`(T1, N1, D1)`, float16, bfloat16 or float32. Tokens of all sequences,
          concatenated.
        - **key** (Tensor) - :math:`(T2, N2, D1)`, same dtype as `query`.
        - **value** (Tensor) - :math:`(T2, N2, D2)`, same dtype as `query`.
        - **attention_out** (Tensor) - :math:`(T1, N1, D2)`, same dtype as `query`, from the forward pass.
        - **softmax_max** (Tensor) - :math:`(T1, N1, 8)`, float32, from the forward pass.
        - **softmax_sum** (Tensor) - :math:`(T1, N1, 8)`, float32, from the forward pass.
        - **topk_indices** (Tensor) - :math:`(T1, N2, select\_block\_count)`, int32 or int64. Block `i` holds rows
          ``i * select_block_size`` to ``(i + 1) * select_block_size - 1`` of the token's own sequence; the last block
          ends with the sequence. A negative entry selects nothing, wherever it is. A block listed twice counts twice.
          The order of the slots does not matter.
        - **atten_mask** (Tensor, optional) - At least :math:`(max\ Sq, max\ Sk)`, bool or uint8. A non-zero element at
          (query, row) hides the row from that query, in addition to `sparse_mode`. Default: ``None``.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a Tensor.
          Inclusive prefix sums of the query lengths; the last is T1. Sequences may be empty. ``None`` means one
          sequence. Default: ``None``.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. Inclusive prefix sums of
          the key lengths; the last is T2. ``None`` means one sequence. Default: ``None``.
        - **softmax_max_grad** (Tensor, optional) - :math:`(T1, N1, 8)`, float32. Gradient of `softmax_max`; its 8 lanes
          are summed. It flows to the largest score, or to the first of several equal ones. ``None`` means zero.
          Default: ``None``.
        - **softmax_sum_grad** (Tensor, optional) - :math:`(T1, N1, 8)`, float32. Gradient of `softmax_sum`; its 8 lanes
          are summed. It flows to every score and, through `softmax_max`, to the largest one. ``None`` means zero.
          Default: ``None``.

    Outputs:
        - **dq** (Tensor) - :math:`(T1, N1, D1)`, same dtype as `query`.
        - **dk** (Tensor) - :math:`(T2, N2, D1)`, same dtype as `query`. Zero for rows that no query sees.
        - **dv** (Tensor) - :math:`(T2, N2, D2)`, same dtype as `query`. Zero for rows that no query sees.

    Raises:
        TypeError: If an argument has the wrong type.
        TypeError: If an input has the wrong dtype.
        ValueError: If an attribute, rank or extent is invalid.
        ValueError: If an attribute or extent does not satisfy `limits`.
        RuntimeError: If prefix sums decrease, or do not end at T1 and T2.
        RuntimeError: If a mask is too small.
        RuntimeError: If an index is not below ``ceil(Sk / select_block_size)``.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((6, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((40, 2, 24)), ms.float32)
        >>> value = Tensor(rng.standard_normal((40, 2, 16)), ms.float32)
        >>> topk_indices = Tensor(rng.integers(0, 5, (6, 2, 2)), ms.int32)
        >>> attention = ms_nsa.NsaSelectAttention(head_num=8, select_block_size=8, select_block_count=2)
        >>> bprop = ms_nsa.NsaSelectAttentionGrad(head_num=8, select_block_size=8, select_block_count=2)
        >>> attention_out, softmax_max, softmax_sum = attention(query, key, value, topk_indices)
        >>> grad = ops.ones_like(attention_out)
        >>> dq, dk, dv = bprop(
        ...     grad, query, key, value, attention_out, softmax_max, softmax_sum, topk_indices)
        >>> print(dq.shape, dk.shape, dv.shape)
        (6, 8, 24) (40, 2, 24) (40, 2, 16)
    """

    def __init__(
        self,
        head_num,
        scale_value=None,
        select_block_size=64,
        select_block_count=16,
        sparse_mode=0,
        limits="auto",
    ):
        super().__init__()
        attributes, device = checks.operator_attributes(
            _GRAD,
            limits,
            head_num=head_num,
            scale_value=scale_value,
            select_block_size=select_block_size,
            select_block_count=select_block_count,
            sparse_mode=sparse_mode,
        )
        self._make_operator(_GRAD, attributes, device, (refused_gradients.second_order, _GRAD))

    def construct(
        self,
        grad,
        query,
        key,
        value,
        attention_out,
        softmax_max,
        softmax_sum,
        topk_indices,
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
            topk_indices,
            atten_mask,
            actual_seq_qlen,
            actual_seq_kvlen,
            softmax_max_grad,
            softmax_sum_grad,
        )


class NsaSelectAttention(cells.OperatorCell):
    r"""
    Selected attention for training: each query token attends to the key blocks selected for it.

    .. math::
        attention\_out_{t,n} = softmax(scale\_value \cdot query_{t,n} \cdot K_{sel}^T) \cdot V_{sel}

    where :math:`K_{sel}` and :math:`V_{sel}` are the visible rows of the blocks listed in `topk_indices` for token `t`
    and key head ``n // (N1 / N2)``. Scores, softmax and sums are float32. Results are bitwise identical in every run,
    for any number of threads and in any batch. Gradients of `attention_out`, `softmax_max` and `softmax_sum` flow to
    `query`, `key` and `value`; ``softmax_max + log(softmax_sum)`` is the log-sum-exp of the scores.

    The method is Native Sparse Attention (arXiv:2502.11089). The signature follows
    ``torch_npu.npu_nsa_select_attention`` and ``mindspore.ops.nsa_select_attention``.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Note:
        In PyNative mode, a RuntimeError is raised when the result is read. On Ascend, invalid values are reported only
        in PyNative mode and only if MS_NSA_DEBUG=1 was set when the Cell was created; otherwise they are ignored.
        Rows outside a mask that is too small are then hidden.

    Args:
        head_num (int): Number of query heads, N1. It must be a multiple of N2, the number of key and value heads. Query
            head `n` reads key and value head ``n // (N1 / N2)``.
        scale_value (float, optional): Factor applied to the scores before masking; zero and negative values are valid.
            ``None`` means ``1 / sqrt(D1)``. Default: ``None``.
        select_block_size (int, optional): Rows per selected block. Default: ``64``.
        select_block_count (int, optional): Slots per token in `topk_indices`. Default: ``16``.
        sparse_mode (int, optional): Which rows query `s` sees; `s` and row `j` count from the start of their sequence,
            whose query and key lengths are Sq and Sk. ``0``: all rows of the selected blocks. ``2``: rows with
            ``j <= s``. ``3``: rows with ``j <= s + Sk - Sq``. The values mean the same as in MindSpore's
            FlashAttentionScore. Default: ``0``.
        limits (str, optional): ``"auto"`` checks the limits of the current device. ``"ascend"`` checks the limits that
            CANN documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **query** (Tensor) - :math:`(T1, N1, D1)`, float16, bfloat16 or float32. Tokens of all sequences,
          concatenated.
        - **key** (Tensor) - :math:`(T2, N2, D1)`, same dtype as `query`.
        - **value** (Tensor) - :math:`(T2, N2, D2)`, same dtype as `query`.
        - **topk_indices** (Tensor) - :math:`(T1, N2, select\_block\_count)`, int32 or int64. Block `i` holds rows
          ``i * select_block_size`` to ``(i + 1) * select_block_size - 1`` of the token's own sequence; the last block
          ends with the sequence. A negative entry selects nothing, wherever it is. A block listed twice counts twice.
          The order of the slots does not matter.
        - **atten_mask** (Tensor, optional) - At least :math:`(max\ Sq, max\ Sk)`, bool or uint8. A non-zero element at
          (query, row) hides the row from that query, in addition to `sparse_mode`. Default: ``None``.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a Tensor.
          Inclusive prefix sums of the query lengths; the last is T1. Sequences may be empty. ``None`` means one
          sequence. Default: ``None``.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. Inclusive prefix sums of
          the key lengths; the last is T2. ``None`` means one sequence. Default: ``None``.

    Outputs:
        - **attention_out** (Tensor) - :math:`(T1, N1, D2)`, same dtype as `query`. Zero for a query that sees no row.
        - **softmax_max** (Tensor) - :math:`(T1, N1, 8)`, float32. Largest visible score after scaling, repeated 8
          times; -inf for a query that sees no row.
        - **softmax_sum** (Tensor) - :math:`(T1, N1, 8)`, float32. Sum of ``exp(score - softmax_max)``, repeated 8
          times; 0 for a query that sees no row.

    Raises:
        TypeError: If an argument has the wrong type.
        TypeError: If an input has the wrong dtype.
        ValueError: If an attribute, rank or extent is invalid.
        ValueError: If an attribute or extent does not satisfy `limits`.
        RuntimeError: If prefix sums decrease, or do not end at T1 and T2.
        RuntimeError: If a mask is too small.
        RuntimeError: If an index is not below ``ceil(Sk / select_block_size)``.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((6, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((40, 2, 24)), ms.float32)
        >>> value = Tensor(rng.standard_normal((40, 2, 16)), ms.float32)
        >>> topk_indices = Tensor(rng.integers(0, 3, (6, 2, 2)), ms.int32)  # blocks 0..2 of each sequence
        >>> attention = ms_nsa.NsaSelectAttention(head_num=8, select_block_size=8, select_block_count=2)
        >>> attention_out, softmax_max, softmax_sum = attention(
        ...     query, key, value, topk_indices, actual_seq_qlen=(2, 6), actual_seq_kvlen=(18, 40))
        >>> print(attention_out.shape, softmax_max.shape, softmax_sum.shape)
        (6, 8, 16) (6, 8, 8) (6, 8, 8)
    """

    def __init__(
        self,
        head_num,
        scale_value=None,
        select_block_size=64,
        select_block_count=16,
        sparse_mode=0,
        limits="auto",
    ):
        super().__init__()
        attributes, device = checks.operator_attributes(
            _FORWARD,
            limits,
            head_num=head_num,
            scale_value=scale_value,
            select_block_size=select_block_size,
            select_block_count=select_block_count,
            sparse_mode=sparse_mode,
        )
        grad_cell = NsaSelectAttentionGrad(
            head_num, scale_value, select_block_size, select_block_count, sparse_mode, limits
        )
        gradient = self._bprop_with, grad_cell
        self._make_operator(_FORWARD, attributes, device, gradient)

    @staticmethod
    def _bprop_with(grad_cell):
        """The primitive's gradient function; not bound to this Cell, because copies of the primitive make their own."""

        def bprop(query, key, value, topk_indices, atten_mask, actual_seq_qlen, actual_seq_kvlen, out, dout):
            dq, dk, dv = grad_cell(
                dout[0],
                query,
                key,
                value,
                out[0],
                out[1],
                out[2],
                topk_indices,
                atten_mask,
                actual_seq_qlen,
                actual_seq_kvlen,
                dout[1],
                dout[2],
            )
            return (
                dq,
                dk,
                dv,
                ops.zeros_like(topk_indices),
                ops.zeros_like(atten_mask),
                ops.zeros_like(actual_seq_qlen),
                ops.zeros_like(actual_seq_kvlen),
            )

        return bprop

    def construct(self, query, key, value, topk_indices, atten_mask=None, actual_seq_qlen=None, actual_seq_kvlen=None):
        return self._call(query, key, value, topk_indices, atten_mask, actual_seq_qlen, actual_seq_kvlen)


_cell = cells.cached(NsaSelectAttention)


def nsa_select_attention(
    query,
    key,
    value,
    topk_indices,
    scale_value,
    head_num,
    select_block_size,
    select_block_count,
    atten_mask=None,
    actual_seq_qlen=None,
    actual_seq_kvlen=None,
):
    r"""
    Functional form of :class:`ms_nsa.NsaSelectAttention`, called like ``torch_npu.npu_nsa_select_attention`` and
    ``mindspore.ops.nsa_select_attention``.

    It differs from them where they are inconsistent: `atten_mask` is applied element by element, and without it there
    is no causal rule. For a causal rule use the Cell with `sparse_mode`.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Args:
        query (Tensor): :math:`(T1, N1, D1)`, float16, bfloat16 or float32.
        key (Tensor): :math:`(T2, N2, D1)`, same dtype as `query`.
        value (Tensor): :math:`(T2, N2, D2)`, same dtype as `query`.
        topk_indices (Tensor): :math:`(T1, N2, select\_block\_count)`, int32 or int64. Indices of blocks in the token's
            own sequence; a negative entry selects nothing.
        scale_value (float): Factor applied to the scores; ``None`` means ``1 / sqrt(D1)``.
        head_num (int): Number of query heads, N1.
        select_block_size (int): Rows per selected block.
        select_block_count (int): Slots per token in `topk_indices`.
        atten_mask (Tensor, optional): At least :math:`(max\ Sq, max\ Sk)`, bool or uint8. Non-zero elements hide rows.
            Default: ``None``.
        actual_seq_qlen (Union[tuple, list, ndarray, Tensor], optional): Inclusive prefix sums of the query lengths.
            ``None`` means one sequence. Default: ``None``.
        actual_seq_kvlen (Union[tuple, list, ndarray, Tensor], optional): Inclusive prefix sums of the key lengths.
            ``None`` means one sequence. Default: ``None``.

    Returns:
        tuple of Tensor: attention_out :math:`(T1, N1, D2)` with the dtype of `query`; softmax_max and softmax_sum
        :math:`(T1, N1, 8)`, float32.

    Raises:
        TypeError: As raised by :class:`ms_nsa.NsaSelectAttention`.
        ValueError: As raised by :class:`ms_nsa.NsaSelectAttention`.
        RuntimeError: As raised by :class:`ms_nsa.NsaSelectAttention`.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((6, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((40, 2, 24)), ms.float32)
        >>> value = Tensor(rng.standard_normal((40, 2, 16)), ms.float32)
        >>> topk_indices = Tensor(rng.integers(0, 5, (6, 2, 2)), ms.int32)
        >>> attention_out, softmax_max, softmax_sum = ms_nsa.nsa_select_attention(
        ...     query, key, value, topk_indices, 0.2, 8, 8, 2, actual_seq_qlen=[6], actual_seq_kvlen=[40])
        >>> print(attention_out.shape)
        (6, 8, 16)
    """
    cell = _cell(head_num, scale_value, select_block_size, select_block_count)
    return cell(query, key, value, topk_indices, atten_mask, actual_seq_qlen, actual_seq_kvlen)
