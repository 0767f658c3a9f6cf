"""Malformed calls raise the documented error with its exact sentence, and the process goes on and computes right."""

import json
import subprocess
import sys

import pytest

from support import check_forward, check_gradients, fingerprints
from support.malformed import CALLS, FORWARD, GOOD, GRAD, INFER, REFUSED_BY_KERNELS, good_case, good_results
from support.run_cells import same_bits

BEFORE_RUNNING = [call for call in CALLS if not call.by_kernel]
# MindSpore waits 3 seconds after an error of a kernel in Graph mode, so several processes share the waiting.
WORKERS = 5


def ids(calls):
    return [f"{number}-{call.sentence[:70]}" for number, call in enumerate(calls)]


def first_of_each_rule():
    """Compiling every call takes minutes: without the mark slow, one call stands for each rule."""
    seen = set()
    for call in BEFORE_RUNNING:
        yield pytest.param(call, marks=[pytest.mark.slow] if call.rule in seen else [])
        seen.add(call.rule)


@pytest.fixture(scope="module")
def expected():
    """Results of the good calls by operator, proven right."""
    results = {operator: good_results(operator, "pynative") for operator in GOOD}
    check_forward(good_case(), *results[FORWARD])
    check_gradients(good_case(), *results[GRAD])
    check_forward(good_case("BSND"), *results[INFER])
    return results


@pytest.fixture(scope="module")
def in_graph_mode():
    """Starts the processes that make the calls; a function that waits for the outcome of one call."""
    command = [sys.executable, "-m", "support.malformed"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": fingerprints.environment()}
    processes = [subprocess.Popen([*command, str(part), str(WORKERS)], **options) for part in range(WORKERS)]
    found = {}

    def outcome(number):
        process = processes[number % WORKERS]
        if number not in found:
            output, errors = process.communicate()
            assert process.returncode == 0, errors
            lines = [json.loads(line) for line in output.splitlines() if line.startswith("[")]
            found.update({line[0]: line[1:] for line in lines})
        return found[number]

    yield outcome
    for process in processes:
        process.kill()
        process.wait()


def test_there_are_enough_of_them():
    assert len({(call.operator, call.rule) for call in CALLS}) >= 200


@pytest.mark.parametrize("call", CALLS, ids=ids(CALLS))
def test_pynative_mode(expected, call):
    assert call.outcome("pynative") == (call.error.__name__, call.sentence)
    assert same_bits(good_results(call.operator, "pynative"), expected[call.operator])


@pytest.mark.parametrize("call", list(first_of_each_rule()), ids=ids(BEFORE_RUNNING))
def test_refused_before_running_in_graph_mode(in_graph_mode, expected, call):
    assert call.outcome("graph") == (call.error.__name__, call.sentence)
    assert same_bits(good_results(call.operator, "graph"), expected[call.operator])


@pytest.mark.parametrize("number", range(len(REFUSED_BY_KERNELS)), ids=ids(REFUSED_BY_KERNELS))
def test_refused_by_the_kernel_in_graph_mode(in_graph_mode, number):
    """The last test, because the processes wait while the one before it compiles."""
    error, sentence, goes_on = in_graph_mode(number)
    call = REFUSED_BY_KERNELS[number]
    assert (error, sentence) == (call.error.__name__, call.sentence)
    assert goes_on
