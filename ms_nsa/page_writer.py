# SPDX-License-Identifier: Apache-2.0
"""Rows into pages: where those of a call go, and the writer. MindSpore's scatter lacks bfloat16 on the CPU; on Ascend
the layer uses it (layer_on_ascend)."""

from ms_nsa import cells, checks, layer_on_ascend, refused_gradients

_SLOTS = "NsaPageSlots"
_WRITE = "NsaWritePages"


class NsaPageSlots(cells.OperatorCell):
    """Where the new tokens of every sequence and the windows that end in them lie, in their sequence and in the pages.

    All lengths and the pages that will be written are checked. Outputs, int32: positions and slots of tokens [T], -1
    for the slot of a padded one; slots [B, K] of compressed rows, -1 where there is none, and the positions of the
    first rows of their windows.
    """

    def __init__(self, layout, cache, compress_block_size, compress_stride):
        super().__init__()
        attributes, device = checks.operator_attributes(
            _SLOTS,
            "auto",
            layout=layout,
            num_pages=cache.num_pages,
            num_compressed_pages=cache.num_compressed_pages,
            page_block_size=cache.page_block_size,
            compress_block_size=compress_block_size,
            compress_stride=compress_stride,
        )
        self._make_operator(_SLOTS, attributes, device, (refused_gradients.of_page_slots, _SLOTS))

    def construct(self, tokens, block_table, compressed_block_table, actual_seq_qlen, actual_seq_kvlen):
        return self._call(tokens, block_table, compressed_block_table, actual_seq_qlen, actual_seq_kvlen)


class NsaWritePages(cells.OperatorCell):
    """Writes rows [R, N2, D] to slots [R] of two paged Parameters, in place; negative slots are dropped.

    Returns `lengths` as they are given: who reads the pages takes its lengths from here, so that it runs later.
    """

    def __init__(self, cache_layout):
        super().__init__()
        attributes, device = checks.operator_attributes(_WRITE, "auto", cache_layout=cache_layout)
        self._make_operator(_WRITE, attributes, device, (refused_gradients.of_page_writer, _WRITE))

    def construct(self, key_pages, value_pages, key_rows, value_rows, slots, lengths):
        return self._call(key_pages, value_pages, key_rows, value_rows, slots, lengths)


def make_page_slots(layout, cache, compress_block_size, compress_stride):
    """The Cell that finds slots, for the device in use."""
    cell = layer_on_ascend.PageSlots if layer_on_ascend.in_use() else NsaPageSlots
    return cell(layout, cache, compress_block_size, compress_stride)


def make_page_writer(cache_layout):
    """The Cell that writes pages, for the device in use."""
    return layer_on_ascend.WritePages(cache_layout) if layer_on_ascend.in_use() else NsaWritePages(cache_layout)
