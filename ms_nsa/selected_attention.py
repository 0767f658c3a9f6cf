# SPDX-License-Identifier: Apache-2.0
"""Selected attention for training: the forward Cell, its bprop Cell and the functional form."""

from mindspore import ops

from ms_nsa import cells, checks, refused_gradients

_FORWARD = "NsaSelectAttention"
_GRAD = "NsaSelectAttentionGrad"


class NsaSelectAttentionGrad(cells.OperatorCell):
    r"""
    Gradient of :class:`ms_nsa.NsaSelectAttention` with respect to query, key and value.

    The training Cell calls it by itself; as a Cell of its own it serves code that keeps the forward's results and
    differentiates by hand. It sees exactly the rows that the forward saw, so its arguments must be the forward's.

    Args:
        head_num (int): Number of query heads N1. N2, the number of key and value heads, must divide it; query head
            `n` reads key and value head ``n // (N1 / N2)``.
        scale_value (float, optional): Factor of the scores, applied before masking; 0 and negative values are valid.
            Default: ``None``, ``1 / sqrt(D1)``.
        select_block_size (int, optional): Rows of a selected block. Default: ``64``.
        select_block_count (int, optional): Slots a token has in `topk_indices`. Default: ``16``.
        sparse_mode (int, optional): Which rows a query sees, with query `s` and row `j` counted from the start of
            their sequence. ``0``: all rows of its selected blocks. ``2``: rows with ``j <= s``. ``3``: rows with
            ``j <= s + Sk - Sq``. The numbers are those of MindSpore's FlashAttentionScore. Default: ``0``.
        limits (str, optional): ``"auto"`` checks the limits of the device in use, ``"ascend"`` those that CANN
            documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **grad** (Tensor) - :math:`(T1, N1, D2)`, dtype of `query`. Gradient of `attention_out`.
        - **query** (Tensor) - :math:`(T1, N1, D1)`, float16, bfloat16 or float32. The tokens of all sequences, one
          sequence after another.
        - **key** (Tensor) - :math:`(T2, N2, D1)`, dtype of `query`.
        - **value** (Tensor) - :math:`(T2, N2, D2)`, dtype of `query`.
        - **attention_out** (Tensor) - :math:`(T1, N1, D2)`, dtype of `query`, from the forward.
        - **softmax_max** (Tensor) - :math:`(T1, N1, 8)`, float32, from the forward.
        - **softmax_sum** (Tensor) - :math:`(T1, N1, 8)`, float32, from the forward.
        - **topk_indices** (Tensor) - :math:`(T1, N2, select\_block\_count)`, int32 or int64. Block `i` holds rows
          ``i * select_block_size`` to ``(i + 1) * select_block_size - 1`` of the token's own sequence; the last block
          ends with the sequence. A negative entry selects nothing, at any place. A block listed twice counts twice.
          The order of the slots does not matter.
        - **atten_mask** (Tensor, optional) - at least :math:`(max\ Sq, max\ Sk)`, bool or uint8. A non-zero element
          at (query, row) drops the row for that query, in addition to `sparse_mode`. Default: ``None``.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a
          Tensor. Inclusive prefix sums of the query lengths; the last entry is T1. Sequences may be empty. Default:
          ``None``, one sequence.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. The same for the keys;
          the last entry is T2. Default: ``None``, one sequence.
        - **softmax_max_grad** (Tensor, optional) - :math:`(T1, N1, 8)`, float32. Gradient of `softmax_max`, of which
          the lanes are summed. It reaches the largest score, the first one where several are equal.
          Default: ``None``, zero.
        - **softmax_sum_grad** (Tensor, optional) - The same of `softmax_sum`. It reaches every score, and the largest
          one besides. Default: ``None``, zero.

    Outputs:
        - **dq** (Tensor) - :math:`(T1, N1, D1)`, dtype of `query`.
        - **dk** (Tensor) - :math:`(T2, N2, D1)`, dtype of `query`. Zero for rows that no query sees.
        - **dv** (Tensor) - :math:`(T2, N2, D2)`, dtype of `query`. Zero for rows that no query sees.

    Raises:
        TypeError: If an argument has a wrong type, or an input a wrong dtype.
        ValueError: If an attribute, rank or extent does not fit, or breaks `limits`.
        RuntimeError: If a value does not fit: prefix sums that decrease or do not end at T1 and T2, a mask that is
            too small, an index that is not below ``ceil(Sk / select_block_size)``. In PyNative mode it is raised
            when the result is read. On Ascend values are looked at in PyNative mode, where MS_NSA_DEBUG=1 is set
            when the Cell is made; elsewhere wrong ones contribute nothing, nor does what lies beyond the mask.

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
    Selected attention for training: every query token attends to the key blocks selected for it.

    .. math::
        attention\_out_{t,n} = softmax(scale\_value \cdot query_{t,n} \cdot K_{sel}^T) \cdot V_{sel}

    where :math:`K_{sel}` and :math:`V_{sel}` are the visible rows of the blocks that `topk_indices` lists for token
    `t` and key head ``n // (N1 / N2)``. Scores, softmax and sums are float32. Results are bitwise the same in every
    run, for any number of threads and in any batch. The gradients of `attention_out` and of the statistics reach
    `query`, `key` and `value`; ``softmax_max + log(softmax_sum)`` is the logarithm of the sum of exponentials.

    The method is Native Sparse Attention (arXiv:2502.11089). The call follows
    ``torch_npu.npu_nsa_select_attention`` and ``mindspore.ops.nsa_select_attention``.

    Args:
        head_num (int): Number of query heads N1. N2, the number of key and value heads, must divide it; query head
            `n` reads key and value head ``n // (N1 / N2)``.
        scale_value (float, optional): Factor of the scores, applied before masking; 0 and negative values are valid.
            Default: ``None``, ``1 / sqrt(D1)``.
        select_block_size (int, optional): Rows of a selected block. Default: ``64``.
        select_block_count (int, optional): Slots a token has in `topk_indices`. Default: ``16``.
        sparse_mode (int, optional): Which rows a query sees, with query `s` and row `j` counted from the start of
            their sequence. ``0``: all rows of its selected blocks. ``2``: rows with ``j <= s``. ``3``: rows with
            ``j <= s + Sk - Sq``. The numbers are those of MindSpore's FlashAttentionScore. Default: ``0``.
        limits (str, optional): ``"auto"`` checks the limits of the device in use, ``"ascend"`` those that CANN
            documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **query** (Tensor) - :math:`(T1, N1, D1)`, float16, bfloat16 or float32. The tokens of all sequences, one
          sequence after another.
        - **key** (Tensor) - :math:`(T2, N2, D1)`, dtype of `query`.
        - **value** (Tensor) - :math:`(T2, N2, D2)`, dtype of `query`.
        - **topk_indices** (Tensor) - :math:`(T1, N2, select\_block\_count)`, int32 or int64. Block `i` holds rows
          ``i * select_block_size`` to ``(i + 1) * select_block_size - 1`` of the token's own sequence; the last block
          ends with the sequence. A negative entry selects nothing, at any place. A block listed twice counts twice.
          The order of the slots does not matter.
        - **atten_mask** (Tensor, optional) - at least :math:`(max\ Sq, max\ Sk)`, bool or uint8. A non-zero element
          at (query, row) drops the row for that query, in addition to `sparse_mode`. Default: ``None``.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a
          Tensor. Inclusive prefix sums of the query lengths; the last entry is T1. Sequences may be empty. Default:
          ``None``, one sequence.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. The same for the keys;
          the last entry is T2. Default: ``None``, one sequence.

    Outputs:
        - **attention_out** (Tensor) - :math:`(T1, N1, D2)`, dtype of `query`. Zero for a query that sees no row.
        - **softmax_max** (Tensor) - :math:`(T1, N1, 8)`, float32, largest visible score after scaling, repeated 8
          times; -inf for a query that sees no row.
        - **softmax_sum** (Tensor) - :math:`(T1, N1, 8)`, float32, sum of ``exp(score - softmax_max)``, repeated 8
          times; 0 for a query that sees no row.

    Raises:
        TypeError: If an argument has a wrong type, or an input a wrong dtype.
        ValueError: If an attribute, rank or extent does not fit, or breaks `limits`.
        RuntimeError: If a value does not fit: prefix sums that decrease or do not end at T1 and T2, a mask that is
            too small, an index that is not below ``ceil(Sk / select_block_size)``. In PyNative mode it is raised
            when the result is read. On Ascend values are looked at in PyNative mode, where MS_NSA_DEBUG=1 is set
            when the Cell is made; elsewhere wrong ones contribute nothing, nor does what lies beyond the mask.

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

    It differs from them where they are inconsistent: `atten_mask` is applied element by element, and no causal rule
    holds without it; use the Cell with `sparse_mode` for one.

    Args:
        query (Tensor): :math:`(T1, N1, D1)`, float16, bfloat16 or float32.
        key (Tensor): :math:`(T2, N2, D1)`, dtype of `query`.
        value (Tensor): :math:`(T2, N2, D2)`, dtype of `query`.
        topk_indices (Tensor): :math:`(T1, N2, select\_block\_count)`, int32 or int64, block numbers inside the token's
            own sequence; negative: nothing.
        scale_value (float): Factor of the scores; ``None``: ``1 / sqrt(D1)``.
        head_num (int): N1.
        select_block_size (int): Rows of a selected block.
        select_block_count (int): Slots of a token.
        atten_mask (Tensor, optional): at least :math:`(max\ Sq, max\ Sk)`, bool or uint8, non-zero = drop. Default:
            ``None``.
        actual_seq_qlen (Union[tuple, list, ndarray, Tensor], optional): Inclusive prefix sums of the query lengths.
            Default: ``None``, one sequence.
        actual_seq_kvlen (Union[tuple, list, ndarray, Tensor], optional): Inclusive prefix sums of the key lengths.
            Default: ``None``, one sequence.

    Returns:
        tuple of Tensor: attention_out :math:`(T1, N1, D2)` in the dtype of `query`, softmax_max and softmax_sum
        :math:`(T1, N1, 8)` in float32.

    Raises:
        TypeError: As :class:`ms_nsa.NsaSelectAttention`.
        ValueError: As :class:`ms_nsa.NsaSelectAttention`.
        RuntimeError: As :class:`ms_nsa.NsaSelectAttention`.

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
