# SPDX-License-Identifier: Apache-2.0
"""The Cells behind the functional forms: kept for the next call, and given up after an error."""

import numpy as np
import pytest

import ms_nsa
from ms_nsa.cells import CellCache, OperatorCell
from support.malformed import FORWARD, GOOD, INFER, KERNEL_SAYS, good_results
from support.run_cells import run_mode, same_bits, to_arrays, to_tensor

FUNCTIONS = {FORWARD: ms_nsa.nsa_select_attention, INFER: ms_nsa.nsa_select_attention_infer}


def call(operator, **changes):
    """The good call of the functional form, with other inputs."""
    attributes, inputs = GOOD[operator]
    inputs = {name: to_tensor(value) for name, value in {**inputs, **changes}.items()}
    outputs = FUNCTIONS[operator](scale_value=None, **attributes, **inputs)
    return to_arrays(outputs if isinstance(outputs, tuple) else (outputs,))


@pytest.mark.parametrize("operator", FUNCTIONS)
def test_a_wrong_value_ends_nothing(mode, operator):
    """MindSpore does not run a graph again that failed: the next call makes a Cell anew."""
    expected = good_results(operator, "pynative")
    wrong = GOOD[operator][1]["topk_indices"].copy()
    wrong[(1,) + (0,) * (wrong.ndim - 1)] = 99
    with run_mode(mode):
        for _ in range(2):
            assert same_bits(call(operator), expected)
            with pytest.raises(RuntimeError, match=f"{KERNEL_SAYS}{operator}: topk_indices must be below .*, got 99 "):
                call(operator, topk_indices=wrong)
        assert same_bits(call(operator), expected)


class Refusing(OperatorCell):
    def construct(self, refused):
        if refused:
            raise ValueError("refused")
        return refused


def test_a_cell_is_kept_until_it_raises(graph_mode):
    cache = CellCache(lambda *arguments: Refusing())
    cell = cache(6)
    assert not cell(False)
    assert cache(6) is cell
    with pytest.raises(ValueError, match="refused"):
        cell(True)
    assert cache(6) is not cell


def test_arguments_are_told_apart_by_type():
    cache = CellCache(lambda *arguments: Refusing())
    assert len({id(cache(value)) for value in (1, 1.0, True, np.int64(1))}) == 4


def test_the_least_used_cell_goes_first():
    cache = CellCache(lambda *arguments: Refusing(), capacity=2)
    first, second = cache(1), cache(2)
    assert cache(1) is first
    cache(3)
    assert cache(1) is first
    assert cache(2) is not second
