# SPDX-License-Identifier: Apache-2.0
"""What has no gradient says so in one sentence, and only where one is asked for."""

import inspect

import mindspore as ms
import pytest
from mindspore import ops

import ms_nsa
from support.malformed import FORWARD, GOOD, GRAD, INFER
from support.run_cells import run_mode, to_tensor

SENTENCES = {
    GRAD: "gradients of the gradient are not defined",
    INFER: "gradients are not defined, those of NsaSelectAttention are",
}


def loss_of(operator):
    """Sum of squares of what the good call gives, as a function of its query, key and value, and these."""
    attributes, arrays = GOOD[operator]
    cell, inputs = getattr(ms_nsa, operator)(**attributes), {name: to_tensor(value) for name, value in arrays.items()}
    given = [inputs[name] for name in inspect.signature(cell.construct).parameters if name in inputs]
    first = 1 if operator == GRAD else 0
    ahead, tensors, rest = given[:first], given[first : first + 3], given[first + 3 :]

    def loss(query, key, value):
        outputs = cell(*ahead, query, key, value, *rest)
        return ((outputs[0] if operator != INFER else outputs) ** 2).sum()

    return loss, tensors


def second_order():
    loss, tensors = loss_of(FORWARD)

    def square(query, key, value):
        return (ms.grad(loss)(query, key, value) ** 2).sum()

    return ms.grad(square)(*tensors)


def forward_mode():
    loss, tensors = loss_of(FORWARD)
    return ms.jvp(loss, tuple(tensors), tuple(tensors))


def of_the_gradient_cell():
    loss, tensors = loss_of(GRAD)
    return ms.grad(loss)(*tensors)


def of_decoding():
    loss, tensors = loss_of(INFER)
    return ms.grad(loss)(*tensors)


@pytest.mark.parametrize("differentiate", [second_order, forward_mode, of_the_gradient_cell, of_decoding])
def test_one_sentence(mode, differentiate):
    operator = INFER if differentiate is of_decoding else GRAD
    with run_mode(mode), pytest.raises(RuntimeError) as raised:
        differentiate()
    assert str(raised.value).splitlines()[0] == f"{operator}: {SENTENCES[operator]}"


@pytest.mark.parametrize("operator", [GRAD, INFER])
def test_beside_what_is_differentiated(mode, operator):
    loss, tensors = loss_of(operator)

    def weighted(query, key, value):
        return ops.stop_gradient(loss(query, key, value)) * key.sum()

    with run_mode(mode):
        found = ms.grad(weighted, (0, 1, 2))(*tensors)
        expected = loss(*tensors).asnumpy()
    assert not found[0].asnumpy().any() and not found[2].asnumpy().any()
    assert (found[1].asnumpy() == expected).all()
