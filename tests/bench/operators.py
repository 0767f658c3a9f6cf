# SPDX-License-Identifier: Apache-2.0
"""Calls of the operators through their Cells in PyNative, from NumPy inputs to awaited results."""

import contextlib

import mindspore as ms
import numpy as np
from mindspore import nn, ops

import ms_nsa
from bench.cases import BACKWARD, DECODE, FORWARD
from ms_nsa import backend


def tensor(array):
    return None if array is None else ms.Tensor(np.ascontiguousarray(array))


@contextlib.contextmanager
def forced_isa(isa):
    """Runs the kernels of another instruction set; None leaves the one in use."""
    before = backend.current_isa()
    backend.select_isa(isa or before)
    try:
        yield backend.current_isa()
    finally:
        backend.select_isa(before)


def await_result(result):
    """Waits for a PyNative result; its memory is shared with NumPy, not copied."""
    first = result[0] if isinstance(result, tuple) else result
    first.asnumpy()
    return result


def as_arrays(result):
    return [part.asnumpy() for part in (result if isinstance(result, tuple) else (result,))]


class _OutputOnly(nn.Cell):
    """The training Cell as a network sees it: attention_out alone, to be differentiated by MindSpore."""

    def __init__(self, attention, topk_indices):
        super().__init__()
        self.attention, self.topk_indices = attention, topk_indices

    def construct(self, query, key, value):
        return self.attention(query, key, value, self.topk_indices)[0]


def _training_attributes(inputs):
    return {
        "head_num": inputs.head_num,
        "select_block_size": inputs.select_block_size,
        "select_block_count": inputs.select_block_count,
        "sparse_mode": inputs.sparse_mode,
    }


def forward_call(inputs):
    cell = ms_nsa.NsaSelectAttention(**_training_attributes(inputs))
    arguments = [tensor(getattr(inputs, name)) for name in ("query", "key", "value", "topk_indices")]
    return lambda: cell(*arguments)


def backward_call(inputs):
    """The gradient Cell alone, given what the forward Cell returns."""
    cell = ms_nsa.NsaSelectAttentionGrad(**_training_attributes(inputs))
    saved = await_result(forward_call(inputs)())
    grad, query, key, value = (tensor(getattr(inputs, name)) for name in ("grad", "query", "key", "value"))
    arguments = [grad, query, key, value, *saved, tensor(inputs.topk_indices)]
    return lambda: cell(*arguments)


def training_call(inputs):
    """Forward and gradient as MindSpore's automatic differentiation runs them."""
    network = _OutputOnly(ms_nsa.NsaSelectAttention(**_training_attributes(inputs)), tensor(inputs.topk_indices))
    gradient = ops.GradOperation(get_all=True, sens_param=True)(network)
    arguments = [tensor(getattr(inputs, name)) for name in ("query", "key", "value", "grad")]
    return lambda: gradient(*arguments)


class DecodeCalls:
    """Decode calls over one cache, each time the next of the prepared ones."""

    def __init__(self, case, made):
        self._cell = ms_nsa.NsaSelectedAttentionInfer(
            head_num=case.n1,
            key_value_head_num=case.n2,
            select_block_size=case.select_block_size,
            select_block_count=case.select_block_count,
            page_block_size=case.page_block_size,
        )
        self._key, self._value = tensor(made.key), tensor(made.value)
        self._kv_len = ms.Tensor([case.kv_len] * case.batch, ms.int64)
        self._calls = [{name: tensor(array) for name, array in call.items()} for call in made.calls]
        self._next = 0
        # The row loop reads the operator's own memory.
        made.key, made.value = self._key.asnumpy(), self._value.asnumpy()

    def arguments(self, index):
        """query, key, value, topk_indices, block_table and the kv lengths of one of the prepared calls."""
        call = self._calls[index % len(self._calls)]
        return call["query"], self._key, self._value, call["topk_indices"], call["block_table"], self._kv_len

    def run(self, index):
        *arguments, kv_len = self.arguments(index)
        return self._cell(*arguments, actual_seq_kvlen=kv_len)

    def __call__(self):
        self._next += 1
        return self.run(self._next - 1)


def training_operator(case, inputs):
    calls = {FORWARD: forward_call, BACKWARD: backward_call}
    return calls.get(case.operator, training_call)(inputs)


def make_call(case, inputs):
    """A function that starts one call of the case's operator and returns its result, not awaited."""
    return DecodeCalls(case, inputs) if case.operator == DECODE else training_operator(case, inputs)
