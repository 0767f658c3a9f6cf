# SPDX-License-Identifier: Apache-2.0
"""Calls that must be refused, each with the error it must raise.

``python -m support.malformed PART PARTS`` makes every PARTS-th of the calls that kernels refuse in Graph mode, from
number PART on, and prints what came of them as JSON.
"""

import json
import sys
from functools import cache
from typing import NamedTuple

import mindspore as ms
import numpy as np
from mindspore import Tensor

import ms_nsa

from .ascend_calls import ascend_infer, ascend_select
from .cases import DTYPES
from .generators import make_paged_case, make_select_case
from .run_cells import run_mode, same_bits, to_arrays, to_tensor

FORWARD, GRAD, INFER = "NsaSelectAttention", "NsaSelectAttentionGrad", "NsaSelectedAttentionInfer"
KERNEL_SAYS = "Error message is "


class Call(NamedTuple):
    operator: str
    attributes: dict
    inputs: dict
    error: type
    sentence: str

    @property
    def by_kernel(self):
        """Whether the library finds it while it runs, and not Python before."""
        return self.error is RuntimeError

    @property
    def rule(self):
        """The sentence without what was got."""
        return self.sentence.rpartition(", got ")[0]

    def run(self):
        """Calls a new Cell, because after an error from a kernel MindSpore refuses to run the same graph again."""
        return call_cell(getattr(ms_nsa, self.operator)(**self.attributes), self.inputs)

    def outcome(self, mode):
        """Name of the exception raised and its sentence, ("", "") if there was none."""
        with run_mode(mode):
            try:
                self.run()
            except Exception as error:
                sentence = str(error).splitlines()[0]
                return type(error).__name__, sentence.split(KERNEL_SAYS)[-1] if self.by_kernel else sentence
        return "", ""


def call_cell(cell, inputs):
    outputs = cell(**{name: to_tensor(value) for name, value in inputs.items()})
    return to_arrays(outputs if isinstance(outputs, tuple) else (outputs,))


class Array(NamedTuple):
    """Changes an array of the good call: dtype, shape (then all is ``fill``), single elements."""

    shape: tuple = None
    dtype: type = None
    fill: int = 0
    elements: dict = None

    def applied(self, array):
        changed = array.astype(self.dtype) if self.dtype else array.copy()
        if self.shape is not None:
            changed = np.full(self.shape, self.fill, changed.dtype)
        for place, value in (self.elements or {}).items():
            changed[place] = value
        return changed


@cache
def good_case(layout=None):
    """Two sequences of 3 and 4 tokens, 9 and 11 rows; or for a layout three of 2, 1 and 2 tokens, 20, 9 and 5 rows."""
    rng = np.random.default_rng(20)
    sizes = {"n2": 2, "group": 3, "d1": 5, "select_block_size": 4, "select_block_count": 3}
    if layout is None:
        mask = rng.random((4, 11)) < 0.2
        return make_select_case(rng, np.float32, [3, 4], [9, 11], d2=8, atten_mask=mask, **sizes)
    return make_paged_case(
        rng, np.float32, layout, 2, [2, 1, 2], [20, 9, 5], d2=7, page_block_size=8, spare_pages=3,
        atten_mask=rng.random((2, 20)) < 0.2, **sizes,
    )  # fmt: skip


def good_select(operator=FORWARD):
    case = good_case()
    names = ("query", "key", "value", "topk_indices", "atten_mask")
    inputs = {name: getattr(case, name) for name in names}
    inputs["actual_seq_qlen"], inputs["actual_seq_kvlen"] = Tensor([3, 7]), Tensor([9, 20])
    if operator == GRAD:
        inputs["grad"] = case.grad
        inputs["attention_out"], inputs["softmax_max"], inputs["softmax_sum"] = case.saved
        inputs["softmax_max_grad"], inputs["softmax_sum_grad"] = np.zeros((2, 7, 6, 8), np.float32)
    return {"head_num": 6, "select_block_size": 4, "select_block_count": 3}, inputs


def good_infer(layout="BSND"):
    case = good_case(layout)
    names = ("query", "key", "value", "topk_indices", "block_table", "atten_mask")
    inputs = {name: getattr(case, name) for name in names}
    inputs["actual_seq_qlen"], inputs["actual_seq_kvlen"] = Tensor([2, 1, 2]), Tensor([20, 9, 5])
    attributes = {"head_num": 6, "key_value_head_num": 2, "select_block_size": 4, "select_block_count": 3}
    return {**attributes, "page_block_size": 8, "layout": layout}, inputs


GOOD = {FORWARD: good_select(), GRAD: good_select(GRAD), INFER: good_infer()}


def make(operator, error, argument, rule, got, base=None, **changes):
    """A call that differs from a good one in ``changes``; arrays are changed, everything else is replaced."""
    attributes, inputs = base or GOOD[operator]
    attributes, inputs = dict(attributes), dict(inputs)
    for name, value in changes.items():
        if name in inputs or name.startswith("actual_seq"):
            inputs[name] = value.applied(inputs[name]) if isinstance(value, Array) else value
        else:
            attributes[name] = value
    return Call(operator, attributes, inputs, error, f"{operator}: {argument} must {rule}, got {got}")


def attribute_calls():
    sizes = {operator: ["head_num", "select_block_size", "select_block_count"] for operator in (FORWARD, GRAD)}
    sizes[INFER] = [*sizes[GRAD], "key_value_head_num", "page_block_size"]
    for operator, names in sizes.items():
        for name in names:
            for value in (2.0, True, "4", None):
                yield make(operator, TypeError, name, "be an int", repr(value), **{name: value})
            for value in (0, -1, 2**31):
                yield make(operator, ValueError, name, "be from 1 to 2147483647", value, **{name: value})
        for value in ("1", True, 1j, [1.0]):
            yield make(operator, TypeError, "scale_value", "be a float or None", repr(value), scale_value=value)
        for value in (1, 4, -1, None, True, "2"):
            yield make(operator, ValueError, "sparse_mode", "be 0 or 2 or 3", repr(value), sparse_mode=value)
        for value in ("cpu", "Ascend", None, 1):
            yield make(operator, ValueError, "limits", "be 'auto' or 'ascend'", repr(value), limits=value)
    for value in ("BNSD", "bsnd", None, 3):
        yield make(INFER, ValueError, "layout", "be 'BSH' or 'BSND' or 'TND'", repr(value), layout=value)
    for value in ("NHD", "bnsd", None, 3):
        yield make(INFER, ValueError, "cache_layout", "be 'BSND' or 'BNSD'", repr(value), cache_layout=value)
    yield make(INFER, ValueError, "head_num", "be a multiple of key_value_head_num (4)", 6, key_value_head_num=4)
    yield make(INFER, ValueError, "head_num", "be a multiple of key_value_head_num (12)", 6, key_value_head_num=12)


def type_calls():
    """Things that are no Tensors, and Tensors of a wrong dtype."""
    for operator, (_, inputs) in GOOD.items():
        for name, value in inputs.items():
            if name.startswith("actual_seq"):
                continue
            yield make(operator, TypeError, name, "be a Tensor", "int", **{name: 3})
            if name not in ("atten_mask", "softmax_max_grad", "softmax_sum_grad"):
                yield make(operator, TypeError, name, "be a Tensor", "NoneType", **{name: None})
            yield make(operator, TypeError, name, "be a Tensor", "list", **{name: [1, 2]})
            if value.dtype == np.float32 and name != "query" and not name.startswith("softmax"):
                for dtype in ("float16", "bfloat16"):
                    rule, changed = "have the dtype of query (float32)", Array(dtype=DTYPES[dtype])
                    yield make(operator, TypeError, name, rule, dtype, **{name: changed})
        for dtype in ("float64", "int32", "int8", "bool"):
            rule = "have dtype float16 or bfloat16 or float32"
            yield make(operator, TypeError, "query", rule, dtype, query=Array(dtype=np.dtype(dtype)))
        for dtype in ("int16", "float32", "uint8"):
            rule, changed = "have dtype int32 or int64", Array(dtype=np.dtype(dtype))
            yield make(operator, TypeError, "topk_indices", rule, dtype, topk_indices=changed)
        for dtype in ("int32", "int8", "float32"):
            changed = Array(dtype=np.dtype(dtype))
            yield make(operator, TypeError, "atten_mask", "have dtype uint8 or bool", dtype, atten_mask=changed)
        for name in ("actual_seq_qlen", "actual_seq_kvlen"):
            rule = "be a tuple, list or NumPy array of int, or an int32 or int64 Tensor"
            for value, got in [
                ("ab", "'ab'"),
                (7, "7"),
                (2.5, "2.5"),
                (Tensor(np.ones(2, np.float32)), "mindspore.float32"),
                (Tensor(np.ones(2, np.int16)), "mindspore.int16"),
            ]:
                yield make(operator, TypeError, name, rule, got, **{name: value})
            for value, got in [
                ((3, 7.0), "7.0"),
                ([True, 7], "True"),
                (("3", 7), "'3'"),
                (((3, 7),), "(3, 7)"),
                ([[3, 7]], "[3, 7]"),
            ]:
                yield make(operator, TypeError, name, "hold ints", got, **{name: value})
            for value in ((), []):
                yield make(operator, ValueError, name, "hold at least one length", "[]", **{name: value})
    for dtype in ("int64", "float32"):
        changed = Array(dtype=np.dtype(dtype))
        yield make(INFER, TypeError, "block_table", "have dtype int32", dtype, block_table=changed)
    for name in ("softmax_max", "softmax_sum", "softmax_max_grad", "softmax_sum_grad"):
        for dtype in (np.float16, np.float64):
            changed, got = Array(dtype=dtype), np.dtype(dtype).name
            yield make(GRAD, TypeError, name, "have dtype float32", got, **{name: changed})


def shape_calls():
    for operator in (FORWARD, GRAD):
        yield from select_shape_calls(operator)
    for name in ("grad", "attention_out", "softmax_max", "softmax_sum"):
        dims = "[T1, N1, D2]" if name in ("grad", "attention_out") else "[T1, N1, 8]"
        for shape in ((7, 6, 7), (7, 5, 8), (6, 6, 8), (7, 6), (7, 48), (1, 7, 6, 8), ()):
            rule = f"have shape {dims} = [7, 6, 8]"
            yield make(GRAD, ValueError, name, rule, f"shape {list(shape)}", **{name: Array(shape)})
    for layout in ("BSH", "BSND", "TND"):
        yield from infer_shape_calls(layout, good_infer(layout))


def select_shape_calls(operator):
    def bad(name, rule, shape, **changes):
        return make(operator, ValueError, name, rule, f"shape {list(shape)}", **{name: Array(shape)}, **changes)

    dims = {"query": "[T1, N1, D1]", "key": "[T2, N2, D1]", "value": "[T2, N2, D2]"}
    for name, shape in [("query", (7, 30)), ("key", (1, 20, 2, 5)), ("value", (20,)), ("query", ())]:
        yield bad(name, f"have rank 3 {dims[name]}", shape)
    yield bad("key", "have shape [T2, N2, D1] = [20, 2, 5]", (20, 2, 6))
    for shape in ((19, 2, 8), (20, 1, 8), (20, 3, 8)):
        yield bad("value", "have shape [T2, N2, D2] = [20, 2, 8]", shape)
    for shape in ((6, 2, 3), (7, 1, 3), (7, 6, 3), (7, 2, 4), (7, 2), (7, 2, 0), (7, 2, 3, 1)):
        yield bad("topk_indices", "have shape [T1, N2, select_block_count] = [7, 2, 3]", shape)
    for shape in ((4,), (1, 4, 11), (2, 1, 4, 11)):
        yield bad("atten_mask", "have rank 2 [max Sq, max Sk]", shape)
    for name in ("actual_seq_qlen", "actual_seq_kvlen"):
        value = Tensor(np.array([[3, 7]]))
        yield make(operator, ValueError, name, "have rank 1 [B]", "shape [1, 2]", **{name: value})
        yield make(operator, ValueError, name, "have rank 1 [B]", "shape []", **{name: Tensor(7)})
    rule = "have as many entries as actual_seq_qlen"
    for qlen, kvlen in (((3, 7), (20,)), ((7,), (9, 20)), ((3, 7), None), (None, (9, 20)), ((7,), (9, 9, 20))):
        entries = [1 if lengths is None else len(lengths) for lengths in (qlen, kvlen)]
        yield make(
            operator, ValueError, "actual_seq_kvlen", f"{rule} = {entries[0]}", entries[1],
            actual_seq_qlen=qlen, actual_seq_kvlen=kvlen,
        )  # fmt: skip
    if operator == GRAD:
        for name in ("softmax_max_grad", "softmax_sum_grad"):
            for shape in ((7, 6, 1), (6, 6, 8), (0,), (7, 6)):
                yield bad(name, "have shape [T1, N1, 8] = [7, 6, 8]", shape)
    for heads in (5, 12, 1):
        yield make(operator, ValueError, "head_num", "equal N1 of query = 6", heads, head_num=heads)
    for heads in (4, 5, 12):
        changes = {"key": Array((20, heads, 5)), "value": Array((20, heads, 8)), "topk_indices": Array((7, heads, 3))}
        yield make(operator, ValueError, "head_num", f"be a multiple of N2 of key ({heads})", 6, **changes)
    yield make(operator, ValueError, "head_num", "equal N1 of query = 0", 6, query=Array((7, 0, 5)))
    yield make(operator, ValueError, "N2 of key", "be at least 1", 0, key=Array((20, 0, 5)))
    yield make(operator, ValueError, "D1 of query", "be at least 1", 0, query=Array((7, 6, 0)))
    yield make(operator, ValueError, "D2 of value", "be at least 1", 0, value=Array((20, 2, 0)))
    yield make(
        operator, ValueError, "topk_indices", "have shape [T1, N2, select_block_count] = [7, 2, 4]",
        "shape [7, 2, 3]", select_block_count=4,
    )  # fmt: skip


def infer_shape_calls(layout, base):
    def bad(name, rule, got, shape=None, **changes):
        changes = {**changes, **({} if shape is None else {name: Array(shape)})}
        return make(INFER, ValueError, name, rule, got, base, **changes)

    tokens = [5] if layout == "TND" else [3, 2]
    split, packed = layout == "BSND", layout == "TND"
    dims = {"BSH": "[B, S, N1 * D1]", "BSND": "[B, S, N1, D1]", "TND": "[T, N1, D1]"}[layout]
    for shape in ((*tokens, 30, 1, 1), (30,)):
        yield bad("query", f"have rank {3 + split} {dims}", f"shape {list(shape)}", shape)
    if layout == "BSH":
        yield make(INFER, ValueError, "H of query", "be a multiple of head_num (6)", 31, base, query=Array((3, 2, 31)))
        yield make(INFER, ValueError, "D1 of query", "be at least 1", 0, base, query=Array((3, 2, 0)))
        yield make(INFER, ValueError, "D1 of key", "equal D1 of query = 4", 5, base, query=Array((3, 2, 24)))
    else:
        for heads in (5, 2, 12):
            query = Array((*tokens, heads, 5))
            yield make(INFER, ValueError, "N1 of query", "equal head_num = 6", heads, base, query=query)
        yield make(INFER, ValueError, "D1 of query", "be at least 1", 0, base, query=Array((*tokens, 6, 0)))
        yield make(INFER, ValueError, "D1 of key", "equal D1 of query = 4", 5, base, query=Array((*tokens, 6, 4)))
    split_dims, joined = "[num_blocks, page_block_size, N2, D]", "[num_blocks, page_block_size, N2 * D]"
    for name, wide in (("key", 5), ("value", 7)):
        for shape in ((9, 8), (9, 8, 2, wide, 1)):
            yield bad(name, f"have rank 4 {split_dims} or 3 {joined}", f"shape {list(shape)}", shape)
        for shape in ((9, 7, 2, wide), (9, 7, 2 * wide)):
            yield bad(name, "have pages of page_block_size = 8 rows", f"shape {list(shape)}", shape)
        for heads in (1, 3, 6):
            argument, rule = f"N2 of {name}", "equal key_value_head_num = 2"
            yield make(INFER, ValueError, argument, rule, heads, base, **{name: Array((9, 8, heads, wide))})
        argument, rule = f"H of {name}", "be a multiple of key_value_head_num (2)"
        yield make(INFER, ValueError, argument, rule, 11, base, **{name: Array((9, 8, 11))})
    value = Array((8, 8, 2, 7) if split else (8, 8, 14))
    yield make(INFER, ValueError, "num_blocks of value", "equal num_blocks of key = 9", 8, base, value=value)
    value = Array((9, 8, 2, 0) if split else (9, 8, 0))
    yield make(INFER, ValueError, "D2 of value", "be at least 1", 0, base, value=value)
    topk = "[T, N2, select_block_count] = [5, 2, 3]" if packed else "[B, S, N2, select_block_count] = [3, 2, 2, 3]"
    for shape in ((*tokens, 2, 4), (*tokens, 1, 3), (*tokens, 6, 3), (4, *tokens[1:], 2, 3), (3, 2, 3), (3, 1, 2, 3)):
        yield bad("topk_indices", f"have shape {topk}", f"shape {list(shape)}", shape)
    for shape in ((20,), (3, 2, 2, 1)):
        yield bad("atten_mask", "have rank 2 [max Sq, max Sk] or 3 [B, S, S]", f"shape {list(shape)}", shape)
    for batch in (1, 4):
        yield bad("B of atten_mask", "equal the number of sequences = 3", batch, atten_mask=Array((batch, 2, 2)))
    for shape in ((9,), (3, 3, 1)):
        yield bad("block_table", "have rank 2 [B, max_blocks]", f"shape {list(shape)}", shape)
    for batch in (2, 4):
        argument, rule = "B of block_table", "equal the number of sequences = 3"
        yield make(INFER, ValueError, argument, rule, batch, base, block_table=Array((batch, 3)))
    rule = "have one entry per sequence: B = " if packed else "have one entry per sequence: B of query = "
    if not packed:
        for lengths in ((2, 1), (2, 1, 2, 0)):
            yield bad("actual_seq_qlen", f"{rule}3", len(lengths), actual_seq_qlen=lengths)
    for lengths in ((20, 9), (20, 9, 5, 1), None):
        yield bad("actual_seq_kvlen", f"{rule}3", len(lengths or ()), actual_seq_kvlen=lengths)
    for name in ("actual_seq_qlen", "actual_seq_kvlen"):
        value = Tensor(np.array([[2, 1, 2]]))
        yield bad(name, "have rank 1 [B]", "shape [1, 3]", **{name: value})


def empty_calls():
    """A given tensor without elements is checked like any other: only None means that there is none."""
    for operator in GOOD:
        rule = "have rank 2 [max Sq, max Sk]" + (" or 3 [B, S, S]" if operator == INFER else "")
        for shape in ((0,), (0, 3, 3, 3)):
            yield make(operator, ValueError, "atten_mask", rule, f"shape {list(shape)}", atten_mask=Array(shape))
        for name in ("actual_seq_qlen", "actual_seq_kvlen"):
            for shape in ((0, 3), (2, 0)):
                value = Tensor(np.zeros(shape, np.int64))
                yield make(operator, ValueError, name, "have rank 1 [B]", f"shape {list(shape)}", **{name: value})
            several = "have one entry per sequence: B of query = 3", 0
            rule, got = several if operator == INFER else ("hold at least one length", "shape [0]")
            yield make(operator, ValueError, name, rule, got, **{name: Tensor(np.zeros(0, np.int64))})
    for shape in ((0, 40), (6, 0), (0, 0)):
        for operator in (FORWARD, GRAD):
            got = f"shape {list(shape)}"
            yield make(operator, ValueError, "atten_mask", "cover [max Sq, max Sk]", got, atten_mask=Array(shape))
        rule = "cover [max Sq, max Sk] = [2, 20]"
        yield make(INFER, RuntimeError, "atten_mask", rule, list(shape), atten_mask=Array(shape))


def value_calls():
    """What only the kernel's side can see: the values of tensors."""
    for operator in (FORWARD, GRAD):
        yield from select_value_calls(operator)
    for layout in ("BSH", "BSND", "TND"):
        yield from infer_value_calls(layout, good_infer(layout))


def select_value_calls(operator):
    def bad(argument, rule, got, **changes):
        return make(operator, RuntimeError, argument, rule, got, **changes)

    for name, rows_name, last in [("actual_seq_qlen", "T1", 7), ("actual_seq_kvlen", "T2", 20)]:
        yield bad(name, "not be negative", "-1 at entry 0", **{name: Tensor([-1, last])})
        yield bad(name, "not decrease", f"{last} at entry 1 after {last + 3}", **{name: (last + 3, last)})
        yield bad(name, f"end at {rows_name} = {last}", last - 1, **{name: Tensor([3, last - 1], dtype=ms.int32)})
        yield bad(name, f"end at {rows_name} = {last}", last + 1, **{name: [3, last + 1]})
        yield bad(name, f"end at {rows_name} = {last}", 2**62, **{name: Tensor([3, 2**62])})
    for shape in ((3, 11), (4, 10), (1, 44)):
        yield bad("atten_mask", "cover [max Sq, max Sk] = [4, 11]", list(shape), atten_mask=Array(shape))
    rule = "be below ceil(Sk / select_block_size) = 3"
    for place, value in [((0, 0, 0), 3), ((3, 1, 2), 3), ((6, 1, 2), 2**31 - 1)]:
        where = "at token {}, kv head {}, slot {}".format(*place)
        yield bad("topk_indices", rule, f"{value} {where}", topk_indices=Array(elements={place: value}))
    rule = "be below ceil(Sk / select_block_size) = 0"
    topk = Array((7, 2, 3), fill=-1, elements={(2, 0, 1): 0})
    changes = {"topk_indices": topk, "actual_seq_kvlen": (0, 20), "atten_mask": None}
    yield bad("topk_indices", rule, "0 at token 2, kv head 0, slot 1", **changes)


def infer_value_calls(layout, base):
    def bad(argument, rule, got, **changes):
        return make(INFER, RuntimeError, argument, rule, got, base, **changes)

    s = "T = 5" if layout == "TND" else "S = 2"
    yield bad("actual_seq_qlen", f"be from 0 to {s}", "-1 at sequence 1", actual_seq_qlen=Tensor([2, -1, 2]))
    too_many = 6 if layout == "TND" else 3
    yield bad("actual_seq_qlen", f"be from 0 to {s}", f"{too_many} at sequence 0", actual_seq_qlen=(too_many, 1, 2))
    rule = "be from 0 to max_blocks * page_block_size = 24"
    yield bad("actual_seq_kvlen", rule, "-5 at sequence 2", actual_seq_kvlen=Tensor([20, 9, -5]))
    yield bad("actual_seq_kvlen", rule, "25 at sequence 0", actual_seq_kvlen=[25, 9, 5])
    yield bad("actual_seq_kvlen", rule, f"{2**62} at sequence 1", actual_seq_kvlen=Tensor([20, 2**62, 5]))
    for shape in ((1, 20), (2, 19)):
        yield bad("atten_mask", "cover [max Sq, max Sk] = [2, 20]", list(shape), atten_mask=Array(shape))
    shape, place = ((5, 2, 3), (3, 1, 2)) if layout == "TND" else ((3, 2, 2, 3), (2, 0, 1, 2))
    where = f"at token {3 if layout == 'TND' else 4}, kv head 1, slot 2"
    rule = "be below ceil(Sk / select_block_size) = 2"
    yield bad("topk_indices", rule, f"2 {where}", topk_indices=Array(elements={place: 2}))
    rule = "be below ceil(Sk / select_block_size) = 0"
    topk = Array(shape, fill=-1, elements={place: 0})
    yield bad("topk_indices", rule, f"0 {where}", topk_indices=topk, actual_seq_kvlen=(20, 9, 0))
    rule = "hold page ids from 0 to 8 where blocks are selected"
    for page in (-1, 9, 2**31 - 1):
        changes = {"topk_indices": Array(shape, fill=1), "block_table": Array(elements={(2, 0): page})}
        yield bad("block_table", rule, f"{page} at sequence 2, slot 0", **changes)
    if layout == "TND":
        yield bad("actual_seq_qlen", "sum to T = 5", 4, actual_seq_qlen=(2, 1, 1))
        yield bad("actual_seq_qlen", "sum to T = 5", 6, actual_seq_qlen=(2, 2, 2))


def limit_calls():
    """Every rule of op_info broken once, and the dtypes that the NPU kernels lack."""

    def bad(operator, argument, rule, got, base, error=ValueError):
        return make(operator, error, argument, f"{rule} within the limits asked for", got, base)

    shared = [
        ("B", "be at most 3072", 3073, {"batch": 3073}),
        ("N2", "be at most 256", 257, {"n1": 257, "n2": 257}),
        ("G", "be at most 16", 17, {"n1": 34}),
        ("D1", "be 192", 176, {"d1": 176}),
        ("D2", "be 128", 192, {"d2": 192}),
    ]
    for operator in (FORWARD, GRAD):
        for argument, rule, got, sizes in [
            *shared,
            ("select_block_size", "be 64", 48, {"size": 48}),
            ("select_block_count", "be 16", 15, {"count": 15}),
        ]:
            yield bad(operator, argument, rule, got, ascend_select(operator, **sizes))
    for argument, rule, got, sizes in [
        *shared,
        ("page_block_size", "be 64 or 128", 32, {"page": 32}),
        ("select_block_size", "be a multiple of 16", 24, {"size": 24}),
        ("select_block_size", "be at most 128", 144, {"size": 144}),
        ("S", "be at most 4", 5, {"s": 5}),
        ("S", "be at most 4", 6, {"s": 6, "layout": "BSH"}),
        ("atten_mask_rank", "be at most 2", 3, {"mask": np.zeros((2, 1, 1), bool)}),
    ]:
        yield bad(INFER, argument, rule, got, ascend_infer(**sizes))
    for argument, rule, got, sizes in [
        ("q_len", "be at most 4", 5, {"layout": "TND", "q_lens": [1, 5]}),
        ("selected_rows", "be at most max_kv_len (64)", 96, {"count": 3}),
        ("q_len", "be at most kv_len (2)", 3, {"s": 3, "kv_lens": [64, 2]}),
    ]:
        yield bad(INFER, argument, rule, got, ascend_infer(**sizes), RuntimeError)
    rule = "have dtype float16 or bfloat16"
    for operator, base in [
        (FORWARD, ascend_select(FORWARD, dtype=np.float32)),
        (GRAD, ascend_select(GRAD, dtype=np.float32)),
        (INFER, ascend_infer(dtype=np.float32)),
    ]:
        yield make(operator, TypeError, "query", rule, "float32", base)


CALLS = [*attribute_calls(), *type_calls(), *shape_calls(), *empty_calls(), *value_calls(), *limit_calls()]
REFUSED_BY_KERNELS = [call for call in CALLS if call.by_kernel]


@cache
def _good_cell(operator, mode, attributes):
    return getattr(ms_nsa, operator)(**dict(attributes))


def good_results(operator, mode, good=GOOD):
    """What the good call of an operator gives, always from the same Cell."""
    attributes, inputs = good[operator]
    with run_mode(mode):
        return call_cell(_good_cell(operator, mode, tuple(attributes.items())), inputs)


if __name__ == "__main__":
    part, parts = map(int, sys.argv[1:])
    expected = {operator: good_results(operator, "graph") for operator in GOOD}
    for number in range(part, len(REFUSED_BY_KERNELS), parts):
        call = REFUSED_BY_KERNELS[number]
        outcome = call.outcome("graph")
        goes_on = same_bits(good_results(call.operator, "graph"), expected[call.operator])
        print(json.dumps([number, *outcome, goes_on]), flush=True)
