# SPDX-License-Identifier: Apache-2.0
"""MindSpore's mixed precision casts the inputs of a Cell's operators: values, dtypes and gradients are of the cast."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import amp, nn, ops

import ms_nsa
from support import DTYPES, make_paged_case, make_select_case, run_cells
from support.run_cells import attributes_of, run_mode, same_bits, to_arrays, to_tensor

SIZES = {"n2": 2, "group": 3, "d1": 16, "d2": 16, "select_block_size": 4, "select_block_count": 3}
# What the Cell computes in, and what the model gives.
KINDS = {
    "O0": ("float32", "float32"),
    "O2": ("float16", "float32"),
    "O3": ("float16", "float32"),
    "auto": ("float16", "float16"),  # which casts what it knows, as nn.Dense, and leaves the Cell's inputs as they are
    "to_float float16": ("float16", "float16"),
    "to_float bfloat16": ("bfloat16", "bfloat16"),
}


def select_case():
    return make_select_case(np.random.default_rng(5), DTYPES["float16"], [3, 4], [40, 50], **SIZES)


def paged_case():
    sizes = {"page_block_size": 8, **SIZES}
    return make_paged_case(np.random.default_rng(6), DTYPES["float16"], "BSND", 2, (2, 1), [40, 33], **sizes)


def as_float32(case):
    """The inputs, which float16 holds, and the gradient, in float32."""
    inputs = [ms.Tensor(getattr(case, name).astype(np.float32)) for name in ("query", "key", "value")]
    return inputs, ms.Tensor(case.grad.astype(np.float32)) if hasattr(case, "grad") else None


class Model(nn.Cell):
    """Attention whose query, or all of it, comes from a projection: in float16, while other inputs may be float32."""

    def __init__(self, case, projects=0):
        super().__init__()
        self.attention = getattr(ms_nsa, CELLS[type(case)])(**run_cells.attributes_of(case))
        width = case.query.shape[-1]
        weights = ms.Tensor(np.eye(width, dtype=np.float32))
        self.project = nn.Dense(width, width, weight_init=weights, has_bias=False)
        self.projects = projects
        self.rest = run_cells.forward_inputs(case, "int64")[3:]

    def construct(self, query, key, value):
        if self.projects:
            query = self.project(query)
        if self.projects == 3:
            key, value = self.project(key), self.project(value)
        outputs = self.attention(query, key, value, *self.rest)
        return outputs if isinstance(outputs, tuple) else (outputs,)


class ByHand(Model):
    """The same with casts around the operator."""

    def __init__(self, case, inside, outside):
        super().__init__(case)
        self.inside, self.outside = getattr(ms, inside), getattr(ms, outside)

    def construct(self, query, key, value):
        tensors = query.astype(self.inside), key.astype(self.inside), value.astype(self.inside)
        outputs = self.attention(*tensors, *self.rest)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return outputs[0].astype(self.outside), *outputs[1:]


CELLS = {type(select_case()): "NsaSelectAttention", type(paged_case()): "NsaSelectedAttentionInfer"}


def converted(kind, case):
    if not kind.startswith("to_float"):
        return amp.auto_mixed_precision(Model(case, projects=3 if kind == "auto" else 1), kind)
    dtype = kind.split()[1]  # bfloat16 has no MatMul
    return Model(case, projects=1 if dtype == "float16" else 0).to_float(getattr(ms, dtype))


def results(model, case):
    """Outputs and their dtypes, and the gradients of a training model."""
    inputs, grad = as_float32(case)
    if grad is None:
        outputs = model(*inputs)
        return [str(tensor.dtype) for tensor in outputs], to_arrays(outputs)

    def loss(query, key, value):
        outputs = model(query, key, value)
        return (ops.cast(outputs[0], ms.float32) * grad).sum(), outputs

    (_, outputs), gradients = ms.value_and_grad(loss, (0, 1, 2), has_aux=True)(*inputs)
    tensors = (*outputs, *gradients)
    return [str(tensor.dtype) for tensor in tensors], to_arrays(tensors)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [select_case, paged_case])
def test_mixed_precision(mode, kind, make):
    case = make()
    inside, outside = KINDS[kind]
    with run_mode(mode):
        dtypes, found = results(converted(kind, case), case)
    expected_dtypes, expected = results(ByHand(case, inside, outside), case)
    assert dtypes == expected_dtypes
    assert same_bits(found, expected)
    assert all(array.any() for array in found)


def test_statistics_in_16_bits_are_refused_by_name(mode):
    """The gradient Cell alone under to_float is given what the forward would have had in float32."""
    case = make_select_case(np.random.default_rng(5), DTYPES["float32"], [3, 4], [40, 50], **SIZES)
    cell = ms_nsa.NsaSelectAttentionGrad(**attributes_of(case))
    inputs = [to_tensor(array) for array in (case.grad, case.query, case.key, case.value, *case.saved)]
    with run_mode(mode), pytest.raises(TypeError, match=r"^NsaSelectAttentionGrad: softmax_max must have"):
        cell.to_float(ms.float16)(*inputs, to_tensor(case.topk_indices))
