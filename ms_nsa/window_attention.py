# SPDX-License-Identifier: Apache-2.0
"""Sliding-window attention for training: forward Cell, gradient Cell and functional form."""

from mindspore import ops

from ms_nsa import cells, checks, refused_gradients

_FORWARD = "NsaWindowAttention"
_GRAD = "NsaWindowAttentionGrad"


class NsaWindowAttentionGrad(cells.OperatorCell):
    r"""
    Gradient of :class:`ms_nsa.NsaWindowAttention` with respect to query, key and value.

    The training Cell calls it automatically. Use it directly in code that keeps the results of the forward pass and
    differentiates by hand.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Note:
        In PyNative mode, a RuntimeError is raised when the result is read. On Ascend, invalid values are reported only
        in PyNative mode and only if MS_NSA_DEBUG=1 was set when the Cell was created; otherwise they are ignored.

    Args:
        head_num (int): Number of query heads, N1. It must be a multiple of N2, the number of key and value heads. Query
            head `n` reads key and value head ``n // (N1 / N2)``.
        window_size (int): Rows that a query sees, including its own.
        scale_value (float, optional): Factor applied to the scores; zero and negative values are valid. ``None`` means
            ``1 / sqrt(D1)``. Default: ``None``.
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
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a Tensor.
          Inclusive prefix sums of the query lengths; the last is T1. ``None`` means one sequence. Default: ``None``.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. Inclusive prefix sums of
          the key lengths; the last is T2. ``None`` means the same as `actual_seq_qlen`. Default: ``None``.
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
        RuntimeError: If prefix sums decrease, or do not end at T1 and T2.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((6, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((6, 2, 24)), ms.float32)
        >>> value = Tensor(rng.standard_normal((6, 2, 16)), ms.float32)
        >>> attention_out, softmax_max, softmax_sum = ms_nsa.NsaWindowAttention(8, 4)(query, key, value)
        >>> bprop = ms_nsa.NsaWindowAttentionGrad(8, 4)
        >>> grad = ops.ones_like(attention_out)
        >>> dq, dk, dv = bprop(grad, query, key, value, attention_out, softmax_max, softmax_sum)
        >>> print(dq.shape, dk.shape, dv.shape)
        (6, 8, 24) (6, 2, 24) (6, 2, 16)
    """

    def __init__(self, head_num, window_size, scale_value=None, limits="auto"):
        super().__init__()
        attributes, device = checks.operator_attributes(
            _GRAD, limits, head_num=head_num, window_size=window_size, scale_value=scale_value
        )
        self._make_operator(_GRAD, attributes, device, (refused_gradients.of_window_gradient, _GRAD))

    def construct(
        self,
        grad,
        query,
        key,
        value,
        attention_out,
        softmax_max,
        softmax_sum,
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
            actual_seq_qlen,
            actual_seq_kvlen,
            softmax_max_grad,
            softmax_sum_grad,
        )


class NsaWindowAttention(cells.OperatorCell):
    r"""
    Sliding-window attention for training: each query attends to the last `window_size` rows up to its own.

    Query `s` of a sequence is at row ``p = s + Sk - Sq`` and sees the rows `j` with ``p - window_size < j <= p``; the
    window includes the query's own row. Scores, softmax and sums are float32. Results are bitwise identical in every
    run, for any number of threads and in any batch. Gradients of all outputs flow to `query`, `key` and `value`.

    The window is the third branch of Native Sparse Attention (arXiv:2502.11089).

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Note:
        In PyNative mode, a RuntimeError is raised when the result is read. On Ascend, invalid values are reported only
        in PyNative mode and only if MS_NSA_DEBUG=1 was set when the Cell was created; otherwise they are ignored.

    Args:
        head_num (int): Number of query heads, N1. It must be a multiple of N2, the number of key and value heads. Query
            head `n` reads key and value head ``n // (N1 / N2)``.
        window_size (int): Rows that a query sees, including its own.
        scale_value (float, optional): Factor applied to the scores; zero and negative values are valid. ``None`` means
            ``1 / sqrt(D1)``. Default: ``None``.
        limits (str, optional): ``"auto"`` checks the limits of the current device. ``"ascend"`` checks the limits that
            CANN documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **query** (Tensor) - :math:`(T1, N1, D1)`, float16, bfloat16 or float32. Tokens of all sequences,
          concatenated.
        - **key** (Tensor) - :math:`(T2, N2, D1)`, same dtype as `query`.
        - **value** (Tensor) - :math:`(T2, N2, D2)`, same dtype as `query`.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a Tensor.
          Inclusive prefix sums of the query lengths; the last is T1. ``None`` means one sequence. Default: ``None``.
        - **actual_seq_kvlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. Inclusive prefix sums of
          the key lengths; the last is T2. ``None`` means the same as `actual_seq_qlen`. Default: ``None``.

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

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((6, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((9, 2, 24)), ms.float32)
        >>> value = Tensor(rng.standard_normal((9, 2, 16)), ms.float32)
        >>> attention = ms_nsa.NsaWindowAttention(head_num=8, window_size=4)
        >>> attention_out, softmax_max, softmax_sum = attention(
        ...     query, key, value, actual_seq_qlen=(2, 6), actual_seq_kvlen=(5, 9))
        >>> print(attention_out.shape, softmax_max.shape, softmax_sum.shape)
        (6, 8, 16) (6, 8, 8) (6, 8, 8)
    """

    def __init__(self, head_num, window_size, scale_value=None, limits="auto"):
        super().__init__()
        attributes, device = checks.operator_attributes(
            _FORWARD, limits, head_num=head_num, window_size=window_size, scale_value=scale_value
        )
        gradient = self._bprop_with, NsaWindowAttentionGrad(head_num, window_size, scale_value, limits)
        self._make_operator(_FORWARD, attributes, device, gradient)

    @staticmethod
    def _bprop_with(grad_cell):
        """The primitive's gradient function; not bound to this Cell, because copies of the primitive make their own."""

        def bprop(query, key, value, actual_seq_qlen, actual_seq_kvlen, out, dout):
            dq, dk, dv = grad_cell(
                dout[0],
                query,
                key,
                value,
                out[0],
                out[1],
                out[2],
                actual_seq_qlen,
                actual_seq_kvlen,
                dout[1],
                dout[2],
            )
            return dq, dk, dv, ops.zeros_like(actual_seq_qlen), ops.zeros_like(actual_seq_kvlen)

        return bprop

    def construct(self, query, key, value, actual_seq_qlen=None, actual_seq_kvlen=None):
        return self._call(query, key, value, actual_seq_qlen, actual_seq_kvlen)


_cell = cells.cached(NsaWindowAttention)


def nsa_window_attention(
    query, key, value, scale_value, head_num, window_size, actual_seq_qlen=None, actual_seq_kvlen=None
):
    r"""
    Functional form of :class:`ms_nsa.NsaWindowAttention`.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Args:
        query (Tensor): :math:`(T1, N1, D1)`, float16, bfloat16 or float32.
        key (Tensor): :math:`(T2, N2, D1)`, same dtype as `query`.
        value (Tensor): :math:`(T2, N2, D2)`, same dtype as `query`.
        scale_value (float): Factor applied to the scores; ``None`` means ``1 / sqrt(D1)``.
        head_num (int): Number of query heads, N1.
        window_size (int): Rows that a query sees, including its own.
        actual_seq_qlen (Union[tuple, list, ndarray, Tensor], optional): Inclusive prefix sums of the query lengths.
            ``None`` means one sequence. Default: ``None``.
        actual_seq_kvlen (Union[tuple, list, ndarray, Tensor], optional): Inclusive prefix sums of the key lengths.
            ``None`` means the same as `actual_seq_qlen`. Default: ``None``.

    Returns:
        tuple of Tensor: attention_out :math:`(T1, N1, D2)` with the dtype of `query`; softmax_max and softmax_sum
        :math:`(T1, N1, 8)`, float32.

    Raises:
        TypeError: As raised by :class:`ms_nsa.NsaWindowAttention`.
        ValueError: As raised by :class:`ms_nsa.NsaWindowAttention`.
        RuntimeError: As raised by :class:`ms_nsa.NsaWindowAttention`.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> query = Tensor(rng.standard_normal((6, 8, 24)), ms.float32)
        >>> key = Tensor(rng.standard_normal((6, 2, 24)), ms.float32)
        >>> attention_out, softmax_max, softmax_sum = ms_nsa.nsa_window_attention(query, key, key, None, 8, 4)
        >>> print(attention_out.shape)
        (6, 8, 24)
    """
    return _cell(head_num, window_size, scale_value)(query, key, value, actual_seq_qlen, actual_seq_kvlen)
