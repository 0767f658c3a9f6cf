# SPDX-License-Identifier: Apache-2.0
"""Calls of the family's Cells that must be refused, each with its exact sentence, beside the calls that are right."""

import numpy as np
from mindspore import Tensor

from .cases import DTYPES
from .malformed import Array, Call

COMPRESS, COMPRESS_GRAD, COMPRESS_INFER = "NsaCompress", "NsaCompressGrad", "NsaCompressInfer"
CHOICE, CHOICE_GRAD, CHOICE_INFER = "NsaCompressAttention", "NsaCompressAttentionGrad", "NsaCompressAttentionInfer"
WINDOW, WINDOW_GRAD, WINDOW_INFER = "NsaWindowAttention", "NsaWindowAttentionGrad", "NsaWindowAttentionInfer"
LENGTHS = "be a tuple, list or NumPy array of int, or an int32 or int64 Tensor"

# Two sequences of 3 and 4 tokens over 9 and 11 raw rows: 3 and 4 windows of 4 rows, 2 apart. Decode: 2 and 1 new
# tokens over 12 and 9 rows in pages of 8, and 5 and 3 windows in pages of 8.
WINDOWS = {"compress_block_size": 4, "compress_stride": 2}
BLOCKS = {"select_block_size": 4, "select_block_count": 3, "init_blocks": 1, "local_blocks": 1}
TRAINING = {"actual_seq_qlen": (3, 7), "actual_seq_kvlen": (9, 20)}
DECODING = {"actual_seq_qlen": (2, 1), "actual_seq_kvlen": (12, 9)}
SIZES = {"head_num": 6, "key_value_head_num": 2, "page_block_size": 8}


def _random(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def _packed(rows):
    return {"query": _random(7, 6, 5), "key": _random(rows, 2, 5), "value": _random(rows, 2, 7)}


def _gradient(rows):
    statistics = {name: np.ones((7, 6, 8), np.float32) for name in ("softmax_max", "softmax_sum")}
    return {"grad": _random(7, 6, 7), **_packed(rows), "attention_out": _random(7, 6, 7), **statistics, **TRAINING}


def _paged():
    table = np.array([[4, 0], [2, 3]], np.int32)
    caches = {"key": _random(5, 8, 2, 5), "value": _random(5, 8, 2, 7)}
    return {"query": _random(2, 2, 6, 5), **caches, "block_table": table, **DECODING}


RAW = {"input": _random(20, 2, 5), "weight": _random(4, 2), "actual_seq_len": (9, 20)}
PAGED_RAW = {
    "input": _random(5, 8, 2, 5), "weight": _random(4, 2), "slot_mapping": np.array([[3], [1]], np.int32),
    "block_table": np.array([[4, 0], [2, 3]], np.int32), "actual_seq_len": (12, 9), "actual_seq_qlen": (2, 1),
}  # fmt: skip
MASKS = {"topk_mask": np.zeros((4, 3), np.uint8), "atten_mask": np.zeros((4, 4), np.uint8)}
GOOD = {
    COMPRESS: (WINDOWS, RAW),
    COMPRESS_GRAD: (WINDOWS, {"grad": _random(7, 2, 5), **RAW}),
    COMPRESS_INFER: ({**WINDOWS, "page_block_size": 8}, PAGED_RAW),
    CHOICE: ({"head_num": 6, **WINDOWS, **BLOCKS}, {**_packed(7), **MASKS, **TRAINING}),
    CHOICE_GRAD: ({"head_num": 6, **WINDOWS}, {**_gradient(7), "atten_mask": MASKS["atten_mask"]}),
    CHOICE_INFER: ({**SIZES, **WINDOWS, **BLOCKS}, _paged()),
    WINDOW: ({"head_num": 6, "window_size": 3}, {**_packed(20), **TRAINING}),
    WINDOW_GRAD: ({"head_num": 6, "window_size": 3}, _gradient(20)),
    WINDOW_INFER: ({**SIZES, "window_size": 3}, _paged()),
}
COUNTS = ("select_block_count", "init_blocks", "local_blocks")  # may be 0
FIRST = {COMPRESS: "input", COMPRESS_GRAD: "input", COMPRESS_INFER: "input"}  # whose dtype is that of all
OPTIONAL = ("weight", "atten_mask", "topk_mask", "actual_seq_len", "actual_seq_qlen", "actual_seq_kvlen")


def make(operator, error, argument, rule, got, **changes):
    attributes, inputs = (dict(given) for given in GOOD[operator])
    for name, change in changes.items():
        if name in inputs:
            inputs[name] = change.applied(inputs[name]) if isinstance(change, Array) else change
        else:
            attributes[name] = change
    return Call(operator, attributes, inputs, error, f"{operator}: {argument} must {rule}, got {got}")


def _shape(operator, name, rule, shape, error=ValueError, **changes):
    return make(operator, error, name, rule, f"shape {list(shape)}", **{name: Array(shape)}, **changes)


def attribute_calls(operator):
    for name in GOOD[operator][0]:
        for value in (1.0, "2", None, True):
            yield make(operator, TypeError, name, "be an int", repr(value), **{name: value})
        least = int(name not in COUNTS)
        for value in (least - 1, 2**31):
            yield make(operator, ValueError, name, f"be from {least} to 2147483647", value, **{name: value})
    if "head_num" in GOOD[operator][0]:
        for value in ("1", True, [1.0]):
            yield make(operator, TypeError, "scale_value", "be a float or None", repr(value), scale_value=value)
        for value, got in ((1e39, "1e+39"), (float("nan"), "nan")):
            yield make(operator, ValueError, "scale_value", "be finite in float32", got, scale_value=value)
    if operator in (CHOICE, CHOICE_GRAD):
        for value in (1, None, "3"):
            yield make(operator, ValueError, "sparse_mode", "be 0 or 2 or 3", repr(value), sparse_mode=value)
    if operator.endswith("Infer"):
        for value in ("NHD", None):
            yield make(operator, ValueError, "cache_layout", "be 'BSND' or 'BNSD'", repr(value), cache_layout=value)
    if operator in (CHOICE_INFER, WINDOW_INFER):
        yield make(operator, ValueError, "layout", "be 'BSH' or 'BSND' or 'TND'", "'SBH'", layout="SBH")
        yield make(operator, TypeError, "return_softmax_lse", "be a bool", "1", return_softmax_lse=1)
    yield make(operator, ValueError, "limits", "be 'auto' or 'ascend'", "'cpu'", limits="cpu")
    if "compress_stride" in GOOD[operator][0]:
        yield make(operator, ValueError, "compress_block_size", "be at least compress_stride = 5", 4, compress_stride=5)


def type_calls(operator):
    first = FIRST.get(operator, "query")
    for name, value in GOOD[operator][1].items():
        if name.startswith("actual_seq"):
            yield make(operator, TypeError, name, LENGTHS, "2.5", **{name: 2.5})
            yield make(operator, TypeError, name, LENGTHS, "mindspore.float32", **{name: Tensor([1.0, 2.0])})
            yield make(operator, TypeError, name, "hold ints", "7.0", **{name: (3, 7.0)})
            continue
        yield make(operator, TypeError, name, "be a Tensor", "list", **{name: [1, 2]})
        if name not in OPTIONAL:
            yield make(operator, TypeError, name, "be a Tensor", "NoneType", **{name: None})
        if name.endswith("mask"):
            yield make(operator, TypeError, name, "have dtype uint8 or bool", "int32", **{name: Array(dtype=np.int32)})
        elif value.dtype == np.int32:
            yield make(operator, TypeError, name, "have dtype int32", "int64", **{name: Array(dtype=np.int64)})
        elif name.startswith("softmax"):
            yield make(operator, TypeError, name, "have dtype float32", "float16", **{name: Array(dtype=np.float16)})
        elif name != first:
            rule, changed = f"have the dtype of {first} (float32)", Array(dtype=DTYPES["bfloat16"])
            yield make(operator, TypeError, name, rule, "bfloat16", **{name: changed})
    rule = "have dtype float16 or bfloat16 or float32"
    yield make(operator, TypeError, first, rule, "float64", **{first: Array(dtype=np.float64)})


def packed_calls(operator):
    """What training over packed sequences has in common."""
    attention = operator not in (COMPRESS, COMPRESS_GRAD)
    names = {"query": "[T1, N1, D1]", "key": "[T2, N2, D1]", "value": "[T2, N2, D2]"} if attention else {}
    for name, dims in names.items():
        yield _shape(operator, name, f"have rank 3 {dims}", (20, 10))
    rows = 20 if operator in (WINDOW, WINDOW_GRAD) else 7
    if attention:
        yield _shape(operator, "key", f"have shape [T2, N2, D1] = [{rows}, 2, 5]", (rows, 2, 6))
        yield _shape(operator, "value", f"have shape [T2, N2, D2] = [{rows}, 2, 7]", (rows, 3, 7))
        yield make(operator, ValueError, "head_num", "equal N1 of query = 6", 4, head_num=4)
        yield make(operator, ValueError, "N2 of key", "be at least 1", 0, key=Array((rows, 0, 5)))
        yield make(operator, ValueError, "D1 of query", "be at least 1", 0, query=Array((7, 6, 0)))
        yield make(operator, ValueError, "D2 of value", "be at least 1", 0, value=Array((rows, 2, 0)))
        yield make(operator, ValueError, "actual_seq_kvlen", "have as many entries as actual_seq_qlen = 2", 1,
                   actual_seq_kvlen=(20,))  # fmt: skip
        yield make(operator, RuntimeError, "actual_seq_qlen", "end at T1 = 7", 6, actual_seq_qlen=(3, 6))
        rule = "not decrease"
        yield make(operator, RuntimeError, "actual_seq_kvlen", rule, "8 at entry 1 after 9", actual_seq_kvlen=(9, 8))
    for name in ("actual_seq_len", "actual_seq_qlen", "actual_seq_kvlen"):
        if name in GOOD[operator][1]:
            for value in ((), []):
                yield make(operator, ValueError, name, "hold at least one length", "[]", **{name: value})
            value = Tensor(np.array([[3, 7]]))
            yield make(operator, ValueError, name, "have rank 1 [B]", "shape [1, 2]", **{name: value})
    if operator.endswith("Grad") and attention:
        for name in ("grad", "attention_out"):
            yield _shape(operator, name, "have shape [T1, N1, D2] = [7, 6, 7]", (7, 6, 5))
        for name in ("softmax_max", "softmax_sum"):
            yield _shape(operator, name, "have shape [T1, N1, 8] = [7, 6, 8]", (7, 6, 1))


def compress_calls():
    for operator in (COMPRESS, COMPRESS_GRAD):
        yield _shape(operator, "input", "have rank 3 [T2, N2, D]", (20, 10))
        yield _shape(operator, "weight", "have shape [compress_block_size, N2] = [4, 2]", (3, 2))
        yield make(operator, ValueError, "N2 of input", "be at least 1", 0, input=Array((20, 0, 5)))
        yield make(operator, RuntimeError, "actual_seq_len", "end at T2 = 20", 19, actual_seq_len=Tensor([9, 19]))
    yield make(COMPRESS_GRAD, RuntimeError, "grad", "have at least 7 rows", 6, grad=Array((6, 2, 5)))
    split, joined = "[num_blocks, page_block_size, N2, D]", "[num_blocks, page_block_size, N2 * D]"
    yield _shape(COMPRESS_INFER, "input", f"have rank 4 {split} or 3 {joined}", (5, 8))
    yield _shape(COMPRESS_INFER, "input", "have pages of page_block_size = 8 rows", (5, 7, 2, 5))
    yield _shape(COMPRESS_INFER, "weight", "have shape [compress_block_size, N2] = [4, 2]", (4, 3))
    yield make(COMPRESS_INFER, ValueError, "actual_seq_len", "have one entry per sequence: B = 2", 1,
               actual_seq_len=(12,))  # fmt: skip
    yield make(COMPRESS_INFER, RuntimeError, "actual_seq_len", "be from 0 to max_blocks * page_block_size = 16",
               "17 at sequence 0", actual_seq_len=(17, 9))  # fmt: skip
    yield make(COMPRESS_INFER, RuntimeError, "slot_mapping", "have a slot for every new window: 2 at sequence 0", 1,
               actual_seq_qlen=(4, 1))  # fmt: skip
    yield make(COMPRESS_INFER, RuntimeError, "block_table", "hold page ids from 0 to 4 where rows are compressed",
               "5 at sequence 0, slot 1", block_table=Array(elements={(0, 1): 5}))  # fmt: skip


def choice_calls():
    yield make(CHOICE, ValueError, "select_block_count", "be 0 or at least init_blocks + local_blocks = 4", 3,
               local_blocks=3)  # fmt: skip
    yield make(CHOICE_INFER, ValueError, "select_block_count", "be 0 or at least init_blocks + local_blocks = 5", 3,
               init_blocks=4)  # fmt: skip
    yield make(CHOICE, TypeError, "need_output", "be a bool", "1", need_output=1)
    for operator in (CHOICE, CHOICE_GRAD):
        yield make(operator, RuntimeError, "key", "have at least 7 rows", 6, key=Array((6, 2, 5)),
                   value=Array((6, 2, 7)))  # fmt: skip
        yield make(operator, RuntimeError, "atten_mask", "cover [max Sq, max windows] = [4, 4]", "[4, 3]",
                   atten_mask=Array((4, 3)))  # fmt: skip
        yield _shape(operator, "atten_mask", "have rank 2 [max Sq, max windows]", (4,))
    yield make(CHOICE, RuntimeError, "topk_mask", "cover [max Sq, max blocks] = [4, 3]", "[3, 3]",
               topk_mask=Array((3, 3)))  # fmt: skip
    yield make(CHOICE_INFER, RuntimeError, "block_table", "have pages for 7 compressed rows", "1 pages of 4 rows",
               page_block_size=4, key=Array((5, 4, 2, 5)), value=Array((5, 4, 2, 7)), block_table=Array((2, 1)),
               actual_seq_kvlen=(16, 9))  # fmt: skip


def paged_calls(operator):
    split, joined = "[num_blocks, page_block_size, N2, D]", "[num_blocks, page_block_size, N2 * D]"
    yield _shape(operator, "query", "have rank 4 [B, S, N1, D1]", (2, 12, 5))
    yield make(operator, ValueError, "N1 of query", "equal head_num = 6", 4, query=Array((2, 2, 4, 5)))
    yield make(operator, ValueError, "head_num", "be a multiple of key_value_head_num (4)", 6, key_value_head_num=4)
    for name, width in (("key", 5), ("value", 7)):
        yield _shape(operator, name, f"have rank 4 {split} or 3 {joined}", (5, 8))
        yield _shape(operator, name, "have pages of page_block_size = 8 rows", (5, 7, 2, width))
        yield _shape(operator, name, "have rank 4 [num_blocks, N2, page_block_size, D]", (5, 2, 8), cache_layout="BNSD")
    yield make(operator, ValueError, "num_blocks of value", "equal num_blocks of key = 5", 4, value=Array((4, 8, 2, 7)))
    yield make(operator, ValueError, "actual_seq_kvlen", "have one entry per sequence: B = 2", 1,
               actual_seq_kvlen=(12,))  # fmt: skip
    yield make(operator, ValueError, "actual_seq_qlen", "have one entry per sequence: B = 2", 3,
               actual_seq_qlen=(1, 1, 1))  # fmt: skip
    yield make(operator, RuntimeError, "actual_seq_qlen", "be from 0 to S = 2", "3 at sequence 1",
               actual_seq_qlen=(2, 3))  # fmt: skip
    yield make(operator, RuntimeError, "block_table", "hold page ids from 0 to 4 where rows are visible",
               "-1 at sequence 1, slot 0", block_table=Array(elements={(1, 0): -1}),
               actual_seq_kvlen=(12, 8))  # fmt: skip


def calls():
    for operator in GOOD:
        yield from attribute_calls(operator)
        yield from type_calls(operator)
        if operator.endswith("Infer"):
            if operator != COMPRESS_INFER:
                yield from paged_calls(operator)
        else:
            yield from packed_calls(operator)
    yield from compress_calls()
    yield from choice_calls()


CALLS = list(calls())
