# SPDX-License-Identifier: Apache-2.0
"""Selected attention and dense attention composed of MindSpore's own operators, in float32.

The CPU backend has no bfloat16 softmax and batched product worth the name; inputs are cast before the clock starts.
"""

import functools

import mindspore as ms
import numpy as np
from mindspore import ops

_CHUNK = 64


class Problem:
    """A SelectCase as float32 tensors; key and value as blocks of rows with the heads in front."""

    def __init__(self, made):
        query, key, value = (
            np.moveaxis(getattr(made, name).astype(np.float32), 1, 0) for name in ("query", "key", "value")
        )
        self.n2, self.t2, self.d1 = key.shape
        self.group, self.d2, self.scale = len(query) // self.n2, value.shape[2], made.scale
        self.blocks = self.t2 // made.select_block_size
        self.query = ms.Tensor(np.ascontiguousarray(query.reshape(self.n2, self.group, -1, self.d1)))
        self.key, self.value = ms.Tensor(np.ascontiguousarray(key)), ms.Tensor(np.ascontiguousarray(value))
        heads = np.arange(self.n2)[:, None, None] * self.blocks
        self.topk = ms.Tensor((np.moveaxis(made.topk_indices, 1, 0) + heads).astype(np.int32))


def _gathered(problem, tensor, topk, tokens, width):
    blocks = tensor.reshape(problem.n2 * problem.blocks, -1)
    return ops.gather(blocks, topk, 0).reshape(problem.n2 * tokens, -1, width)


def _chunk(problem, start):
    topk = problem.topk[:, start : start + _CHUNK]
    tokens = topk.shape[1]
    query = problem.query[:, :, start : start + _CHUNK].swapaxes(1, 2)
    query = query.reshape(problem.n2 * tokens, problem.group, problem.d1)
    key = _gathered(problem, problem.key, topk, tokens, problem.d1)
    value = _gathered(problem, problem.value, topk, tokens, problem.d2)
    weights = ops.softmax(ops.bmm(query, key.swapaxes(1, 2)) * problem.scale, -1)
    out = ops.bmm(weights, value).reshape(problem.n2, tokens, problem.group, problem.d2)
    return out.swapaxes(1, 2).reshape(problem.n2 * problem.group, tokens, problem.d2)


def gather_bmm(problem):
    t1 = problem.query.shape[2]
    out = ops.cat([_chunk(problem, start) for start in range(0, t1, _CHUNK)], axis=1)
    out.asnumpy()
    return out


def dense(problem):
    """Attention over all rows, head by head in one batch."""
    t1 = problem.query.shape[2]
    query = problem.query.reshape(problem.n2, problem.group * t1, problem.d1)
    weights = ops.softmax(ops.bmm(query, problem.key.swapaxes(1, 2)) * problem.scale, -1)
    out = ops.bmm(weights, problem.value)
    out.asnumpy()
    return out


def forward_ways(problem):
    return {"MindSpore gather + BatchMatMul, fp32": lambda: functools.partial(gather_bmm, problem)}


def dense_ways(problem):
    return {"MindSpore BatchMatMul, fp32": lambda: functools.partial(dense, problem)}
