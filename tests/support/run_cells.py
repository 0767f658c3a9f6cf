"""Runs cases through the package's Cells, in PyNative or Graph mode: NumPy arrays in, NumPy arrays out."""

from contextlib import contextmanager
from functools import lru_cache

import mindspore as ms
import ml_dtypes
import numpy as np
from mindspore import ops

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
        names += ["key_value_head_num", "page_block_size", "layout"]
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
    """What the forward Cell returns: attention_out, softmax_max, softmax_sum; for inference attention_out alone."""
    with run_mode(mode):
        cell, inputs = forward_cell(case), forward_inputs(case, lengths)
        fill_free_memory(case)
        return to_arrays(_tuple(cell(*inputs)))


def run_gradients(case, mode="pynative", lengths="tuple"):
    """dq, dk, dv of the gradient Cell, given the oracle's forward in the case's dtype."""
    with run_mode(mode):
        given, inputs = [to_tensor(array) for array in (case.grad, *case.saved)], forward_inputs(case, lengths)
        fill_free_memory(case)
        return to_arrays(grad_cell(case)(given[0], *inputs[:3], *given[1:], *inputs[3:]))


def run_backward(case, mode="pynative", lengths="tuple", statistics_grad=0.0):
    """dq, dk, dv by differentiating the forward Cell; ``statistics_grad`` flows in through the statistics."""
    with run_mode(mode):
        inputs, statistics = forward_inputs(case, lengths), np.full((*case.query.shape[:2], 8), statistics_grad)
        statistics = to_tensor(statistics.astype(np.float32))
        differentiate = ops.GradOperation(get_all=True, sens_param=True)(forward_cell(case))
        return to_arrays(differentiate(*inputs, (to_tensor(case.grad), statistics, statistics))[:3])


def run_all(case, mode="pynative", lengths="tuple"):
    """The outputs of every operator of a case, those of the gradient Cell behind those of the forward."""
    results = run_forward(case, mode, lengths)
    return (*results, *run_gradients(case, mode, lengths)) if isinstance(case, SelectCase) else results


def check(case, mode="pynative", lengths="tuple"):
    """Asserts that every operator of the case gives the oracle's answer; returns the RMS ratios by tensor."""
    results = run_all(case, mode, lengths)
    ratios = check_forward(case, *results[:3])
    return {**ratios, **check_gradients(case, *results[3:])} if isinstance(case, SelectCase) else ratios


def fill_free_memory(case):
    """Leaves NaN, in every dtype, in the memory pool from which the outputs will be taken.

    Returns:
        list of (first, last) address.
    """
    if isinstance(case, SelectCase):
        shapes = [case.attention_out_shape, (*case.query.shape[:2], 16), case.query.shape, case.key.shape]
    else:
        shapes = [case.attention_out_shape]
    sizes = [int(np.prod(shape)) * case.dtype.itemsize for shape in shapes]
    fillings = [ops.full((size,), 255, dtype=ms.uint8) for size in sizes if size for _ in range(2)]
    for filling in fillings:
        filling.asnumpy()  # waits: the memory must be free again before the operator asks for it
    return [(filling.data_ptr(), filling.data_ptr() + filling.shape[0]) for filling in fillings]


def _tuple(outputs):
    return outputs if isinstance(outputs, tuple) else (outputs,)
