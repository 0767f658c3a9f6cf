# SPDX-License-Identifier: Apache-2.0
"""MindSpore's own operators that the layer uses on Ascend instead of those that only the CPU library has.

MindSpore's MatMul and scatter support every dtype there. As in the kernels, nothing is checked and nothing raises: a
token or window without a page is not written.
"""

import mindspore as ms
from mindspore import nn, ops

from ms_nsa import checks


def in_use():
    """Whether Cells that are built now run on Ascend."""
    return checks.device_target() == "ascend"


class Project(nn.Cell):
    """Replaces NsaProject."""

    def __init__(self, heads=0):
        super().__init__()
        self.multiply, self.heads = ops.MatMul(transpose_b=True), heads

    def construct(self, input, weight):
        rows = input.reshape((input.shape[0], -1)) if input.ndim == 3 else input
        output = self.multiply(rows, weight)
        return output.reshape((input.shape[0], self.heads, -1)) if self.heads else output


class GatedSum(nn.Cell):
    """Replaces NsaGatedSum."""

    def construct(self, compressed, selected, window, gates):
        of_compressed, of_selected, of_window = ops.Split(-1, 3)(gates.astype(ms.float32))
        total = compressed.astype(ms.float32) * of_compressed
        total = total + selected.astype(ms.float32) * of_selected
        return (total + window.astype(ms.float32) * of_window).astype(compressed.dtype)


class Cast(nn.Cell):
    """Replaces NsaToFloat32 and NsaToBfloat16."""

    def construct(self, input, dtype):
        return input.astype(dtype)


class Sum(nn.Cell):
    """Replaces NsaSum."""

    def construct(self, first, *others):
        total = first.astype(ms.float32)
        for term in others:
            total = total + term.astype(ms.float32)
        return total.astype(first.dtype)


class Rotate(nn.Cell):
    """Replaces NsaRotate."""

    def construct(self, input, cosine, sine):
        dtype = input.dtype
        left, right = ops.Split(-1, 2)(input.astype(ms.float32))
        return ops.concat((left * cosine - right * sine, right * cosine + left * sine), -1).astype(dtype)


class PageSlots(nn.Cell):
    """Replaces NsaPageSlots."""

    def __init__(self, layout, cache, compress_block_size, compress_stride):
        super().__init__()
        self.packed = layout == "TND"
        self.pages, self.compressed_pages = cache.num_pages, cache.num_compressed_pages
        self.page_rows = cache.page_block_size
        self.size, self.stride = compress_block_size, compress_stride

    def construct(self, tokens, block_table, compressed_block_table, actual_seq_qlen, actual_seq_kvlen):
        q_len, kv_len = actual_seq_qlen.astype(ms.int32), actual_seq_kvlen.astype(ms.int32)
        sequence, index, real = self._tokens(tokens, q_len)
        start = ops.gather(kv_len - q_len, sequence, 0)
        positions = ops.select(real, start + index, ops.zeros_like(index))
        slots = self._slots(block_table, self.pages, sequence, positions, real)

        batch, most = block_table.shape[0], tokens.shape[0 if self.packed else 1] // self.stride + 1
        first, end = self._windows(kv_len - q_len), self._windows(kv_len)
        window = first.reshape((batch, 1)) + ops.arange(most).astype(ms.int32)
        sequence = ops.zeros_like(window) + ops.arange(batch).astype(ms.int32).reshape((batch, 1))
        real = window < end.reshape((batch, 1))
        starts = ops.select(real, window * self.stride, ops.zeros_like(window))
        return (
            positions,
            slots,
            self._slots(compressed_block_table, self.compressed_pages, sequence, window, real),
            starts,
        )

    def _tokens(self, tokens, q_len):
        """For each token row: its sequence, its index among the new tokens there, and whether it is one of them."""
        batch = q_len.shape[0]
        if not self.packed:
            row = ops.arange(batch * tokens.shape[1]).astype(ms.int32)
            sequence, index = row // tokens.shape[1], row % tokens.shape[1]
            return sequence, index, index < ops.gather(q_len, sequence, 0)
        row = ops.arange(tokens.shape[0]).astype(ms.int32)
        ends = ops.cumsum(q_len, 0)
        behind = (row.reshape((-1, 1)) >= ends.reshape((1, batch))).astype(ms.int32)
        sequence = ops.minimum(behind.sum(1).astype(ms.int32), batch - 1)
        return sequence, row - ops.gather(ends - q_len, sequence, 0), row < ends[batch - 1]

    def _windows(self, rows):
        """The number of windows in that many rows."""
        return ops.maximum(rows - self.size + self.stride, 0) // self.stride

    def _slots(self, table, pages, sequence, row, real):
        """The slots of rows of sequences; -1 for what is not real, and where the table has no page."""
        columns = table.shape[1]
        block = row // self.page_rows
        at = sequence * columns + ops.clamp(block, 0, columns - 1)
        page = ops.gather(table.reshape((-1,)), at, 0)
        real = ops.logical_and(real, ops.logical_and(row >= 0, block < columns))
        real = ops.logical_and(real, ops.logical_and(page >= 0, page < pages))
        return ops.select(real, page * self.page_rows + row % self.page_rows, -ops.ones_like(page))


class WritePages(nn.Cell):
    """Replaces NsaWritePages."""

    def __init__(self, cache_layout):
        super().__init__()
        self.heads_first = cache_layout == "BNSD"

    def construct(self, key_pages, value_pages, key_rows, value_rows, slots, lengths):
        written = self._write(key_pages, key_rows, slots), self._write(value_pages, value_rows, slots)
        return ops.depend(lengths, written)

    def _write(self, pages, rows, slots):
        """Scatter cannot drop a row, so a dropped row writes what its slot gets anyway: it becomes a copy of the first
        row that is kept, in the same slot, or, if none is kept, of what slot 0 holds already."""
        kept = slots >= 0
        some = kept.any()
        first = ops.argmax(kept.astype(ms.int32), 0).reshape((1,))
        slot = ops.maximum(ops.gather(slots, first, 0), 0)
        filling = ops.select(some, ops.gather(rows, first, 0), ops.gather_nd(pages, self._places(pages, slot)))
        at = ops.select(kept, slots, ops.zeros_like(slots) + slot)
        rows = ops.select(kept.reshape((-1, 1, 1)), rows, ops.zeros_like(rows) + filling)
        return ops.scatter_nd_update(pages, self._places(pages, at), rows)

    def _places(self, pages, slots):
        """Indices [R, N2, 3] of rows of heads."""
        heads, size = pages.shape[1:3] if self.heads_first else (pages.shape[2], pages.shape[1])
        head = ops.arange(heads).astype(ms.int32).reshape((1, heads))
        slots = slots.reshape((-1, 1)) + ops.zeros_like(head)
        page, row, head = slots // size, slots % size, ops.zeros_like(slots) + head
        return ops.stack((page, head, row) if self.heads_first else (page, row, head), -1)
