# SPDX-License-Identifier: Apache-2.0
"""Correctness before speed: samples of a case's result against the float64 oracle, under the tests' bars.

The oracle at full size would take minutes. It is run on what a sample needs: a token's output and dq need its own
query alone; dK and dV of a block need every token that selects the block, and those tokens only.
"""

from dataclasses import replace

import numpy as np

from bench.cases import DECODE, FORWARD, LOCAL
from bench.inputs import one_sequence
from support import check_forward, compare_tensor, term_scales
from support.cases import SelectCase

TOKENS = 64
SEQUENCES = 3
BLOCKS = 1


class WrongResult(AssertionError):
    """The operator's result is off: its speed means nothing."""


def check(case, inputs, results):
    """Raises WrongResult unless the sampled results are right; `results` are the operator's arrays."""
    rng = np.random.default_rng(7)
    try:
        if case.operator == FORWARD:
            _check_forward(rng, case, inputs, results)
        else:
            _check_gradients(rng, case, inputs, results)
    except AssertionError as error:
        raise WrongResult(str(error)) from None


def check_decode(case, made, run):
    """The same for decode; `run` gives the output array of a call."""
    rng = np.random.default_rng(7)
    for index in _sample(rng, len(made.calls), SEQUENCES):
        attention_out = run(int(index))
        for row in _sample(rng, case.batch, SEQUENCES // min(len(made.calls), SEQUENCES)):
            try:
                check_forward(one_sequence(case, made, made.calls[index], row), attention_out[row : row + 1])
            except AssertionError as error:
                raise WrongResult(str(error)) from None


def _sample(rng, population, count):
    return np.sort(rng.choice(population, min(population, count), replace=False))


def of_tokens(case, inputs, tokens):
    """The SelectCase of some tokens; the causal rule becomes the mask that says the same of them."""
    mask = None
    if case.selection == LOCAL:
        mask = np.arange(case.t2) > tokens[:, None] + case.t2 - case.t1
    rows = {name: getattr(inputs, name)[tokens] for name in ("query", "grad", "topk_indices")}
    return replace(inputs, **rows, atten_mask=mask, sparse_mode=0)


def _check_forward(rng, case, inputs, results):
    tokens = _sample(rng, case.t1, TOKENS)
    check_forward(of_tokens(case, inputs, tokens), *(result[tokens] for result in results))


def _check_gradients(rng, case, inputs, results):
    dq, dk, dv = results[:3]
    tokens = _sample(rng, case.t1, TOKENS)
    sample = of_tokens(case, inputs, tokens)
    _check_part(sample, {"dq": (dq[tokens], slice(None))})
    for head in _sample(rng, case.n2, BLOCKS):
        block = int(rng.integers(0, -(-case.t2 // case.select_block_size)))
        tokens = np.flatnonzero((inputs.topk_indices[:, head] == block).any(axis=-1))
        if len(tokens):
            rows = slice(block * case.select_block_size, (block + 1) * case.select_block_size)
            sample = _of_head(case, of_tokens(case, inputs, tokens), head)
            heads = slice(head, head + 1)
            _check_part(sample, {"dk": (dk[rows, heads], rows), "dv": (dv[rows, heads], rows)})


def _of_head(case, sample: SelectCase, head):
    """One kv head of a case, with its group of query heads."""
    group, heads = slice(head * case.group, (head + 1) * case.group), slice(head, head + 1)
    return replace(
        sample,
        query=sample.query[:, group],
        grad=sample.grad[:, group],
        key=sample.key[:, heads],
        value=sample.value[:, heads],
        topk_indices=sample.topk_indices[:, heads],
    )


def _check_part(sample, parts):
    """Compares some rows of some gradients of a case."""
    expected = dict(zip(("dq", "dk", "dv"), sample.gradients))
    terms = term_scales(sample, gradients=True)
    for name, (actual, rows) in parts.items():
        failure = compare_tensor(actual, expected[name][rows], "grad", sample.dtype, terms[name][rows]).failure
        assert not failure, f"{name} {failure}"


def check_operator(case, inputs, call, as_arrays):
    """Gate of one case: `call` runs the operator, `as_arrays` turns its result into arrays."""
    if case.operator == DECODE:
        check_decode(case, inputs, lambda index: as_arrays(call.run(index))[0])
    else:
        check(case, inputs, as_arrays(call()))
