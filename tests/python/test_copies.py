# SPDX-License-Identifier: Apache-2.0
"""Cells and models that hold them are copied and pickled like any other; the copies go their own way."""

import copy
import gc
import pickle

import mindspore as ms
import pytest
from mindspore import nn

import ms_nsa
from support.malformed import FORWARD, GOOD, good_results
from support.marks import slow
from support.run_cells import run_mode, same_bits, to_arrays, to_tensor


def pickled(cell):
    return pickle.loads(pickle.dumps(cell))


def results(operator, cell):
    outputs = cell(**{name: to_tensor(value) for name, value in GOOD[operator][1].items()})
    return to_arrays(outputs if isinstance(outputs, tuple) else (outputs,))


class Model(nn.Cell):
    """A projection and the attention of its rows, as a loss."""

    def __init__(self):
        super().__init__()
        attributes, inputs = GOOD[FORWARD]
        self.project = nn.Dense(inputs["query"].shape[2], inputs["query"].shape[2])
        self.attention = ms_nsa.NsaSelectAttention(**attributes)

    def construct(self, query, key, value, topk_indices, qlen, kvlen):
        return self.attention(self.project(query), key, value, topk_indices, None, qlen, kvlen)[0].sum()

    def step(self):
        """The loss and its gradients, of query, key, value and the weights."""
        names = "query", "key", "value", "topk_indices"
        inputs = [to_tensor(GOOD[FORWARD][1][name]) for name in names]
        lengths = [ms.Tensor(GOOD[FORWARD][1][name], ms.int64) for name in ("actual_seq_qlen", "actual_seq_kvlen")]
        differentiate = ms.value_and_grad(self, (0, 1, 2), weights=self.trainable_params())
        loss, (of_inputs, of_weights) = differentiate(*inputs, *lengths)
        return to_arrays((loss, *of_inputs, *of_weights))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, slow(pickled)])
@pytest.mark.parametrize("operator", GOOD)
def test_cells(mode, operator, duplicate):
    """A copy computes the same, also when the original is no more."""
    expected = good_results(operator, "pynative")
    with run_mode(mode):
        cell = getattr(ms_nsa, operator)(**GOOD[operator][0])
        assert same_bits(results(operator, cell), expected)
        other = duplicate(cell)
        del cell
        gc.collect()
        assert same_bits(results(operator, other), expected)


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_a_model_and_its_copy_train_apart(mode, used):
    with run_mode(mode):
        model = Model()
        expected = model.step() if used else None
        teacher = copy.deepcopy(model)
        found = teacher.step()
        expected = expected or model.step()
        assert same_bits(found, expected)
        assert all(gradient.any() for gradient in found)
        teacher.project.weight.set_data(teacher.project.weight * 2)
        assert not same_bits(teacher.step(), expected)
        assert same_bits(model.step(), expected)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled])
def test_primitives(duplicate):
    """A copy is one of its own, with what was set since; the gradient Cell behind it is its own too."""
    cell = ms_nsa.NsaSelectAttention(**GOOD[FORWARD][0])
    cell._known.add_prim_attr("recompute", True)
    other = duplicate(cell)
    for name in ("_known", "_dynamic"):
        mine, its = getattr(cell, name), getattr(other, name)
        assert its is not mine and other._primitives[name] is its
        assert (its.attrs, its.instance_name) == (mine.attrs, mine.instance_name)
        assert its.made_by[1][3][1] is not mine.made_by[1][3][1]
    assert other._known.made_by[1][3][1] is other._dynamic.made_by[1][3][1]
    other._known.add_prim_attr("recompute", False)
    assert cell._known.recompute is True


def test_a_clone_that_the_parser_makes():
    cell = ms_nsa.NsaSelectAttention(**GOOD[FORWARD][0])
    assert cell._known._clone().attrs == cell._known.attrs
