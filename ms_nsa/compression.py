# SPDX-License-Identifier: Apache-2.0
"""Compression of raw rows for training: the forward Cell, its bprop Cell and the functional forms."""

from mindspore import Tensor, ops

from ms_nsa import cells, checks, refused_gradients
from ms_nsa.primitive import call_arguments

_FORWARD = "NsaCompress"
_GRAD = "NsaCompressGrad"


class NsaCompressGrad(cells.OperatorCell):
    r"""
    Gradient of :class:`ms_nsa.NsaCompress` with respect to input and weight.

    The training Cell calls it by itself; as a Cell of its own it serves code that differentiates by hand.

    Args:
        compress_block_size (int, optional): Raw rows of a window, at least `compress_stride`. Default: ``32``.
        compress_stride (int, optional): Raw rows from the start of one window to that of the next. Default: ``16``.
        limits (str, optional): ``"auto"`` checks the limits of the device in use, ``"ascend"`` those that CANN
            documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **grad** (Tensor) - :math:`(T3, N2, D)`, dtype of `input`. Gradient of `output`; further rows are not read.
        - **input** (Tensor) - :math:`(T2, N2, D)`, float16, bfloat16 or float32.
        - **weight** (Tensor, optional) - :math:`(compress\_block\_size, N2)`, dtype of `input`. Default: ``None``, the
          mean.
        - **actual_seq_len** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. Inclusive prefix sums of the
          raw rows; the last entry is T2. Default: ``None``, one sequence.

    Outputs:
        - **input_grad** (Tensor) - :math:`(T2, N2, D)`, dtype of `input`. Zero for rows of no window.
        - **weight_grad** (Tensor) - :math:`(compress\_block\_size, N2)`, dtype of `input`. Zero without `weight`.

    Raises:
        TypeError: If an argument has a wrong type, or an input a wrong dtype.
        ValueError: If an attribute, rank or extent does not fit, or breaks `limits`.
        RuntimeError: If a value does not fit: prefix sums that decrease or do not end at T2, too few rows of
            `grad`. In PyNative mode it is raised when the result is read.

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
    Compression: the rows of every window become one row, their weighted sum.

    .. math::
        output_{c,h} = \sum_{r=0}^{compress\_block\_size - 1} weight_{r,h} \cdot input_{c \cdot compress\_stride + r,h}

    Windows are counted in each sequence and end inside it; a sequence shorter than a window has none. Sums are float32,
    in ascending order, and rounded once: a row has the same bits in training and in
    :class:`ms_nsa.NsaCompressInfer`. Gradients reach `input` and `weight`.

    The method is Native Sparse Attention (arXiv:2502.11089). The call follows ``torch_npu.npu_nsa_compress`` and
    ``mindspore.ops.nsa_compress``.

    Args:
        compress_block_size (int, optional): Raw rows of a window, at least `compress_stride`. Default: ``32``.
        compress_stride (int, optional): Raw rows from the start of one window to that of the next. Default: ``16``.
        limits (str, optional): ``"auto"`` checks the limits of the device in use, ``"ascend"`` those that CANN
            documents for its own operators, on any device. Default: ``"auto"``.

    Inputs:
        - **input** (Tensor) - :math:`(T2, N2, D)`, float16, bfloat16 or float32. The raw rows of all sequences, one
          sequence after another.
        - **weight** (Tensor, optional) - :math:`(compress\_block\_size, N2)`, dtype of `input`. Default: ``None``, the
          mean of a window.
        - **actual_seq_len** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`, int32 or int64 as a Tensor.
          Inclusive prefix sums of the raw rows; the last entry is T2. Default: ``None``, one sequence.

    Outputs:
        - **output** (Tensor) - :math:`(T3, N2, D)`, dtype of `input`, the windows of all sequences one after another.
          Where the lengths are a Tensor, T3 is not known and there are ``T2 // compress_stride`` rows, never fewer than
          T3; those beyond T3 are zero.

    Raises:
        TypeError: If an argument has a wrong type, or an input a wrong dtype.
        ValueError: If an attribute, rank or extent does not fit, or breaks `limits`.
        RuntimeError: If a value does not fit: prefix sums that decrease or do not end at T2. In PyNative mode
            it is raised when the result is read.

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
                weight_grad = ops.zeros_like(weight)
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

    Args:
        input (Tensor): :math:`(T2, N2, D)`, float16, bfloat16 or float32.
        weight (Tensor): :math:`(compress\_block\_size, N2)`, dtype of `input`; ``None``: the mean.
        compress_block_size (int): Raw rows of a window.
        compress_stride (int): Raw rows from one window to the next.
        actual_seq_len (Union[tuple, list, ndarray, Tensor], optional): Inclusive prefix sums of the raw rows. Default:
            ``None``, one sequence.

    Returns:
        Tensor, :math:`(T3, N2, D)` in the dtype of `input`.

    Raises:
        TypeError: As :class:`ms_nsa.NsaCompress`.
        ValueError: As :class:`ms_nsa.NsaCompress`.
        RuntimeError: As :class:`ms_nsa.NsaCompress`.

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
    Prefix sums of compressed rows for prefix sums of raw rows.

    Args:
        actual_seq_kvlen (Union[tuple, list, Tensor]): Inclusive prefix sums of the raw rows; int32 or int64 as a
            Tensor.
        compress_block_size (int): Raw rows of a window.
        compress_stride (int): Raw rows from one window to the next.

    Returns:
        tuple of int, or a Tensor like `actual_seq_kvlen`, also inside a graph.

    Raises:
        TypeError: If `actual_seq_kvlen` is of another type.

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
