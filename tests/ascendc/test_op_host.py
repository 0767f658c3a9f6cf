# SPDX-License-Identifier: Apache-2.0
"""op_host: what it registers agrees with op_info, the kernels and Python; what its functions make of a call."""

import importlib.util
import json
import re

import numpy as np
import pytest

from ascendc import cann, host, op_host
from ms_nsa import registry
from ms_nsa.primitive import first_error, registration
from support import ASCEND, DTYPES, PAGED_CASES, SELECT_CASES, random_paged_case, random_select_case

OP_TYPES = sorted(op_host.OPERATORS)
ENTRIES = sorted(op_host.OP_KERNEL.glob("ms_nsa_*.cpp"))
CHIPS = ["ascend910b", "ascend910_93"]
NAMES_OF_TYPES = {number: name for name, number in cann.TYPES.items()}


def registered_columns(op_type):
    """One row for each combination of dtypes, as names."""
    registered = op_host.registered()[op_type]
    return list(zip(*([NAMES_OF_TYPES[t] for t in x["types"]] for x in registered["inputs"] + registered["outputs"])))


def test_every_operator_is_registered_once():
    assert sorted(op_host.registered()) == OP_TYPES


@pytest.mark.parametrize("op_type", OP_TYPES)
def test_registration_is_that_of_op_info(op_type):
    registered, operator = op_host.registered()[op_type], op_host.OPERATORS[op_type]
    inputs, attributes = registry.inputs(operator, "ascend"), registry.attributes(operator, "ascend")
    assert [tensor["name"] for tensor in registered["inputs"]] == [tensor["name"] for tensor in inputs]
    given = [cann.OPTIONAL if tensor.get("optional") else cann.REQUIRED for tensor in inputs]
    assert [tensor["option"] for tensor in registered["inputs"]] == given
    assert all(tensor["contiguous"] for tensor in registered["inputs"])
    outputs = registry.outputs(operator, "ascend")
    assert [tensor["name"] for tensor in registered["outputs"]] == [tensor["name"] for tensor in outputs]
    for tensor in registered["inputs"] + registered["outputs"]:
        assert tensor["formats"] == tensor["unknown_formats"] == [cann.FORMAT_ND] * len(tensor["types"])
    kinds = [(each["name"], "int" if "choices" in each else each["type"], cann.REQUIRED) for each in attributes]
    assert [(each["name"], each["type"], each["option"]) for each in registered["attributes"]] == kinds
    assert registered["configs"] == CHIPS


@pytest.mark.parametrize("op_type", OP_TYPES)
def test_python_registers_the_same(op_type):
    """What MindSpore is told: names, order, what may be absent, dtypes, and attributes that come with the call."""
    registered, operator = op_host.registered()[op_type], op_host.OPERATORS[op_type]
    told = registration.ascend_registration(operator)
    assert told["op_name"] == op_type and told["target"] == "Ascend"
    options = {"optional": cann.OPTIONAL, "required": cann.REQUIRED}
    for kind in ("inputs", "outputs"):
        found = [(tensor["name"], options[tensor["param_type" if "param_type" in tensor else "paramType"]])
                 for tensor in told[kind]]  # fmt: skip
        assert found == [(tensor["name"], tensor["option"]) for tensor in registered[kind]]
    assert [(each["name"], each["type"]) for each in told["attr"]] == [
        (each["name"], each["type"]) for each in registered["attributes"]
    ]
    assert all(each.get("value") is None for each in told["attr"])
    rows = [tuple(dtype for dtype, _ in row) for row in told["dtype_format"]]
    assert sorted(rows) == sorted(registered_columns(op_type)) and len(set(rows)) == len(rows)


@pytest.mark.parametrize("path", ENTRIES, ids=lambda path: path.stem)
def test_kernel_takes_what_is_registered(path):
    """A kernel's file, its entry and its operator have one name; its parameters are inputs and outputs in order."""
    op_type = "".join(word.title() for word in path.stem.split("_"))
    operator = op_host.OPERATORS[op_type]
    tensors = registry.inputs(operator, "ascend") + registry.outputs(operator, "ascend")
    expected = [*(tensor["name"] for tensor in tensors), "workspace", "tiling"]
    assert op_host.kernel_parameters(path) == {path.stem: expected}


def test_every_operator_has_a_kernel():
    assert ["".join(word.title() for word in path.stem.split("_")) for path in ENTRIES] == OP_TYPES


@pytest.mark.parametrize("operator", sorted(op_host.OPERATORS.values()))
def test_places_are_those_of_op_info(operator):
    text = (host.generated() / "op_info.h").read_text()
    struct = text[text.index(f"struct {operator} {{") :].partition("\n};")[0]
    listed = {"Inputs": registry.inputs(operator, "ascend"), "Attributes": registry.attributes(operator, "ascend")}
    for name, items in listed.items():
        constants = re.search(rf"enum {name} : size_t \{{ (.*?) \}}", struct).group(1).split(", ")
        assert constants == ["k" + item["name"].title().replace("_", "") for item in items]


def test_layouts_are_counted_alike():
    layout = next(a for a in registry.load("NsaSelectedAttentionInfer")["attributes"] if a["name"] == "layout")
    enum = re.search(r"enum class Layout : int32_t \{(.*?)\}", (op_host.OP_HOST / "infer_tiling.h").read_text())
    assert [name.strip()[1:].upper() for name in enum.group(1).split(",")] == layout["choices"] == [*host.LAYOUTS]


def cases():
    for seed in range(60):
        rng = np.random.default_rng(seed)
        yield random_select_case(rng, DTYPES["float16"], ASCEND)
        paged = random_paged_case(rng, DTYPES["float16"], ASCEND)
        yield paged.heads_first() if seed % 4 == 3 else paged
    for named in (SELECT_CASES, PAGED_CASES):
        yield from (make(DTYPES["bfloat16"], ASCEND) for _, make in sorted(named.items()))


@pytest.mark.parametrize("empty", [False, True], ids=["absent", "empty"])
def test_tiling_of_a_call_is_that_of_its_shapes(empty):
    """From CANN's context comes what the tiling functions decide for the shapes, whatever is absent, and however."""
    for index, case in enumerate(cases()):
        cores, debug = (1, 3, 20, 24)[index % 4], index // 4 % 2
        found = op_host.call_of(case, empty, debug=debug).tile(cores)
        plan = host.tile(host.shapes_of(case, debug), cores)
        assert bytes(found.params) == bytes(plan.params), case.name
        assert found.block_dim == plan.block_dim <= cores
        assert found.workspace == op_host.SYSTEM_WORKSPACE + plan.workspace_bytes
        assert found.schedule_mode == 1


@pytest.mark.parametrize("empty", [False, True], ids=["absent", "empty"])
def test_tiling_of_a_gradient_is_that_of_its_shapes(empty):
    for index, case in enumerate(cases()):
        if hasattr(case, "block_table"):
            continue
        debug = index // 4 % 2
        found = op_host.call_of(case, empty, gradient=True, debug=debug).tile(20)
        plan = host.tile(host.shapes_of(case, debug), 20, "grad")
        assert bytes(found.params) == bytes(plan.params), case.name
        assert (found.block_dim, found.schedule_mode) == (plan.block_dim, 1)
        assert found.workspace == op_host.SYSTEM_WORKSPACE + plan.workspace_bytes


def test_inferred_shapes_and_types():
    for case in cases():
        call = op_host.call_of(case)
        operator = op_host.OPERATORS[call.op_type.decode()]
        tokens = case.attention_out_shape[: 2 if hasattr(case, "block_table") and case.layout != "TND" else 1]
        statistics = [(*tokens, case.head_num, 8)] * 2
        assert call.infer_shapes() == [case.attention_out_shape, *statistics, first_error.SHAPE]
        if operator == "NsaSelectAttention":
            call = op_host.call_of(case, gradient=True)
            assert call.infer_shapes() == [case.query.shape, case.key.shape, case.value.shape, first_error.SHAPE]
    for op_type in OP_TYPES:
        count = len(op_host.registered()[op_type]["inputs"])
        for row in registered_columns(op_type):
            assert op_host.infer_types(op_type, row[:count]) == list(row[count:])


MASK = "atten_mask must cover [max Sq, max Sk]"
TOKEN_MASK = "atten_mask must cover [B, max Sq, max Sq]"
SELECT_MASK = "atten_mask must have rank 2 [max Sq, max Sk]"
INFER_MASK = "atten_mask must have rank 2 [max Sq, max Sk] or 3 [B, S, S]"
PAGES = "key must have pages of page_block_size"
PER_SEQUENCE = "must have one entry per sequence: B of query = 3"
STATISTIC = "softmax_sum_grad must have shape [T1, N1, 8] = [4, 6, 8]"
BROKEN_CALLS = [
    ("grad", {"actual_seq_lens": (5,)}, {}, "actual_seq_kvlen must have as many entries as actual_seq_qlen = 2, got 3"),
    ("select", {"query": (4, 6)}, {}, "query must have rank 3 [T1, N1, D1], got shape [4, 6]"),
    ("select", {"query": None}, {}, "query must be given, got nothing"),
    ("select", {"atten_mask": (9,)}, {}, f"{SELECT_MASK}, got shape [9]"),
    ("select", {}, {"head_num": 7}, "head_num must equal N1 of query = 6, got 7"),
    ("select", {}, {"head_num": 0}, "head_num must be at least 1, got 0"),
    (
        *("select", {}, {"select_block_count": 9}),
        "topk_indices must have shape [T1, N2, select_block_count] = [4, 2, 9], got shape [4, 2, 5]",
    ),
    ("select", {}, {"select_block_size": 40}, "select_block_size must be a multiple of 16, got 40"),
    ("select", {}, {"select_block_size": 144}, "select_block_size must be at most 128, got 144"),
    ("select", {"key": (90, 4, 48)}, {}, "head_num must be a multiple of N2 of key (4), got 6"),
    ("select", {"value": (80, 2, 32)}, {}, "value must have shape [T2, N2, D2] = [90, 2, 32], got shape [80, 2, 32]"),
    ("infer", {"query": (4, 6, 16)}, {}, "query must have rank 4 [B, S, N1, D1], got shape [4, 6, 16]"),
    ("infer", {"actual_seq_kvlen": None}, {}, "actual_seq_kvlen must be given, got nothing"),
    ("infer", {"actual_seq_kvlen": (0,)}, {}, f"actual_seq_kvlen {PER_SEQUENCE}, got 0"),
    ("infer", {"actual_seq_qlen": (0,)}, {}, f"actual_seq_qlen {PER_SEQUENCE}, got 0"),
    ("infer", {"actual_seq_qlen": (0, 3)}, {}, "actual_seq_qlen must have rank 1 [B], got shape [0, 3]"),
    ("infer", {"atten_mask": (3, 4, 4, 1)}, {}, f"{INFER_MASK}, got shape [3, 4, 4, 1]"),
    ("infer", {"atten_mask": (4, 4, 4)}, {}, "B of atten_mask must equal the number of sequences = 3, got 4"),
    ("infer", {"atten_mask": (3, 0, 0)}, {}, f"{TOKEN_MASK}; its rows, got 0"),
    ("infer", {"atten_mask": (3, 4, 0)}, {}, f"{TOKEN_MASK}; its columns, got 0"),
    ("infer", {"atten_mask": (0, 40)}, {}, f"{MASK}; its rows, got 0"),
    ("infer", {"atten_mask": (6, 0)}, {}, f"{MASK}; its columns, got 0"),
    ("infer", {"atten_mask": (0,)}, {}, f"{INFER_MASK}, got shape [0]"),
    ("select", {"atten_mask": (0, 40)}, {}, f"{MASK}, got shape [0, 40]"),
    ("select", {"atten_mask": (6, 0)}, {}, f"{MASK}, got shape [6, 0]"),
    ("select", {"atten_mask": (0, 3, 3)}, {}, f"{SELECT_MASK}, got shape [0, 3, 3]"),
    ("select", {"atten_mask": (0,) * 6}, {}, f"{SELECT_MASK}, got shape [0, 0, 0, 0, 0, 0]"),
    ("select", {"actual_seq_qlen": (0, 3)}, {}, "actual_seq_qlen must have rank 1 [B], got shape [0, 3]"),
    ("select", {"actual_seq_kvlen": (2, 0)}, {}, "actual_seq_kvlen must have rank 1 [B], got shape [2, 0]"),
    ("select", {"actual_seq_qlen": (0,)}, {}, "actual_seq_qlen must hold at least one length, got shape [0]"),
    (
        *("select", {"actual_seq_kvlen": (2,)}, {}),
        "actual_seq_kvlen must have as many entries as actual_seq_qlen = 3, got 2",
    ),
    ("grad", {"atten_mask": (0, 40)}, {}, f"{MASK}, got shape [0, 40]"),
    ("grad", {"actual_seq_lens": (0,)}, {}, "actual_seq_qlen must hold at least one length, got shape [0]"),
    (
        *("grad", {"softmax_max_grad": (4, 6)}, {}),
        "softmax_max_grad must have shape [T1, N1, 8] = [4, 6, 8], got shape [4, 6]",
    ),
    ("grad", {"softmax_sum_grad": (4, 6, 0)}, {}, f"{STATISTIC}, got shape [4, 6, 0]"),
    ("grad", {"actual_seq_lens": (0, 3)}, {}, "actual_seq_qlen must have rank 1 [B], got shape [0, 3]"),
    ("infer", {}, {"page_block_size": 32}, f"{PAGES} = 32 rows, got shape [7, 16, 2, 48]"),
    (
        *("infer", {"key": (7, 40, 2, 48), "value": (7, 40, 2, 32)}, {"page_block_size": 40}),
        "page_block_size must be a multiple of 16, got 40",
    ),
    ("infer", {}, {"sparse_mode": 1}, "sparse_mode must be 0, 2 or 3, got 1"),
]


INFER_INPUTS = [tensor["name"] for tensor in registry.inputs("NsaSelectedAttentionInfer", "ascend")]


def generate():
    """ascendc/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate_ascend", host.ASCENDC / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_call(op_type, shapes, attributes):
    return op_host.Call(op_type, shapes, op_host.values_of(op_type, attributes))


def small_call(kind, shapes, attributes):
    common = {"head_num": 6, "select_block_size": 48, "select_block_count": 5, "sparse_mode": 0}
    common.update(default_scale=1, scale_value=0.0)
    if kind == "select":
        given = {"query": (4, 6, 48), "key": (90, 2, 48), "value": (90, 2, 32), "topk_indices": (4, 2, 5)}
        given.update(atten_mask=None, actual_seq_qlen=(3,), actual_seq_kvlen=(3,))
        return make_call("MsNsaSelectAttention", {**given, **shapes}, {**common, **attributes})
    if kind == "grad":
        given = {"query": (4, 6, 48), "key": (90, 2, 48), "value": (90, 2, 32), "topk_indices": (4, 2, 5)}
        given.update({"grad": (4, 6, 32), "attention_out": (4, 6, 32), "softmax_max": (4, 6, 8)})
        given.update({"softmax_sum": (4, 6, 8), "atten_mask": None, "actual_seq_lens": (6,)})
        given.update({"softmax_max_grad": None, "softmax_sum_grad": None})
        return make_call("MsNsaSelectAttentionGrad", {**given, **shapes}, {**common, **attributes})
    given = {"query": (3, 2, 6, 48), "key": (7, 16, 2, 48), "value": (7, 16, 2, 32), "topk_indices": (3, 2, 2, 5)}
    given.update(atten_mask=None, block_table=(3, 4), actual_seq_qlen=None, actual_seq_kvlen=(3,))
    common.update(key_value_head_num=2, page_block_size=16, layout="BSND", cache_layout="BSND", return_softmax_lse=0)
    return make_call("MsNsaSelectedAttentionInfer", {**given, **shapes}, {**common, **attributes})


@pytest.mark.parametrize(("kind", "shapes", "attributes", "sentence"), BROKEN_CALLS)
def test_a_wrong_call_gets_a_sentence(capfd, kind, shapes, attributes, sentence):
    assert small_call(kind, {}, {}).tile(20) is not None
    assert small_call(kind, shapes, attributes).tile(20) is None
    op_type = {"select": "MsNsaSelectAttention", "infer": "MsNsaSelectedAttentionInfer"}
    op_type = op_type.get(kind, "MsNsaSelectAttentionGrad")
    assert capfd.readouterr().err == f"{op_type}: {sentence}\n"


def test_a_choice_beyond_the_listed_ones_is_refused(capfd):
    values = dict(zip([a["name"] for a in registry.attributes("NsaSelectedAttentionInfer", "ascend")], [1] * 12))
    values = tuple({**values, "layout": 3}.values())
    assert op_host.Call("MsNsaSelectedAttentionInfer", dict.fromkeys(INFER_INPUTS), values).tile(20) is None
    sentence = "layout must be 0 (BSH), 1 (BSND) or 2 (TND), got 3"
    assert capfd.readouterr().err == f"MsNsaSelectedAttentionInfer: {sentence}\n"


def test_a_limit_that_only_values_tell_stops_the_build():
    """A tiling would not check it; what generate.py cannot express is no rule that is lost."""
    info = json.loads((host.ROOT / "op_info" / "NsaSelectedAttentionInfer.json").read_text())
    info["limits"]["ascend_kernels"].append("q_len max 4")
    operator = generate().AscendOperator(info)
    with pytest.raises(ValueError, match="a tiling does not know the values in 'q_len max 4'"):
        operator.definitions()
    info["limits"]["ascend_kernels"] = ["D1 in 64 192"]
    sentence = 'Join("D1 must be 64 or 192, got ", D1)'
    assert f"if (Or(Equal(D1, 64), Equal(D1, 192)) == 0) FailRule(kName, {sentence});" in operator.definitions()
