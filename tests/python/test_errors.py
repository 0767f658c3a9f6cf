# SPDX-License-Identifier: Apache-2.0
"""Malformed calls raise the documented error with its exact sentence, and the process goes on and computes right."""

import decimal
import fractions
import inspect
import json
import subprocess
import sys

import mindspore as ms
import numpy as np
import pytest

import children
import ms_nsa
from support import check_forward, check_gradients
from support.malformed import (
    CALLS,
    FORWARD,
    GOOD,
    GRAD,
    INFER,
    KERNEL_SAYS,
    REFUSED_BY_KERNELS,
    good_case,
    good_results,
)
from support.marks import slow
from support.run_cells import run_mode, same_bits, to_arrays, to_tensor

BEFORE_RUNNING = [call for call in CALLS if not call.by_kernel]
# MindSpore waits 3 seconds after an error of a kernel in Graph mode, so several processes share the waiting.
WORKERS = 8


def rows(*shape):
    return np.ones(shape, np.float32)


def ids(calls):
    return [f"{number}-{call.sentence[:70]}" for number, call in enumerate(calls)]


def one_of_every_rule():
    """Compiling every call takes minutes: one call stands for its rule, and without the mark slow for six rules."""
    seen = set()
    for number, call in enumerate(BEFORE_RUNNING):
        if call.rule in seen:
            continue
        fast = len(seen) % 6 == 0
        yield pytest.param(call, marks=[] if fast else [pytest.mark.slow], id=ids(BEFORE_RUNNING)[number])
        seen.add(call.rule)


@pytest.fixture(scope="module")
def expected():
    """Results of the good calls by operator, proven right."""
    results = {operator: good_results(operator, "pynative") for operator in GOOD}
    check_forward(good_case(), *results[FORWARD])
    check_gradients(good_case(), *results[GRAD])
    check_forward(good_case("BSND"), *results[INFER])
    return results


ODD = [2.0, 2 + 0j, decimal.Decimal(2), fractions.Fraction(2), np.bool_(True), np.array([0, 2]), ms.Tensor(2), [2], {}]


@pytest.mark.parametrize("value", ODD, ids=repr)
@pytest.mark.parametrize("operator", GOOD)
def test_attributes_are_taken_by_type(operator, value):
    """Whatever equals a right value, cannot be compared with one or cannot be hashed is refused by name."""
    for name in {"sparse_mode", "limits", "layout", "head_num", "scale_value"} & set(attributes_of(operator)):
        if name == "scale_value" and isinstance(value, float):
            continue
        with pytest.raises((TypeError, ValueError), match=f"^{operator}: {name} must be .*, got "):
            getattr(ms_nsa, operator)(**{**GOOD[operator][0], name: value})


def attributes_of(operator):
    return inspect.signature(getattr(ms_nsa, operator).__init__).parameters


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), 1e39, float("inf"), -np.inf, np.nan, np.float64(1e300)], ids=str
)
@pytest.mark.parametrize("operator", GOOD)
def test_scales_are_finite_in_float32(operator, value):
    with pytest.raises(ValueError, match=f"^{operator}: scale_value must be finite in float32, got "):
        getattr(ms_nsa, operator)(**GOOD[operator][0], scale_value=value)


@pytest.mark.parametrize("value", [np.float16(0.5), np.float32(0.5), np.int8(1), 3.4028234e38, -1, 0])
def test_numpy_numbers_are_numbers(value):
    attributes = {"head_num": np.int64(6), "select_block_size": np.uint8(4), "sparse_mode": np.int32(3)}
    ms_nsa.NsaSelectAttention(**attributes, scale_value=value)


@pytest.mark.parametrize("value", [[6], {}, np.array([6, 6])], ids=repr)
def test_functional_forms_name_what_cannot_be_hashed(value):
    """The cache of Cells would only say what it cannot hash."""
    for name in ("head_num", "select_block_size", "scale_value"):
        sizes = {"head_num": 6, "select_block_size": 4, "select_block_count": 3, "scale_value": None, name: value}
        with pytest.raises(TypeError, match=f"^{FORWARD}: {name} must be "):
            ms_nsa.nsa_select_attention(*[None] * 4, **sizes)
        with pytest.raises(TypeError, match=f"^{INFER}: {name} must be "):
            ms_nsa.nsa_select_attention_infer(*[None] * 4, **sizes, key_value_head_num=2, page_block_size=8)


def outcomes_in_graph_mode():
    """Error, sentence and whether good calls go on, of all calls that kernels refuse, by their numbers."""
    command = [sys.executable, "-m", "support.malformed"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    options.update(cwd=children.FOLDER, env=children.environment())
    processes = [subprocess.Popen([*command, str(part), str(WORKERS)], **options) for part in range(WORKERS)]
    found = {}
    try:
        for process in processes:
            output, errors = process.communicate()
            assert process.returncode == 0, errors
            lines = [json.loads(line) for line in output.splitlines() if line.startswith("[")]
            found.update({line[0]: line[1:] for line in lines})
    finally:
        for process in processes:
            process.kill()
            process.wait()
    return found


def test_there_are_enough_of_them():
    assert len({(call.operator, call.rule) for call in CALLS}) >= 200


@pytest.mark.parametrize("call", CALLS, ids=ids(CALLS))
def test_pynative_mode(expected, call):
    assert call.outcome("pynative") == (call.error.__name__, call.sentence)
    assert same_bits(good_results(call.operator, "pynative"), expected[call.operator])


@pytest.mark.parametrize("call", list(one_of_every_rule()))
def test_refused_before_running_in_graph_mode(expected, call):
    assert call.outcome("graph") == (call.error.__name__, call.sentence)
    assert same_bits(good_results(call.operator, "graph"), expected[call.operator])


def test_refused_by_the_kernel_in_graph_mode():
    """One test for all calls: several would start the processes in every worker of the suite."""
    right = {number: [call.error.__name__, call.sentence, True] for number, call in enumerate(REFUSED_BY_KERNELS)}
    assert outcomes_in_graph_mode() == right


def dynamic_call(operator, free, **changes):
    """The call of a Cell that was compiled for unknown extents or ranks."""
    attributes, inputs = GOOD[operator]
    inputs = {name: to_tensor(value) for name, value in {**inputs, **changes}.items()}
    cell = getattr(ms_nsa, operator)(**attributes)
    order = [name for name in inspect.signature(cell.construct).parameters if name in inputs]
    arguments = [inputs[name] for name in order]
    shapes = {"rank": lambda tensor: None, "extents": lambda tensor: [None] * tensor.ndim}[free]
    with run_mode("graph"):
        cell.set_inputs(*(ms.Tensor(shape=shapes(tensor), dtype=tensor.dtype) for tensor in arguments))
        outputs = cell(*arguments)
        return to_arrays(outputs if isinstance(outputs, tuple) else (outputs,))


@pytest.mark.parametrize("free", ["extents", "rank"])
@pytest.mark.parametrize("operator", GOOD)
def test_good_calls_of_dynamic_graphs(expected, operator, free):
    assert same_bits(dynamic_call(operator, free), expected[operator])


@pytest.mark.parametrize(
    ("operator", "name", "dtype", "rule", "got"),
    [
        (FORWARD, "query", np.float64, "have dtype float16 or bfloat16 or float32", "float64"),
        (FORWARD, "key", np.float16, "have the dtype of query (float32)", "float16"),
        (FORWARD, "topk_indices", np.int16, "have dtype int32 or int64", "int16"),
        (GRAD, "grad", np.float16, "have the dtype of query (float32)", "float16"),
        (GRAD, "softmax_sum", np.float64, "have dtype float32", "float64"),
        (INFER, "value", np.float16, "have the dtype of query (float32)", "float16"),
        (INFER, "block_table", np.int64, "have dtype int32", "int64"),
        (INFER, "atten_mask", np.float32, "have dtype uint8 or bool", "float32"),
    ],
)
def test_dtypes_are_checked_in_dynamic_graphs(operator, name, dtype, rule, got):
    """MindSpore would cast to the nearest registered dtypes otherwise."""
    with pytest.raises(TypeError) as raised:
        dynamic_call(operator, "extents", **{name: GOOD[operator][1][name].astype(dtype)})
    assert str(raised.value).splitlines()[0] == f"{operator}: {name} must {rule}, got {got}"


@pytest.mark.parametrize(
    ("operator", "free", "name", "array", "rule", "got"),
    [
        (FORWARD, "rank", "query", rows(7, 30), "have rank 3 [T1, N1, D1]", "shape [7, 30]"),
        slow(FORWARD, "extents", "value", rows(20, 3, 8), "have shape [T2, N2, D2] = [20, 2, 8]", "shape [20, 3, 8]"),
        (GRAD, "extents", "grad", rows(7, 6, 7), "have shape [T1, N1, D2] = [7, 6, 8]", "shape [7, 6, 7]"),
        (FORWARD, "extents", "atten_mask", np.zeros((0, 40), bool), "cover [max Sq, max Sk]", "shape [0, 40]"),
        slow(
            FORWARD, "rank", "atten_mask", np.zeros((0, 3, 3), bool), "have rank 2 [max Sq, max Sk]", "shape [0, 3, 3]"
        ),
        slow(GRAD, "extents", "actual_seq_qlen", np.zeros(0, np.int64), "hold at least one length", "shape [0]"),
        slow(INFER, "extents", "atten_mask", np.zeros((6, 0), bool), "cover [max Sq, max Sk] = [2, 20]", "[6, 0]"),
        slow(INFER, "extents", "value", rows(8, 8, 2, 7), "equal num_blocks of key = 9", "8"),
        (INFER, "extents", "actual_seq_qlen", np.int64([2, 3, 2]), "be from 0 to S = 2", "3 at sequence 1"),
    ],
)
def test_shapes_and_values_are_checked_in_dynamic_graphs(operator, free, name, array, rule, got):
    """The library's shape inference finds a shape that does not fit when it appears."""
    with pytest.raises(RuntimeError) as raised:
        dynamic_call(operator, free, **{name: array})
    argument = "num_blocks of value" if "num_blocks" in rule else name
    assert str(raised.value).splitlines()[0].endswith(f"{KERNEL_SAYS}{operator}: {argument} must {rule}, got {got}")
