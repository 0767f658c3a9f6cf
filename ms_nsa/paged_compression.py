# SPDX-License-Identifier: Apache-2.0
"""Compression for decoding over a paged cache of raw rows: Cell and functional form."""

import mindspore as ms
from mindspore import ops

from ms_nsa import cells, checks, refused_gradients
from ms_nsa.page_writer import NsaWritePages

_INFER = "NsaCompressInfer"


class NsaCompressInfer(cells.OperatorCell):
    r"""
    :class:`ms_nsa.NsaCompress` for decoding: computes the compressed rows of the windows that end in the newest raw
    rows.

    It reads a paged cache of raw rows and returns compressed rows with their slots; the caller writes them to the cache
    of compressed rows. A row has the same bits as in training.

    The method is Native Sparse Attention (arXiv:2502.11089). The signature follows
    ``torch_npu.npu_nsa_compress_infer``.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Note:
        In PyNative mode, a RuntimeError is raised when the result is read. On Ascend, invalid values are reported only
        in PyNative mode and only if MS_NSA_DEBUG=1 was set when the Cell was created; otherwise they are ignored.

    Args:
        compress_block_size (int): Raw rows per window, at least `compress_stride`.
        compress_stride (int): Raw rows between the starts of consecutive windows.
        page_block_size (int): Raw rows per page.
        limits (str, optional): ``"auto"`` checks the limits of the current device. ``"ascend"`` checks the limits that
            CANN documents for its own operators, on any device. Default: ``"auto"``.
        cache_layout (str, optional): Layout of a page, ``"BSND"`` or ``"BNSD"``. ``"BNSD"`` stores the rows of a head
            next to each other and is faster. Default: ``"BSND"``.

    Inputs:
        - **input** (Tensor) - :math:`(num\_blocks, page\_block\_size, N2, D)`; the last two dimensions may be merged.
          With `cache_layout` ``"BNSD"``: :math:`(num\_blocks, N2, page\_block\_size, D)`; float16, bfloat16 or float32.
          Without `weight`, an input of three dimensions is taken as having one head.
        - **weight** (Tensor) - :math:`(compress\_block\_size, N2)`, same dtype as `input`; ``None`` means the mean of
          each window.
        - **slot_mapping** (Tensor) - :math:`(B)` or :math:`(B, k)`, int32. Slot of the compressed cache for the `i`-th
          new window of a sequence; negative means that the window is not written. Entries without a window are not
          read.
        - **block_table** (Tensor) - :math:`(B, max\_blocks)`, int32. Entry `i` of a sequence is the page of its raw
          rows ``i * page_block_size`` to ``(i + 1) * page_block_size - 1``.
        - **actual_seq_len** (Union[tuple, list, ndarray, Tensor]) - :math:`(B)`. Raw rows per sequence, including the
          new ones.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. New raw rows per sequence.
          ``None`` means 1 per sequence. Default: ``None``.

    Outputs:
        - **rows** (Tensor) - :math:`(B, k, N2, D)`, same dtype as `input`. Zero where there is nothing to write.
        - **slots** (Tensor) - :math:`(B, k)`, int32. The slot of each row; -1 where there is nothing to write.

    Raises:
        TypeError: If an argument has the wrong type.
        TypeError: If an input has the wrong dtype.
        ValueError: If an attribute, rank or extent is invalid.
        ValueError: If an attribute or extent does not satisfy `limits`.
        RuntimeError: If lengths exceed the block table.
        RuntimeError: If there are more new windows than slots.
        RuntimeError: If a page does not exist.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> input = Tensor(np.arange(8.0).reshape(4, 2, 1, 1), ms.float32)
        >>> weight = Tensor(np.ones((3, 1)), ms.float32)
        >>> compress = ms_nsa.NsaCompressInfer(compress_block_size=3, compress_stride=2, page_block_size=2)
        >>> slots, table = Tensor([[9, 8]], ms.int32), Tensor([[3, 0, 2]], ms.int32)  # the rows are 6, 7, 0, 1, 4
        >>> rows, written = compress(input, weight, slots, table, (5,), (3,))
        >>> print(rows.ravel(), written)
        [13.  5.] [[9 8]]
    """

    def __init__(self, compress_block_size, compress_stride, page_block_size, limits="auto", cache_layout="BSND"):
        super().__init__()
        attributes, device = checks.operator_attributes(
            _INFER,
            limits,
            compress_block_size=compress_block_size,
            compress_stride=compress_stride,
            page_block_size=page_block_size,
            cache_layout=cache_layout,
        )
        self._make_operator(_INFER, attributes, device, (refused_gradients.of_paged, _INFER))

    def construct(self, input, weight, slot_mapping, block_table, actual_seq_len, actual_seq_qlen=None):
        return self._call(input, weight, slot_mapping, block_table, actual_seq_len, actual_seq_qlen)


_cell = cells.cached(NsaCompressInfer)


_writer = cells.cached(NsaWritePages)


def nsa_compress_infer(
    input,
    weight,
    slot_mapping,
    compress_block_size,
    compress_stride,
    page_block_size,
    block_table=None,
    actual_seq_len=None,
    cache=None,
    actual_seq_qlen=None,
):
    r"""
    Functional form of :class:`ms_nsa.NsaCompressInfer`, called like ``torch_npu.npu_nsa_compress_infer``.

    .. warning::
        Ascend support is experimental: the kernels have been tested only on a host simulator, never on an NPU.

    Args:
        input (Tensor): See `Inputs` of the Cell, also for the other tensors.
        weight (Tensor): Weights of the rows of a window; ``None`` means the mean of each window.
        slot_mapping (Tensor): Slots of the new rows in the compressed cache.
        compress_block_size (int): Raw rows per window.
        compress_stride (int): Raw rows between the starts of consecutive windows.
        page_block_size (int): Raw rows per page.
        block_table (Tensor): :math:`(B, max\_blocks)`, int32. Required.
        actual_seq_len (Union[tuple, list, ndarray, Tensor]): Raw rows per sequence. Required.
        cache (Parameter, optional): Cache of compressed rows, :math:`(num\_blocks, page\_block\_size, N2, D)` or
            :math:`(slots, N2, D)`, dtype of `input`. `rows` are written to its non-negative `slots` in place, on the
            CPU. ``None`` leaves that to the caller. Default: ``None``.
        actual_seq_qlen (Union[tuple, list, ndarray, Tensor], optional): New raw rows per sequence. ``None`` means 1 per
            sequence. Default: ``None``.

    Returns:
        tuple of Tensor: rows and slots.

    Raises:
        TypeError: As raised by :class:`ms_nsa.NsaCompressInfer`.
        ValueError: As raised by :class:`ms_nsa.NsaCompressInfer`.
        RuntimeError: As raised by :class:`ms_nsa.NsaCompressInfer`.

    Supported Platforms:
        ``Ascend`` ``CPU``

    Examples:
        >>> import numpy as np
        >>> import mindspore as ms
        >>> from mindspore import Tensor, ops
        >>> import ms_nsa
        >>> rng = np.random.default_rng(0)
        >>> input = Tensor(np.arange(8.0).reshape(4, 2, 1, 1), ms.float32)
        >>> slots, table = Tensor([9], ms.int32), Tensor([[3, 0, 2]], ms.int32)
        >>> rows, written = ms_nsa.nsa_compress_infer(
        ...     input, None, slots, 3, 2, 2, block_table=table, actual_seq_len=[5])
        >>> print(written)
        [[9]]
    """
    cell = _cell(compress_block_size, compress_stride, page_block_size)
    rows, slots = cell(input, weight, slot_mapping, block_table, actual_seq_len, actual_seq_qlen)
    if cache is None:
        return rows, slots
    new = rows.astype(ms.float32).reshape((-1, *rows.shape[2:])).astype(rows.dtype)  # there is no Reshape in bfloat16
    at = slots.reshape((-1,))
    written = _writer("BSND")(cache, cache, new, new, at, at.astype(ms.int64))
    return rows, ops.depend(slots, written)
