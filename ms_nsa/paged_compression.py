# SPDX-License-Identifier: Apache-2.0
"""Compression in decoding, over a paged cache of raw rows: the Cell and the functional form."""

from mindspore import ops

from ms_nsa import cells, checks, refused_gradients

_INFER = "NsaCompressInfer"


class NsaCompressInfer(cells.OperatorCell):
    r"""
    :class:`ms_nsa.NsaCompress` for decoding: the compressed rows of the windows that end within the newest raw rows.

    It reads a paged cache of raw rows and returns rows and slots; the caller writes them to the cache of compressed
    rows. A row has the same bits as in training.

    The method is Native Sparse Attention (arXiv:2502.11089). The call follows ``torch_npu.npu_nsa_compress_infer``.

    Args:
        compress_block_size (int): Raw rows of a window, at least `compress_stride`.
        compress_stride (int): Raw rows from the start of one window to that of the next.
        page_block_size (int): Raw rows of a page.
        limits (str, optional): ``"auto"`` checks the limits of the device in use, ``"ascend"`` those that CANN
            documents for its own operators, on any device. Default: ``"auto"``.
        cache_layout (str, optional): ``"BSND"`` or ``"BNSD"``, in whose pages the rows of a head follow one another:
            the faster one. Default: ``"BSND"``.

    Inputs:
        - **input** (Tensor) - :math:`(num\_blocks, page\_block\_size, N2, D)`, or the last two dimensions as one; with
          `cache_layout` ``"BNSD"`` :math:`(num\_blocks, N2, page\_block\_size, D)`; float16, bfloat16 or float32.
          Without `weight`, an input of three dimensions counts as one head.
        - **weight** (Tensor) - :math:`(compress\_block\_size, N2)`, dtype of `input`; ``None``: the mean.
        - **slot_mapping** (Tensor) - :math:`(B)` or :math:`(B, k)`, int32. Where the `i`-th new window of a sequence
          goes in the compressed cache; negative: nowhere. Entries without a window are not read.
        - **block_table** (Tensor) - :math:`(B, max\_blocks)`, int32. Page of every stretch of `page_block_size` raw
          rows.
        - **actual_seq_len** (Union[tuple, list, ndarray, Tensor]) - :math:`(B)`. Raw rows of every sequence, the new
          ones included.
        - **actual_seq_qlen** (Union[tuple, list, ndarray, Tensor], optional) - :math:`(B)`. New raw rows of every
          sequence. Default: ``None``, 1 each.

    Outputs:
        - **rows** (Tensor) - :math:`(B, k, N2, D)`, dtype of `input`. Zero where there is nothing to write.
        - **slots** (Tensor) - :math:`(B, k)`, int32. The slot of every row, -1 where there is nothing to write.

    Raises:
        TypeError: If an argument has a wrong type, or an input a wrong dtype.
        ValueError: If an attribute, rank or extent does not fit, or breaks `limits`.
        RuntimeError: If a value does not fit: lengths beyond the block table, more new windows than slots, a
            page id that does not exist. In PyNative mode it is raised when the result is read.

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


@ops.constexpr
def _check_no_cache(cache):
    if cache is not None:
        checks.fail(ValueError, _INFER, "cache", "be None", type(cache).__name__)


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

    Args:
        input (Tensor): see `Inputs` of the Cell, as are the other tensors.
        weight (Tensor): weights of a window's rows; ``None``: the mean.
        slot_mapping (Tensor): where the new rows go.
        compress_block_size (int): Raw rows of a window.
        compress_stride (int): Raw rows from one window to the next.
        page_block_size (int): Raw rows of a page.
        block_table (Tensor): :math:`(B, max\_blocks)`, int32. Must be given.
        actual_seq_len (Union[tuple, list, ndarray, Tensor]): Raw rows of every sequence. Must be given.
        cache (Tensor, optional): Must be ``None``: MindSpore's operators write to no tensor that they are given. Write
            `rows` to the `slots` that are not negative. Default: ``None``.
        actual_seq_qlen (Union[tuple, list, ndarray, Tensor], optional): New raw rows of every sequence. Default:
            ``None``, 1 each.

    Returns:
        tuple of Tensor: rows and slots.

    Raises:
        TypeError: As :class:`ms_nsa.NsaCompressInfer`.
        ValueError: As :class:`ms_nsa.NsaCompressInfer`.
        RuntimeError: As :class:`ms_nsa.NsaCompressInfer`.

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
    _check_no_cache(cache)
    cell = _cell(compress_block_size, compress_stride, page_block_size)
    return cell(input, weight, slot_mapping, block_table, actual_seq_len, actual_seq_qlen)
