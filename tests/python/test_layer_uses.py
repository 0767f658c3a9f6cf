# SPDX-License-Identifier: Apache-2.0
"""The training layer as models use it: copies, recomputation, mixed precision, dynamic shapes, resuming."""

import copy

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, amp, nn
from test_layer import ENDS, inputs, make_layer, random_sens, results_and_gradients

from support.marks import slow
from support.run_cells import run_mode, same_bits


def test_a_copy_goes_its_own_way():
    layer, x = make_layer(), Tensor(inputs())
    twin, expected = copy.deepcopy(layer), layer(x, ENDS).asnumpy()
    assert twin(x, ENDS).asnumpy().tobytes() == expected.tobytes()
    twin.to_out.weight.set_data(2 * twin.to_out.weight.value())
    np.testing.assert_allclose(twin(x, ENDS).asnumpy(), 2 * expected, rtol=1e-5)
    assert layer(x, ENDS).asnumpy().tobytes() == expected.tobytes()


@pytest.mark.slow
def test_recomputation_gives_the_same_bits():
    x, lengths, sens = Tensor(inputs()), Tensor(ENDS, ms.int64), random_sens()
    with run_mode("graph"):
        expected = results_and_gradients(make_layer(), x, lengths, sens)
        layer = make_layer()
        layer.recompute()
        assert same_bits(results_and_gradients(layer, x, lengths, sens), expected)
    for ours, theirs in zip(expected, results_and_gradients(make_layer(), x, ENDS, sens)):  # in the other mode
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("level", "mode"), [("O2", "pynative"), ("O3", "pynative"), ("auto", "pynative"), slow("O2", "graph")]
)
def test_mixed_precision(level, mode):
    x, sens = Tensor(inputs()), random_sens()
    expected = results_and_gradients(make_layer(), x, ENDS, sens)
    with run_mode(mode):
        found = results_and_gradients(amp.auto_mixed_precision(make_layer(), level), x, ENDS, sens)
    for ours, theirs in zip(found[1:], expected[1:]):
        ours = ours.astype(np.float64)
        assert np.sqrt(((ours - theirs) ** 2).mean()) < 0.1 * np.sqrt((theirs.astype(np.float64) ** 2).mean())


def test_dynamic_shapes():
    layer = make_layer()
    expected = {ends: layer(Tensor(inputs(ends[-1])), ends).asnumpy() for ends in ((20, 57), (4, 4, 31))}
    layer.set_inputs(Tensor(shape=[None, 24], dtype=ms.float32), Tensor(shape=[None], dtype=ms.int64))
    with run_mode("graph"):
        for ends, right in expected.items():
            found = layer(Tensor(inputs(ends[-1])), Tensor(ends, ms.int64))
            np.testing.assert_allclose(found.asnumpy(), right, rtol=1e-4, atol=1e-5)


def train(layer, optimizer, steps):
    def loss(x):
        return ((layer(x, ENDS) - x) ** 2).mean()

    step = ms.value_and_grad(loss, None, optimizer.parameters)
    losses = []
    for number in steps:
        value, gradients = step(Tensor(inputs(seed=number)))
        optimizer(gradients)
        losses.append(float(value.asnumpy()))
    return losses


def test_training_resumes_with_the_same_bits(tmp_path):
    layer = make_layer()
    optimizer = nn.Adam(layer.trainable_params(), 1e-2)
    train(layer, optimizer, range(2))
    ms.save_checkpoint(optimizer, str(tmp_path / "state.ckpt"))  # which holds the weights as well
    expected = train(layer, optimizer, range(2, 4))
    layer = make_layer(seed=9)
    optimizer = nn.Adam(layer.trainable_params(), 1e-2)
    ms.load_param_into_net(optimizer, ms.load_checkpoint(str(tmp_path / "state.ckpt")))
    assert train(layer, optimizer, range(2, 4)) == expected
    assert len(set(expected)) == 2
