"""The malformed calls of test_errors.py: how each differs from a good call, and the error it must raise."""

from dataclasses import dataclass, field, replace

import mindspore as ms
import numpy as np

import ms_nsa

FORWARD, GRAD, INFER = "NsaSelectAttention", "NsaSelectAttentionGrad", "NsaSelectedAttentionInfer"
KERNEL = RuntimeError
LARGEST = 2**31 - 1

# T1 6, T2 20, N1 4, N2 2, D1 8, D2 5, blocks of 4 rows, 3 slots; decode: B 2, S 2, pages of 8 rows, 9 pages.
TRAINING = {"head_num": 4, "select_block_size": 4, "select_block_count": 3}
GOOD = {
    FORWARD: TRAINING,
    GRAD: TRAINING,
    INFER: {**TRAINING, "key_value_head_num": 2, "page_block_size": 8},
}


@dataclass
class Case:
    operator: str
    error: type
    sentence: str  # without the operator's name
    inputs: dict = field(default_factory=dict)  # that differ from the good call's
    attributes: dict = field(default_factory=dict)

    def __str__(self):
        return f"{self.operator}-{self.sentence[:110]}-{sorted(self.inputs)}{sorted(self.attributes.items())}"


def build(operator, attributes):
    """The Cell of a good call with some attributes changed."""
    return getattr(ms_nsa, operator)(**{**GOOD[operator], **attributes})


def floats(*shape, dtype=ms.float32):
    return ms.Tensor(np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)).astype(dtype)


def indices(*shape, value=1):
    return ms.Tensor(np.full(shape, value, np.int32))


def index_at(shape, place, value):
    array = np.ones(shape, np.int32)
    array[place] = value
    return ms.Tensor(array)


def mask(*shape, dtype=bool):
    return ms.Tensor(np.zeros(shape, dtype))


def training_inputs():
    return {
        "query": floats(6, 4, 8),
        "key": floats(20, 2, 8),
        "value": floats(20, 2, 5),
        "topk_indices": indices(6, 2, 3),
        "atten_mask": None,
        "actual_seq_qlen": (2, 6),
        "actual_seq_kvlen": (9, 20),
    }


def grad_inputs():
    training = training_inputs()
    forward = {name: training.pop(name) for name in ("query", "key", "value")}
    saved = {"attention_out": floats(6, 4, 5), "softmax_max": floats(6, 4, 8), "softmax_sum": ms.ops.ones((6, 4, 8))}
    return {"grad": floats(6, 4, 5), **forward, **saved, **training}


def infer_inputs():
    return {
        "query": floats(2, 2, 4, 8),
        "key": floats(9, 8, 2, 8),
        "value": floats(9, 8, 2, 5),
        "topk_indices": indices(2, 2, 2, 3),
        "block_table": ms.Tensor(np.int32([[4, 0, 7], [2, 8, -1]])),
        "actual_seq_qlen": (2, 1),
        "actual_seq_kvlen": (21, 13),
        "atten_mask": None,
    }


INPUTS = {FORWARD: training_inputs, GRAD: grad_inputs, INFER: infer_inputs}


def good_arguments(operator, **changes):
    """Positional arguments of a good call, some of them changed."""
    return list({**INPUTS[operator](), **changes}.values())


def attribute_cases():
    for operator in GOOD:
        names = ["head_num", "select_block_size", "select_block_count"]
        names += ["key_value_head_num", "page_block_size"] if operator == INFER else []
        for name in names:
            for value in (2.0, "4", None, True, [4]):
                yield Case(operator, TypeError, f"{name} must be an int, got {value!r}", attributes={name: value})
            for value in (0, -1, LARGEST + 1):
                rule = f"be from 1 to {LARGEST}"
                yield Case(operator, ValueError, f"{name} must {rule}, got {value}", attributes={name: value})
        for value in ("1", True, 1j, [0.5]):
            sentence = f"scale_value must be a float or None, got {value!r}"
            yield Case(operator, TypeError, sentence, attributes={"scale_value": value})
        for value in (1, 4, -1, True, "2", None):
            sentence = f"sparse_mode must be 0 or 2 or 3, got {value!r}"
            yield Case(operator, ValueError, sentence, attributes={"sparse_mode": value})
        for value in ("cpu", "Ascend", None, 1):
            sentence = f"limits must be 'auto' or 'ascend', got {value!r}"
            yield Case(operator, ValueError, sentence, attributes={"limits": value})
    for value in ("BNSD", "bsnd", None, 3):
        sentence = f"layout must be 'BSH' or 'BSND' or 'TND', got {value!r}"
        yield Case(INFER, ValueError, sentence, attributes={"layout": value})
    sentence = "head_num must be a multiple of key_value_head_num (3), got 4"
    yield Case(INFER, ValueError, sentence, attributes={"key_value_head_num": 3})


def dtype_cases(operator):
    floating = "float16 or bfloat16 or float32"
    for dtype in (ms.float64, ms.int32):
        query = INPUTS[operator]()["query"].astype(dtype)
        sentence = f"query must have dtype {floating}, got {str(dtype).lower()}"
        yield Case(operator, TypeError, sentence, {"query": query})
    same = ["key", "value"] + (["grad", "attention_out"] if operator == GRAD else [])
    for name in same:
        for dtype in (ms.float16, ms.bfloat16):
            tensor = INPUTS[operator]()[name].astype(dtype)
            sentence = f"{name} must have the dtype of query (float32), got {str(dtype).lower()}"
            yield Case(operator, TypeError, sentence, {name: tensor})
    for name in ["topk_indices"] + (["block_table"] if operator == INFER else []):
        for dtype in (ms.int64, ms.float32):
            tensor = INPUTS[operator]()[name].astype(dtype)
            sentence = f"{name} must have dtype int32, got {str(dtype).lower()}"
            yield Case(operator, TypeError, sentence, {name: tensor})
    for name in ["softmax_max", "softmax_sum"] if operator == GRAD else []:
        tensor = INPUTS[operator]()[name].astype(ms.float16)
        yield Case(operator, TypeError, f"{name} must have dtype float32, got float16", {name: tensor})
    sentence = "atten_mask must have dtype uint8 or bool, got float32"
    yield Case(operator, TypeError, sentence, {"atten_mask": floats(6, 22)})
    for name in ("actual_seq_qlen", "actual_seq_kvlen"):
        lengths = ms.Tensor([2.0, 6.0], ms.float32)
        kinds = "be a tuple or list of int, or an int32 or int64 Tensor"
        yield Case(operator, TypeError, f"{name} must {kinds}, got mindspore.float32", {name: lengths})
        for value in (2.0, True, "2"):
            given = (2, value)
            yield Case(operator, TypeError, f"{name} must hold ints, got {value!r}", {name: given})
        sentence = f"{name} must hold at least one length, got []"
        yield Case(operator, ValueError, sentence, {name: ()})
        yield Case(operator, TypeError, f"{name} must {kinds}, got 6", {name: 6})
    tensors = [name for name in INPUTS[operator]() if not name.startswith("actual_seq")]
    for name in tensors:
        for value in (np.zeros((2, 2), np.float32), [[1.0]]):
            kind = type(value).__name__
            yield Case(operator, TypeError, f"{name} must be a Tensor, got {kind}", {name: value})


def shape(dims, wanted, got):
    return f"have shape {dims} = {wanted}, got shape {got}"


def training_shape_cases(operator):
    def case(sentence, **inputs):
        return Case(operator, ValueError, sentence, inputs)

    for name, dims in (("query", "[T1, N1, D1]"), ("key", "[T2, N2, D1]"), ("value", "[T2, N2, D2]")):
        yield case(f"{name} must have rank 3 {dims}, got shape [6, 4]", **{name: floats(6, 4)})
        yield case(f"{name} must have rank 3 {dims}, got shape [1, 6, 4, 8]", **{name: floats(1, 6, 4, 8)})
        yield case(f"{name} must have rank 3 {dims}, got shape []", **{name: ms.Tensor(1.0, ms.float32)})
    yield case("head_num must equal N1 of query = 3, got 4", query=floats(6, 3, 8))
    yield case("N2 of key must be at least 1, got 0", key=floats(20, 0, 8))
    yield case("D1 of query must be at least 1, got 0", query=floats(6, 4, 0))
    yield case("D2 of value must be at least 1, got 0", value=floats(20, 2, 0))
    yield case("head_num must be a multiple of N2 of key (3), got 4", key=floats(20, 3, 8))
    yield case("key must " + shape("[T2, N2, D1]", "[20, 2, 8]", "[20, 2, 9]"), key=floats(20, 2, 9))
    for got in ((21, 2, 5), (20, 4, 5)):
        yield case("value must " + shape("[T2, N2, D2]", "[20, 2, 5]", list(got)), value=floats(*got))
    for got in ((5, 2, 3), (6, 4, 3), (6, 2, 4), (6, 2), (6, 2, 3, 1)):
        sentence = "topk_indices must " + shape("[T1, N2, select_block_count]", "[6, 2, 3]", list(got))
        yield case(sentence, topk_indices=indices(*got))
    for got in ((6,), (1, 6, 20)):
        sentence = f"atten_mask must have rank 2 [max Sq, max Sk], got shape {list(got)}"
        yield case(sentence, atten_mask=mask(*got))
    for name in ("actual_seq_qlen", "actual_seq_kvlen"):
        lengths = ms.Tensor([[2, 6]], ms.int64)
        yield case(f"{name} must have rank 1 [B], got shape [1, 2]", **{name: lengths})
    entries = "actual_seq_kvlen must have as many entries as actual_seq_qlen"
    yield case(f"{entries} = 3, got 2", actual_seq_qlen=(1, 2, 6))
    yield case(f"{entries} = 1, got 2", actual_seq_qlen=None)
    yield case(f"{entries} = 2, got 1", actual_seq_kvlen=None)
    for name in ["grad", "attention_out"] if operator == GRAD else []:
        sentence = f"{name} must " + shape("[T1, N1, D2]", "[6, 4, 5]", "[6, 4, 8]")
        yield case(sentence, **{name: floats(6, 4, 8)})
    for name in ["softmax_max", "softmax_sum"] if operator == GRAD else []:
        for got in ((6, 4, 1), (6, 4), (4, 6, 8)):
            sentence = f"{name} must " + shape("[T1, N1, 8]", "[6, 4, 8]", list(got))
            yield case(sentence, **{name: floats(*got)})


def training_value_cases(operator):
    def case(sentence, **inputs):
        return Case(operator, KERNEL, sentence, inputs)

    for name, rows, good in (("actual_seq_qlen", "T1 = 6", 6), ("actual_seq_kvlen", "T2 = 20", 20)):
        yield case(f"{name} must end at {rows}, got {good + 1}", **{name: (2, good + 1)})
        yield case(f"{name} must end at {rows}, got {good - 1}", **{name: [2, good - 1]})
        yield case(f"{name} must not decrease, got 5 at entry 1 after 6", **{name: ms.Tensor([6, 5], ms.int32)})
        yield case(f"{name} must not be negative, got -1 at entry 0", **{name: ms.Tensor([-1, good])})
    bounds = {0: 3, 1: 3, 2: 3, 5: 3}
    for token, bound in bounds.items():
        for index in (bound, LARGEST):
            place = (token, 1, 2)
            rule = f"be below ceil(Sk / select_block_size) = {bound}"
            sentence = f"topk_indices must {rule}, got {index} at token {token}, kv head 1, slot 2"
            yield case(sentence, topk_indices=index_at((6, 2, 3), place, index))
    for extents in ((3, 22), (4, 10), (1, 1)):
        sentence = f"atten_mask must cover [max Sq, max Sk] = [4, 11], got {list(extents)}"
        yield case(sentence, atten_mask=mask(*extents, dtype=np.uint8))


def infer_shape_cases():
    def case(sentence, attributes=None, **inputs):
        return Case(INFER, ValueError, sentence, inputs, attributes or {})

    bsh, tnd = {"layout": "BSH"}, {"layout": "TND"}
    yield case("query must have rank 4 [B, S, N1, D1], got shape [2, 4, 8]", query=floats(2, 4, 8))
    yield case("query must have rank 3 [B, S, N1 * D1], got shape [2, 2, 4, 8]", bsh)
    yield case("query must have rank 3 [T, N1, D1], got shape [2, 2, 4, 8]", tnd)
    yield case("N1 of query must equal head_num = 4, got 6", query=floats(2, 2, 6, 8))
    yield case("N1 of query must equal head_num = 4, got 6", tnd, query=floats(3, 6, 8))
    yield case("H of query must be a multiple of head_num (4), got 33", bsh, query=floats(2, 2, 33))
    cache, flat = "[num_blocks, page_block_size, N2, D]", "[num_blocks, page_block_size, N2 * D]"
    for name in ("key", "value"):
        yield case(f"{name} must have rank 4 {cache}, got shape [9, 8, 16]", **{name: floats(9, 8, 16)})
        flat_query = {"query": floats(2, 2, 32), "key": floats(9, 8, 16), "value": floats(9, 8, 10)}
        wrong = {**flat_query, name: floats(9, 8, 2, 8)}
        yield case(f"{name} must have rank 3 {flat}, got shape [9, 8, 2, 8]", bsh, **wrong)
        pages = "have pages of page_block_size = 8 rows, got shape [9, 16, 2, 8]"
        yield case(f"{name} must {pages}", **{name: floats(9, 16, 2, 8)})
        yield case(f"N2 of {name} must equal key_value_head_num = 2, got 4", **{name: floats(9, 8, 4, 8)})
        wrong = {**flat_query, name: floats(9, 8, 17)}
        yield case(f"H of {name} must be a multiple of key_value_head_num (2), got 17", bsh, **wrong)
    yield case("D1 of query must be at least 1, got 0", query=floats(2, 2, 4, 0))
    yield case("D2 of value must be at least 1, got 0", value=floats(9, 8, 2, 0))
    yield case("D1 of key must equal D1 of query = 8, got 9", key=floats(9, 8, 2, 9))
    yield case("num_blocks of value must equal num_blocks of key = 9, got 8", value=floats(8, 8, 2, 5))
    for got in ((2, 2, 2, 4), (2, 1, 2, 3), (3, 2, 2, 3), (2, 2, 3), (2, 2, 4, 3)):
        sentence = "topk_indices must " + shape("[B, S, N2, select_block_count]", "[2, 2, 2, 3]", list(got))
        yield case(sentence, topk_indices=indices(*got))
    one = {"query": floats(2, 1, 4, 8), "actual_seq_qlen": None}
    sentence = "topk_indices must " + shape("[B, N2, select_block_count]", "[2, 2, 3]", "[2, 4, 3]")
    yield case(sentence, topk_indices=indices(2, 4, 3), **one)
    yield case("atten_mask must have rank 2 [max Sq, max Sk], got shape [50]", atten_mask=mask(50))
    yield case("block_table must have rank 2 [B, max_blocks], got shape [6]", block_table=indices(6))
    yield case("B of block_table must equal the number of sequences = 2, got 3", block_table=indices(3, 3))
    wanted = "must have one entry per sequence: B of query = 2, got"
    yield case(f"actual_seq_qlen {wanted} 3", actual_seq_qlen=(1, 1, 1))
    yield case(f"actual_seq_kvlen {wanted} 1", actual_seq_kvlen=(21,))
    yield case(f"actual_seq_kvlen {wanted} 0", actual_seq_kvlen=None)
    for name in ("actual_seq_qlen", "actual_seq_kvlen"):
        yield case(f"{name} must have rank 1 [B], got shape [1, 2]", **{name: ms.Tensor([[2, 1]], ms.int64)})


def infer_value_cases():
    def case(sentence, **inputs):
        return Case(INFER, KERNEL, sentence, inputs)

    for value in (3, -1):
        sentence = f"actual_seq_qlen must be from 0 to S = 2, got {value} at sequence 1"
        yield case(sentence, actual_seq_qlen=ms.Tensor([2, value]))
    for value in (25, -1):
        rule = "be from 0 to max_blocks * page_block_size = 24"
        yield case(f"actual_seq_kvlen must {rule}, got {value} at sequence 0", actual_seq_kvlen=(value, 13))
    for place, token, index, bound in (((0, 1, 1, 2), 1, 6, 6), ((1, 0, 0, 0), 2, 4, 4)):
        rule = f"be below ceil(Sk / select_block_size) = {bound}"
        where = f"at token {token}, kv head {place[2]}, slot {place[3]}"
        sentence = f"topk_indices must {rule}, got {index} {where}"
        yield case(sentence, topk_indices=index_at((2, 2, 2, 3), place, index))
    for page in (9, -1, LARGEST):
        table = ms.Tensor(np.int32([[page, 0, 7], [2, 8, -1]]))
        rule = "hold page ids from 0 to 8 where blocks are selected"
        yield case(f"block_table must {rule}, got {page} at sequence 0, slot 0", block_table=table)
    for extents in ((1, 21), (2, 20)):
        sentence = f"atten_mask must cover [max Sq, max Sk] = [2, 21], got {list(extents)}"
        yield case(sentence, atten_mask=mask(*extents))
    tnd = {
        "query": floats(3, 4, 8),
        "key": floats(9, 8, 16),
        "value": floats(9, 8, 10),
        "topk_indices": indices(3, 2, 3),
    }
    sentence = "actual_seq_qlen must sum to T = 3, got 2"
    yield Case(INFER, KERNEL, sentence, {**tnd, "actual_seq_qlen": (1, 1)}, {"layout": "TND"})
    sentence = "actual_seq_qlen must be from 0 to T = 3, got 4 at sequence 0"
    yield Case(INFER, KERNEL, sentence, {**tnd, "actual_seq_qlen": (4, -1)}, {"layout": "TND"})


def limit_cases():
    """One violation of every limit of the NPU kernels."""
    within = "within the limits asked for"
    fits = {"head_num": 8, "select_block_size": 64, "select_block_count": 16, "limits": "ascend"}

    def training(sentence, n1=8, n2=2, d1=192, d2=128, batch=None, **attributes):
        attributes = {**fits, "head_num": n1, **attributes}
        count = attributes["select_block_count"]
        inputs = {
            "query": floats(2, n1, d1, dtype=ms.float16),
            "key": floats(64, n2, d1, dtype=ms.float16),
            "value": floats(64, n2, d2, dtype=ms.float16),
            "topk_indices": indices(2, n2, count, value=0),
            "actual_seq_qlen": (2,) * (batch or 1),
            "actual_seq_kvlen": (64,) * (batch or 1),
        }
        return Case(FORWARD, ValueError, sentence, inputs, attributes)

    yield training(f"D1 must be 192 {within}, got 128", d1=128)
    yield training(f"D2 must be 128 {within}, got 192", d2=192)
    yield training(f"G must be at most 16 {within}, got 17", n1=34)
    yield training(f"N2 must be at most 256 {within}, got 257", n1=257, n2=257)
    yield training(f"B must be at most 3072 {within}, got 3073", batch=3073)
    yield training(f"select_block_size must be 64 {within}, got 32", select_block_size=32)
    yield training(f"select_block_count must be 16 {within}, got 8", select_block_count=8)
    single = training("query must have dtype float16 or bfloat16, got float32")
    yield replace(single, error=TypeError, inputs={**single.inputs, "query": floats(2, 8, 192)})

    def decode(error, sentence, s=1, n2=1, g=2, d1=192, d2=128, page=64, size=16, count=2, kv=(40,)):
        attributes = {
            "head_num": g * n2,
            "key_value_head_num": n2,
            "page_block_size": page,
            "select_block_size": size,
            "select_block_count": count,
            "limits": "ascend",
        }
        inputs = {
            "query": floats(len(kv), s, g * n2, d1, dtype=ms.float16),
            "key": floats(1, page, n2, d1, dtype=ms.float16),
            "value": floats(1, page, n2, d2, dtype=ms.float16),
            "topk_indices": indices(len(kv), s, n2, count, value=0),
            "block_table": indices(len(kv), 1, value=0),
            "actual_seq_qlen": (s,) * len(kv),
            "actual_seq_kvlen": kv,
        }
        return Case(INFER, error, sentence, inputs, attributes)

    yield decode(ValueError, f"D1 must be 192 {within}, got 64", d1=64)
    yield decode(ValueError, f"D2 must be 128 {within}, got 64", d2=64)
    yield decode(ValueError, f"N2 must be at most 256 {within}, got 257", n2=257)
    yield decode(ValueError, f"G must be at most 16 {within}, got 17", g=17)
    yield decode(ValueError, f"B must be at most 3072 {within}, got 3073", kv=(40,) * 3073)
    yield decode(ValueError, f"page_block_size must be 64 or 128 {within}, got 48", page=48)
    yield decode(ValueError, f"select_block_size must be a multiple of 16 {within}, got 24", size=24)
    yield decode(ValueError, f"select_block_size must be at most 128 {within}, got 144", size=144)
    yield decode(ValueError, f"S must be at most 4 {within}, got 5", s=5)
    yield decode(KERNEL, f"selected_rows must be at most max_kv_len (40) {within}, got 48", count=3)
    yield decode(KERNEL, f"q_len must be at most kv_len (2) {within}, got 3", s=3, kv=(40, 2))


ATTRIBUTE_CASES = list(attribute_cases())
CALL_CASES = [
    *(case for operator in GOOD for case in dtype_cases(operator)),
    *(case for operator in (FORWARD, GRAD) for case in training_shape_cases(operator)),
    *(case for operator in (FORWARD, GRAD) for case in training_value_cases(operator)),
    *infer_shape_cases(),
    *infer_value_cases(),
    *limit_cases(),
]
