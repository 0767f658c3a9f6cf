"""Malformed calls: each raises the documented error in both modes, and a good call still computes right after it."""

import re

import mindspore as ms
import numpy as np
import pytest
from error_cases import ATTRIBUTE_CASES, CALL_CASES, GOOD, KERNEL, Case, build, good_arguments

from support import run_cells
from support.run_cells import run_mode

OPERATORS = list(GOOD)


def call(operator, arguments, attributes):
    """Calls a fresh Cell: after an error in a kernel MindSpore does not run the compiled graph again."""
    outputs = build(operator, attributes)(*arguments)
    return [output.asnumpy() for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


@pytest.fixture(scope="module")
def expected():
    """What the good call of every operator gives."""
    return {operator: call(operator, good_arguments(operator), {}) for operator in OPERATORS}


def test_there_are_two_hundred_malformed_calls():
    assert len(ATTRIBUTE_CASES) + len(CALL_CASES) >= 200
    assert len({str(case) for case in ATTRIBUTE_CASES + CALL_CASES}) == len(ATTRIBUTE_CASES) + len(CALL_CASES)


@pytest.mark.parametrize("case", ATTRIBUTE_CASES, ids=str)
def test_wrong_attributes(case):
    with pytest.raises(case.error, match=exactly(case)) as raised:
        build(case.operator, case.attributes)
    assert raised.type is case.error


@pytest.mark.parametrize("case", CALL_CASES, ids=str)
def test_wrong_inputs(case, mode, expected):
    with run_mode(mode):
        arguments = good_arguments(case.operator, **case.inputs)
        with pytest.raises(case.error, match=exactly(case)) as raised:
            call(case.operator, arguments, case.attributes)
        assert raised.type is case.error
        if mode == "pynative":  # a fresh graph for every case would take minutes
            found = call(case.operator, good_arguments(case.operator), {})
            assert run_cells.same_bits(found, expected[case.operator])


@pytest.mark.parametrize("operator", OPERATORS)
def test_good_calls_compute_right_after_all_of_them(operator, mode, expected):
    with run_mode(mode):
        assert run_cells.same_bits(call(operator, good_arguments(operator), {}), expected[operator])


def exactly(case: Case):
    """The sentence alone from Python's checks; inside MindSpore's report from a kernel."""
    sentence = re.escape(f"{case.operator}: {case.sentence}")
    return rf"{sentence}(\n|$)" if case.error is KERNEL else rf"^{sentence}(\n|$)"


@pytest.mark.parametrize("values", [[2, 7], [2, 1], [-1, 6]])
def test_lengths_are_checked_in_graphs_with_dynamic_shapes(values):
    with run_mode("graph"):
        cell = build("NsaSelectAttention", {})
        arguments = good_arguments("NsaSelectAttention", actual_seq_qlen=ms.Tensor(values, ms.int64))
        shapes = [ms.Tensor(shape=[None, *tensor.shape[1:]], dtype=tensor.dtype) for tensor in arguments[:4]]
        lengths = ms.Tensor(shape=[None], dtype=ms.int64)
        cell.set_inputs(*shapes, arguments[4], lengths, lengths)
        arguments[6] = ms.Tensor(arguments[6], ms.int64)
        with pytest.raises(RuntimeError, match="NsaSelectAttention: actual_seq_qlen must"):
            cell(*arguments)[0].asnumpy()


def test_extents_are_checked_in_graphs_with_dynamic_shapes():
    with run_mode("graph"):
        cell = build("NsaSelectAttention", {})
        arguments = good_arguments("NsaSelectAttention", actual_seq_qlen=None, actual_seq_kvlen=None)
        shapes = [ms.Tensor(shape=[None] * tensor.ndim, dtype=tensor.dtype) for tensor in arguments[:4]]
        cell.set_inputs(*shapes, *arguments[4:])
        arguments[2] = ms.Tensor(np.zeros((21, 2, 5), np.float32))
        sentence = "NsaSelectAttention: value must have shape [T2, N2, D2] = [20, 2, 5], got shape [21, 2, 5]"
        with pytest.raises(RuntimeError, match=re.escape(sentence)):
            cell(*arguments)[0].asnumpy()
