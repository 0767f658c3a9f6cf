# SPDX-License-Identifier: Apache-2.0
"""Malformed calls of the family's Cells raise the documented error with its exact sentence; the process goes on."""

import pytest

from support.malformed import good_results
from support.malformed_family import CALLS, GOOD
from support.marks import slow
from support.run_cells import same_bits


def ids(calls):
    return [f"{number}-{call.sentence[:70]}" for number, call in enumerate(calls)]


@pytest.fixture(scope="module")
def expected():
    return {operator: good_results(operator, "pynative", GOOD) for operator in GOOD}


def in_graph_mode():
    """Of what is refused after the Cell was made and before it runs, one call per operator and rule; most are slow."""
    seen = set()
    for number, call in enumerate(CALLS):
        # Wrong attributes are refused by the constructor, which knows no mode.
        made_before = call.attributes == GOOD[call.operator][0]
        if call.by_kernel or call.rule in seen or not made_before:
            continue
        seen.add(call.rule)
        yield pytest.param(call, marks=[] if number % 23 == 0 else [pytest.mark.slow], id=ids([call])[0])


def test_there_are_enough_of_them():
    assert len({(call.operator, call.rule) for call in CALLS}) >= 200


@pytest.mark.parametrize("call", CALLS, ids=ids(CALLS))
def test_pynative_mode(expected, call):
    assert call.outcome("pynative") == (call.error.__name__, call.sentence)
    assert same_bits(good_results(call.operator, "pynative", GOOD), expected[call.operator])


@pytest.mark.parametrize("call", list(in_graph_mode()))
def test_graph_mode(expected, call):
    assert call.outcome("graph") == (call.error.__name__, call.sentence)
    assert same_bits(good_results(call.operator, "graph", GOOD), expected[call.operator])


@pytest.mark.parametrize("operator", [slow(operator) if at % 4 else operator for at, operator in enumerate(GOOD)])
def test_kernels_refuse_in_graph_mode(expected, operator):
    """One call an operator: MindSpore waits three seconds after each."""
    call = next((call for call in CALLS if call.operator == operator and call.by_kernel), None)
    assert call is not None
    assert call.outcome("graph") == (call.error.__name__, call.sentence)
    assert same_bits(good_results(operator, "graph", GOOD), expected[operator])
