# SPDX-License-Identifier: Apache-2.0
"""The record of the first invalid value that an Ascend kernel found, and its error message.

A CPU kernel raises an error. An Ascend kernel cannot: it ignores invalid indices, pages and lengths, and rows outside a
mask. If MS_NSA_DEBUG=1 was set when the Cell was created, the kernel also writes a record of the first one to an output
that users do not see.
"""

import os

SHAPE = (8,)  # int64, ms_nsa::FirstError of ascendc/common/first_error.h
_VARIABLE = "MS_NSA_DEBUG"

# The operators of compression, with the tensor that has a row for every window.
_COMPRESSION = {"NsaCompress": "row_template", "NsaCompressGrad": "grad", "NsaCompressInfer": None}
_READS = {"NsaSelectedAttentionInfer": "blocks are selected", "NsaCompressInfer": "rows are compressed"}


def wanted():
    """Whether Cells created now report invalid values on Ascend.

    Raises:
        RuntimeError: If MS_NSA_DEBUG is neither 0 nor 1.
    """
    value = os.environ.get(_VARIABLE, "0")
    if value not in ("0", "1"):
        raise RuntimeError(f"ms_nsa: {_VARIABLE} must be 0 or 1, got {value or 'nothing'}")
    return value == "1"


def sentence(operator, record, layout=None):
    """The error message that the CPU kernel would raise for a record.

    Args:
        operator (str): name of the operator.
        record (list): the eight numbers of ms_nsa::FirstError.
        layout (str, optional): of paged inference.

    Returns:
        str, or None if no rule is broken.
    """
    rule, of_keys, *where, value, bound, _ = record
    lengths = ("actual_seq_qlen", "actual_seq_kvlen", "actual_seq_len")[of_keys]
    compresses = operator in _COMPRESSION
    most_new = "2^31 - 1" if compresses else "T" if layout == "TND" else "S"
    most_rows = "2^31 - 1" if operator == "NsaCompressAttentionInfer" else "max_blocks * page_block_size"
    rows = most_rows if of_keys else most_new
    pages = f"hold page ids from 0 to {bound - 1} where {_READS.get(operator, 'rows are visible')}"
    columns = "max windows" if operator.startswith("NsaCompressAttention") else "max Sk"
    place = f"token {where[0]}, kv head {where[1]}, slot {where[2]}"
    words = [  # in the order of ms_nsa::BrokenRule
        None,
        f"{lengths} must not be negative, got {value} at entry 0",
        f"{lengths} must not decrease, got {value} at entry {where[0]} after {where[1]}",
        f"{lengths} must end at {'T2' if of_keys else 'T1'} = {bound}, got {value}",
        f"{lengths} must be from 0 to {rows} = {bound}, got {value} at sequence {where[0]}",
        f"{lengths} must sum to T = {bound}, got {value}",
        f"atten_mask must cover [max Sq, {columns}] = [{where[0]}, {where[1]}], got [{value}, {bound}]",
        f"topk_indices must be below ceil(Sk / select_block_size) = {bound}, got {value} at {place}",
        f"block_table must {pages}, got {value} at sequence {where[0]}, slot {where[1]}",
        f"atten_mask must cover [B, max Sq, max Sq] with max Sq = {where[0]}, got [{value}, {bound}]",
        f"{_COMPRESSION.get(operator, 'key')} must have at least {bound} rows, got {value}",
        f"slot_mapping must have a slot for every new window: {bound} at sequence {where[0]}, got {value}",
        f"block_table must have pages for {where[0]} compressed rows, got {value} pages of {bound} rows",
        f"topk_mask must cover [max Sq, max blocks] = [{where[0]}, {where[1]}], got [{value}, {bound}]",
    ][rule]
    return words and f"{operator}: {words}"


def check(operator, record, layout=None):
    """Raises RuntimeError if the record holds an error."""
    found = sentence(operator, record.asnumpy().tolist(), layout)
    if found:
        raise RuntimeError(found)
