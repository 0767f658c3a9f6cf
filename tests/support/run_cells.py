# SPDX-License-Identifier: Apache-2.0
"""Runs cases through the package's Cells, in PyNative or Graph mode: NumPy arrays in, NumPy arrays out."""

from contextlib import contextmanager
from functools import lru_cache

import mindspore as ms
import ml_dtypes
import numpy as np
from mindspore import mint, nn, ops

import ms_nsa

from .cases import SelectCase
from .compare import check_forward, check_gradients

MODES = {"pynative": ms.PYNATIVE_MODE, "graph": ms.GRAPH_MODE}
LENGTHS = {
    "tuple": tuple,
    "list": list,
    "int32": lambda lengths: ms.Tensor(lengths, ms.int32),
    "int64": lambda lengths: ms.Tensor(lengths, ms.int64),
}


@contextmanager
def run_mode(mode):
    """Runs the body in "pynative" or "graph" mode."""
    before = ms.get_context("mode")
    ms.set_context(mode=MODES[mode])
    try:
        yield
    finally:
        ms.set_context(mode=before)


def to_tensor(array):
    """The array as a Tensor; what is no array stays as it is."""
    return ms.Tensor(array) if isinstance(array, np.ndarray) else array


def to_strided_tensor(array):
    """The same values as a Tensor whose memory has gaps and a transposed order."""
    wide = np.zeros((*array.shape[::-1], 2), array.dtype)
    wide[..., 1] = array.T
    view = ms.Tensor(wide)[..., 1]
    for axis in range(view.ndim // 2):
        view = mint.transpose(view, axis, view.ndim - 1 - axis)
    return view


def to_array(tensor):
    array = tensor.asnumpy()
    # MindSpore brings a bfloat16 dtype of its own; its bits are those of the one in ml_dtypes.
    return array.view(np.uint16).view(ml_dtypes.bfloat16) if tensor.dtype == ms.bfloat16 else array


def to_arrays(tensors):
    return tuple(to_array(tensor) for tensor in tensors)


def same_bits(mine, its):
    """Whether two results, tuples of arrays, are bitwise equal."""
    return len(mine) == len(its) and all(a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in zip(mine, its))


@lru_cache(maxsize=512)
def _cell(kind, **attributes):
    return getattr(ms_nsa, kind)(**attributes)


def attributes_of(case, **changes):
    """Constructor arguments of the Cell that runs a case."""
    names = ["head_num", "scale_value", "select_block_size", "select_block_count", "sparse_mode"]
    if not isinstance(case, SelectCase):
        names += ["key_value_head_num", "page_block_size", "layout", "cache_layout", "return_softmax_lse"]
    return {**{name: getattr(case, name) for name in names}, **changes}


def forward_cell(case, **changes):
    """The Cell of a case's operator; the same one for the same attributes, so that graphs are compiled once."""
    kind = "NsaSelectAttention" if isinstance(case, SelectCase) else "NsaSelectedAttentionInfer"
    return _cell(kind, **attributes_of(case, **changes))


def grad_cell(case, **changes):
    return _cell("NsaSelectAttentionGrad", **attributes_of(case, **changes))


def forward_inputs(case, lengths="tuple"):
    """The positional arguments of the forward Cell; ``lengths`` is a key of LENGTHS."""
    qlen, kvlen = (
        None if values is None else LENGTHS[lengths](values) for values in (case.actual_seq_qlen, case.actual_seq_kvlen)
    )
    tensors = [to_tensor(array) for array in (case.query, case.key, case.value, case.topk_indices)]
    mask = to_tensor(case.atten_mask)
    if isinstance(case, SelectCase):
        return [*tensors, mask, qlen, kvlen]
    return [*tensors, to_tensor(case.block_table), qlen, kvlen, mask]


def run_forward(case, mode="pynative", lengths="tuple"):
    """What the forward Cell returns: attention_out, softmax_max, softmax_sum; inference may give the first alone."""
    with run_mode(mode):
        cell, inputs = forward_cell(case), forward_inputs(case, lengths)
        fill_free_memory(case)
        return to_arrays(_tuple(cell(*inputs)))


def run_gradients(case, mode="pynative", lengths="tuple", saved=None):
    """dq, dk, dv of the gradient Cell, given the forward's results; by default the oracle's in the case's dtype."""
    with run_mode(mode):
        given = [to_tensor(array) for array in (case.grad, *(saved or case.saved))]
        inputs = forward_inputs(case, lengths) + [to_tensor(array) for array in case.statistics_grad or ()]
        fill_free_memory(case)
        return to_arrays(grad_cell(case)(given[0], *inputs[:3], *given[1:], *inputs[3:]))


def run_training(case, mode="pynative", lengths="tuple"):
    """The forward Cell's outputs, and dq, dk, dv by differentiating it, from one graph."""
    with run_mode(mode):
        inputs, none = forward_inputs(case, lengths), np.zeros((*case.query.shape[:2], 8), np.float32)
        statistics = tuple(to_tensor(array) for array in case.statistics_grad or (none, none))
        step = _training_step(**attributes_of(case))
        fill_free_memory(case)
        outputs, gradients = step(*inputs, to_tensor(case.grad), *statistics)
        return to_arrays((*outputs, *gradients[:3]))


def run_operator(case, mode="pynative", lengths="tuple"):
    """All that the case's operator gives: run_training or run_forward."""
    return (run_training if isinstance(case, SelectCase) else run_forward)(case, mode, lengths)


def check(case, mode="pynative", lengths="tuple"):
    """Asserts that all of it is the oracle's answer; returns the RMS ratios by tensor."""
    results = run_operator(case, mode, lengths)
    ratios = check_forward(case, *results[:3])
    return {**ratios, **check_gradients(case, *results[3:])} if isinstance(case, SelectCase) else ratios


class _TrainingStep(nn.Cell):
    def __init__(self, **attributes):
        super().__init__()
        self.forward = ms_nsa.NsaSelectAttention(**attributes)
        self.differentiate = ops.GradOperation(get_all=True, sens_param=True)

    def construct(self, query, key, value, topk_indices, mask, qlen, kvlen, grad, max_grad, sum_grad):
        inputs = query, key, value, topk_indices, mask, qlen, kvlen
        return self.forward(*inputs), self.differentiate(self.forward)(*inputs, (grad, max_grad, sum_grad))


@lru_cache(maxsize=512)
def _training_step(**attributes):
    return _TrainingStep(**attributes)


def fill_free_memory(case):
    """Leaves NaN, in every dtype, in the memory pool from which the outputs will be taken, as far as it can be steered.

    Returns:
        list of (first, last) address.
    """
    if isinstance(case, SelectCase):
        shapes = [case.attention_out_shape, (*case.query.shape[:2], 16), case.query.shape, case.key.shape]
    else:
        shapes = [case.attention_out_shape]
    sizes = [int(np.prod(shape)) * case.dtype.itemsize for shape in shapes]
    fillings = [ops.full((size,), 255, dtype=ms.uint8) for size in sizes if size for _ in range(3)]
    for filling in fillings:
        filling.asnumpy()  # waits: the memory must be free again before the operator asks for it
    return [(filling.data_ptr(), filling.data_ptr() + filling.shape[0]) for filling in fillings]


def _tuple(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)
