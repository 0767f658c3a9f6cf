# SPDX-License-Identifier: Apache-2.0
"""Lengths and indices in the forms that users have them in: lists, NumPy arrays, int64 indices."""

import inspect
from functools import partial

import mindspore as ms
import numpy as np
import pytest
from mindspore import ops

import ms_nsa
from support.malformed import FORWARD, GOOD, INFER, KERNEL_SAYS, good_results
from support.run_cells import run_mode, same_bits, to_arrays, to_tensor

LENGTHS = "actual_seq_qlen", "actual_seq_kvlen"
FORMS = {
    "list": list,
    "list of NumPy ints": lambda lengths: list(np.int64(lengths)),
    "int64 array": np.int64,
    "uint8 array": np.uint8,
    "big-endian array": lambda lengths: np.array(lengths, ">i4"),
    "view": lambda lengths: np.repeat(np.int64(lengths), 2)[::2],
}
IN_GRAPHS = ["list", "list of NumPy ints", "int64 array"]  # which see tuples and Tensors
BEYOND = [2**31, 2**32, 2**32 + 1, 2**63 - 1]
FUNCTIONS = {FORWARD: ms_nsa.nsa_select_attention, INFER: ms_nsa.nsa_select_attention_infer}


def cell_of(operator):
    return getattr(ms_nsa, operator)(**GOOD[operator][0])


def good_lengths(operator, form):
    return {name: FORMS[form](GOOD[operator][1][name].asnumpy().tolist()) for name in LENGTHS}


def call(function, operator, **changes):
    """The good call with other inputs, which are given as they are."""
    inputs = {name: to_tensor(value) for name, value in GOOD[operator][1].items()}
    outputs = function(**{**inputs, **changes})
    return to_arrays(outputs if isinstance(outputs, tuple) else (outputs,))


def by_position(cell):
    """The same call with no names."""
    return lambda **inputs: cell(*map(inputs.get, inspect.signature(cell.construct).parameters))


def in_order(cell, inputs):
    return [inputs[name] for name in inspect.signature(cell.construct).parameters if name in inputs]


def functional(operator):
    return partial(FUNCTIONS[operator], scale_value=None, **GOOD[operator][0])


@pytest.mark.parametrize("operator", GOOD)
def test_lengths(mode, compiled, operator):
    """Equal lists are one graph, and an array becomes a Tensor, whose values are no part of one."""
    expected, cell = good_results(operator, "pynative"), cell_of(operator)
    calls = [cell, by_position(cell)] + ([functional(operator)] if operator in FUNCTIONS and mode == "pynative" else [])
    with run_mode(mode):
        for form in FORMS if mode == "pynative" else IN_GRAPHS:
            for function in calls:
                assert same_bits(call(function, operator, **good_lengths(operator, form)), expected)
        assert len(compiled) == (2 if mode == "graph" else 0)


@pytest.mark.parametrize("operator", FUNCTIONS)
def test_lists_and_arrays_through_the_functional_forms(graph_mode, compiled, operator):
    expected = good_results(operator, "pynative")
    first = len(compiled)
    for form in ("list", "int64 array", "list", "int64 array"):
        assert same_bits(call(functional(operator), operator, **good_lengths(operator, form)), expected)
    assert len(compiled) - first <= 2


@pytest.mark.parametrize("operator", GOOD)
def test_int64_indices(mode, operator):
    """Beyond int32 an index stays what it is, out of range or nothing, and wraps to no other."""
    indices = GOOD[operator][1]["topk_indices"]
    with run_mode(mode):
        cell = cell_of(operator)
        int32 = call(cell, operator, topk_indices=ms.Tensor(np.where(indices == indices.flat[0], -1, indices)))
        int64 = np.where(indices == indices.flat[0], -(2**32) + 1, indices.astype(np.int64))
        assert same_bits(call(cell, operator, topk_indices=ms.Tensor(int64)), int32)
        int64.flat[0] = indices.flat[0]
        for far in BEYOND if mode == "pynative" else BEYOND[1:2]:
            assert same_bits(call(cell, operator), good_results(operator, "pynative"))
            int64.flat[-1] = far
            message = f"{KERNEL_SAYS}{operator}: topk_indices must be below .*, got 2147483647 "
            with pytest.raises(RuntimeError, match=message):
                call(cell, operator, topk_indices=ms.Tensor(int64))


def test_int64_indices_have_gradients_of_their_dtype(mode):
    inputs = {name: to_tensor(value) for name, value in GOOD[FORWARD][1].items()}
    cell = cell_of(FORWARD)
    order = in_order(cell, inputs)

    def loss(*given):
        return (cell(*given)[0] ** 2).sum()

    found = []
    with run_mode(mode):
        for indices in (order[3], ms.Tensor(order[3].asnumpy().astype(np.int64))):
            *gradients, of_indices = ms.grad(loss, (0, 1, 2, 3))(*order[:3], indices, *order[4:])
            assert (of_indices.dtype, of_indices.shape) == (indices.dtype, indices.shape)
            assert not of_indices.asnumpy().any()
            found.append(to_arrays(gradients))
    assert all(gradient.any() for gradient in found[0])
    assert same_bits(*found)


@pytest.mark.parametrize("operator", GOOD)
def test_int64_indices_in_dynamic_graphs(graph_mode, compiled, operator):
    inputs = {name: to_tensor(value) for name, value in GOOD[operator][1].items()}
    inputs["topk_indices"] = ms.Tensor(GOOD[operator][1]["topk_indices"].astype(np.int64))
    cell = cell_of(operator)
    given = in_order(cell, inputs)
    cell.set_inputs(*(ms.Tensor(shape=[None] * tensor.ndim, dtype=tensor.dtype) for tensor in given))
    outputs = cell(*given)
    outputs = to_arrays(outputs if isinstance(outputs, tuple) else (outputs,))
    assert same_bits(outputs, good_results(operator, "pynative"))


@pytest.mark.parametrize(
    ("array", "error", "sentence"),
    [
        (np.ones(2), TypeError, "be a tuple, list or NumPy array of int, or an int32 or int64 Tensor, got array"),
        (np.ones(2, bool), TypeError, "be a tuple, list or NumPy array of int, or an int32 or int64 Tensor, got array"),
        (np.zeros(0, np.int64), ValueError, "hold at least one length, got"),
        (np.uint64([3, 2**64 - 1]), RuntimeError, f"end at T1 = 7, got {2**63 - 1}"),
        (np.int64([[3, 7]]), ValueError, "have rank 1"),
    ],
)
def test_arrays_that_are_no_lengths(mode, array, error, sentence):
    with run_mode(mode), pytest.raises(error, match=f"{FORWARD}: actual_seq_qlen must {sentence}"):
        call(cell_of(FORWARD), FORWARD, actual_seq_qlen=array)


@pytest.mark.parametrize(("mode", "form"), [("pynative", "list"), ("pynative", "int64 array"), ("graph", "list")])
def test_gradients_with_lengths_of_every_form(mode, form):
    """MindSpore finds the Cell by the inputs it was called with; in Graph mode its gradients take no arrays."""
    inputs = {name: to_tensor(value) for name, value in GOOD[FORWARD][1].items()}
    cell = cell_of(FORWARD)
    tensors = in_order(cell, inputs)[:5]
    found = []
    with run_mode(mode):
        for make in (tuple, FORMS[form]):
            gradients = ops.GradOperation(get_all=True)(cell)(*tensors, make([3, 7]), make([9, 20]))
            found.append(to_arrays(gradients[:3]))
    assert all(gradient.any() for gradient in found[0])
    assert same_bits(*found)


@pytest.mark.parametrize("form", ["list", "int64 array"])
def test_constants_of_a_compiled_function(form):
    """Such a function may hold lengths, or be given others."""
    inputs = {name: to_tensor(value) for name, value in GOOD[FORWARD][1].items()}
    query, key, value, indices = (inputs[name] for name in ("query", "key", "value", "topk_indices"))
    held, cell = FORMS[form]([9, 20]), cell_of(FORWARD)

    @ms.jit
    def attend(query, key, value, indices, qlen):
        return cell(query, key, value, indices, None, qlen, held)

    for ends in ([3, 7], [2, 7]):
        found = to_arrays(attend(query, key, value, indices, FORMS[form](ends)))
        assert same_bits(found, to_arrays(cell(query, key, value, indices, None, tuple(ends), (9, 20))))


def test_an_array_may_change_after_the_call():
    ends = np.int64([3, 7])
    outputs = cell_of(FORWARD)(**{**{k: to_tensor(v) for k, v in GOOD[FORWARD][1].items()}, "actual_seq_qlen": ends})
    ends[:] = 99
    assert same_bits(to_arrays(outputs), good_results(FORWARD, "pynative"))
