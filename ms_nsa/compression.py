# SPDX-License-Identifier: Apache-2.0
"""Compression of raw rows for training: forward Cell, gradient Cell and functional forms."""

from mindspore import Tensor, ops

from ms_nsa import cells, checks, refused_gradients
from ms_nsa.primitive import call_arguments

_FORWARD = "NsaCompress"
_GRAD = "NsaCompressGrad"


class NsaCompressGrad(cells.OperatorCell):
    r"""
    Gradient of :class:`ms_nsa.NsaCompress` with respect to input and weight.

    The training Cell calls it automatically. Use it directly in code that differentiates by hand.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Note:
        In PyNative mode, a RuntimeError is raised when the result is read. On Ascend, invalid values are reported only
        in PyNative mode and only if MS_NSA_DEBUG=1 was set when the Cell was created; otherwise they are ignored.

    Args:
        compress_block_size (int, optional): Raw rows per window, at least `compress_stride`. Default: ``32``.
        compress_stride (int, optional): Raw rows between the starts of consecutive windows. Default: ``16``.
        limits (str, optional): ``"auto"`` checks the limits of the current device. ``"ascend"`` checks the limits that
            CANN documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **grad** (Tensor) - :math:`(T3, N2, D)`, same dtype as `input`. Gradient of `output`; rows beyond T3 are not
          read.
        - **input** (Tensor) - :math:`(T2, N2, D)`, float16, bfloat16 or float32.
        - **weight** (Tensor, optional) - :math:`(compress\_block\_size, N2)`, same dtype as `input`. ``None`` means the
          mean of each window. Default: ``None``.
        - **actual_seq_len** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. Inclusive prefix sums of the
          raw rows; the last is T2. ``None`` means one sequence. Default: ``None``.

    Outputs:
        - **input_grad** (Tensor) - :math:`(T2, N2, D)`, same dtype as `input`. Zero for rows that are in no window.
        - **weight_grad** (Tensor) - :math:`(compress\_block\_size, N2)`, same dtype as `input`. Zero if `weight` is
          ``None``.

    Raises:
        TypeError: If an argument has the wrong type.
        TypeError: If an input has the wrong dtype.
        ValueError: If an attribute, rank or extent is invalid.
        ValueError: If an attribute or extent does not satisfy `limits`.
        RuntimeError: If prefix sums decrease, or do not end at T2.
        RuntimeError: If `grad` has too few rows.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> input = Tensor(np.arange(6.0).reshape(6, 1, 1), ms.float32)
        >>> weight = Tensor([[1.0], [2.0], [3.0], [4.0]], ms.float32)
        >>> grad = Tensor([[[1.0]], [[10.0]]], ms.float32)
        >>> input_grad, weight_grad = ms_nsa.NsaCompressGrad(4, 2)(grad, input, weight)
        >>> print(input_grad.ravel(), weight_grad.ravel())
        [ 1.  2. 13. 24. 30. 40.] [20. 31. 42. 53.]
    """

    def __init__(self, compress_block_size=32, compress_stride=16, limits="auto"):
        super().__init__()
        attributes, device = checks.operator_attributes(
            _GRAD, limits, compress_block_size=compress_block_size, compress_stride=compress_stride
        )
        self._make_operator(_GRAD, attributes, device, (refused_gradients.of_compression_gradient, _GRAD))

    def construct(self, grad, input, weight=None, actual_seq_len=None):
        return self._call(grad, input, weight, actual_seq_len)


class NsaCompress(cells.OperatorCell):
    r"""
    Compression: replaces the rows of each window by one row, their weighted sum.

    .. math::
        output_{c,h} = \sum_{r=0}^{compress\_block\_size - 1} weight_{r,h} \cdot input_{c \cdot compress\_stride + r,h}

    Windows are counted per sequence and end inside it; a sequence shorter than a window has none. Sums are float32, in
    ascending order of rows, and rounded once. A row has the same bits in training and in
    :class:`ms_nsa.NsaCompressInfer`. Gradients flow to `input` and `weight`.

    The method is Native Sparse Attention (arXiv:2502.11089). The signature follows ``torch_npu.npu_nsa_compress`` and
    ``mindspore.ops.nsa_compress``.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Note:
        In PyNative mode, a RuntimeError is raised when the result is read. On Ascend, invalid values are reported only
        in PyNative mode and only if MS_NSA_DEBUG=1 was set when the Cell was created; otherwise they are ignored.

    Args:
        compress_block_size (int, optional): Raw rows per window, at least `compress_stride`. Default: ``32``.
        compress_stride (int, optional): Raw rows between the starts of consecutive windows. Default: ``16``.
        limits (str, optional): ``"auto"`` checks the limits of the current device. ``"ascend"`` checks the limits that
            CANN documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **input** (Tensor) - :math:`(T2, N2, D)`, float16, bfloat16 or float32. Raw rows of all sequences,
          concatenated.
        - **weight** (Tensor, optional) - :math:`(compress\_block\_size, N2)`, same dtype as `input`. ``None`` means the
          mean of each window. Default: ``None``.
        - **actual_seq_len** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a Tensor.
          Inclusive prefix sums of the raw rows; the last is T2. ``None`` means one sequence. Default: ``None``.

    Outputs:
        - **output** (Tensor) - :math:`(T3, N2, D)`, same dtype as `input`. The windows of all sequences, concatenated.
          If the lengths are a Tensor, T3 is unknown in advance; the output then has ``T2 // compress_stride`` rows,
          which is never less than T3, and rows beyond T3 are zero.

    Raises:
        TypeError: If an argument has the wrong type.
        TypeError: If an input has the wrong dtype.
        ValueError: If an attribute, rank or extent is invalid.
        ValueError: If an attribute or extent does not satisfy `limits`.
        RuntimeError: If prefix sums decrease, or do not end at T2.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> input = Tensor(np.arange(6.0).reshape(6, 1, 1), ms.float32)
        >>> weight = Tensor([[1.0], [2.0], [3.0], [4.0]], ms.float32)
        >>> print(ms_nsa.NsaCompress(compress_block_size=4, compress_stride=2)(input, weight).ravel())
        [20. 40.]
    """

    def __init__(self, compress_block_size=32, compress_stride=16, limits="auto"):
        super().__init__()
        attributes, device = checks.operator_attributes(
            _FORWARD, limits, compress_block_size=compress_block_size, compress_stride=compress_stride
        )
        self._compress_block_size = attributes["compress_block_size"]
        self._compress_stride = attributes["compress_stride"]
        gradient = self._bprop_with, NsaCompressGrad(compress_block_size, compress_stride, limits)
        self._make_operator(_FORWARD, attributes, device, gradient, further=("row_template",))

    @staticmethod
    def _bprop_with(grad_cell):
        """The primitive's gradient function; not bound to this Cell, because copies of the primitive make their own."""

        def bprop(input, weight, actual_seq_len, row_template, out, dout):
            input_grad, weight_grad = grad_cell(dout, input, weight, actual_seq_len)
            if call_arguments.is_absent(weight):
                weight_grad = weight  # it is empty, and zeros in bfloat16 are not to be had everywhere
            return input_grad, weight_grad, ops.zeros_like(actual_seq_len), ops.zeros_like(row_template)

        return bprop

    def construct(self, input, weight=None, actual_seq_len=None):
        template = call_arguments.row_template(input, actual_seq_len, self._compress_block_size, self._compress_stride)
        return self._call(input, weight, actual_seq_len, template)


_cell = cells.cached(NsaCompress)


def nsa_compress(input, weight, compress_block_size, compress_stride, actual_seq_len=None):
    r"""
    Functional form of :class:`ms_nsa.NsaCompress`, called like ``torch_npu.npu_nsa_compress`` and
    ``mindspore.ops.nsa_compress``.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Args:
        input (Tensor): :math:`(T2, N2, D)`, float16, bfloat16 or float32.
        weight (Tensor): :math:`(compress\_block\_size, N2)`, same dtype as `input`; ``None`` means the mean of each
            window.
        compress_block_size (int): Raw rows per window.
        compress_stride (int): Raw rows between the starts of consecutive windows.
        actual_seq_len (Union[tuple, list, ndarray, Tensor], optional): Inclusive prefix sums of the raw rows. ``None``
            means one sequence. Default: ``None``.

    Returns:
        Tensor of shape :math:`(T3, N2, D)` with the dtype of `input`.

    Raises:
        TypeError: As raised by :class:`ms_nsa.NsaCompress`.
        ValueError: As raised by :class:`ms_nsa.NsaCompress`.
        RuntimeError: As raised by :class:`ms_nsa.NsaCompress`.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> input = Tensor(rng.standard_normal((70, 2, 24)), ms.float32)
        >>> print(ms_nsa.nsa_compress(input, None, 16, 8, actual_seq_len=[30, 70]).shape)
        (6, 2, 24)
    """
    return _cell(compress_block_size, compress_stride)(input, weight, actual_seq_len)


def compressed_seq_lens(actual_seq_kvlen, compress_block_size, compress_stride):
    r"""
    Computes the prefix sums of compressed rows from the prefix sums of raw rows.

    Args:
        actual_seq_kvlen (Union[tuple, list, Tensor]): Inclusive prefix sums of the raw rows; int32 or int64 as a
            Tensor.
        compress_block_size (int): Raw rows per window.
        compress_stride (int): Raw rows between the starts of consecutive windows.

    Returns:
        tuple of int; or a Tensor if `actual_seq_kvlen` is one, also inside a graph.

    Raises:
        TypeError: If `actual_seq_kvlen` has another type.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import ms_nsa
        >>> print(ms_nsa.compressed_seq_lens((6, 9, 13), 4, 2))
        (2, 2, 3)
    """
    if isinstance(actual_seq_kvlen, Tensor):
        before = ops.cat((ops.zeros((1,), actual_seq_kvlen.dtype), actual_seq_kvlen[:-1]))
        rows = actual_seq_kvlen - before
        windows = ops.floor_divide(rows - compress_block_size, compress_stride) + 1
        return ops.cumsum(windows * (rows >= compress_block_size).astype(windows.dtype), 0)
    return checks.compressed_ends(actual_seq_kvlen, compress_block_size, compress_stride)
