# SPDX-License-Identifier: Apache-2.0
"""Selected attention and dense attention composed of PyTorch's operators, each in the way that is kindest to it.

Masks are made before the clock starts. Inputs are [T, N, D] as ours are; heads are moved to the front once, likewise
before the clock starts.
"""

import functools

import numpy as np
import torch
import torch.nn.functional as F

_CHUNK = 128  # tokens gathered at once: 1024 rows of 4 heads are 3 MB a token
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


def to_torch(array):
    """A NumPy array as a tensor; bfloat16, which NumPy does not know, goes through its bits."""
    array = np.ascontiguousarray(array)
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)


def to_numpy(tensor, dtype):
    return tensor.detach().float().numpy().astype(dtype)


class Problem:
    """A SelectCase as tensors with the heads in front."""

    def __init__(self, made, needs_grad=False):
        self.query, self.key, self.value, self.grad = (
            to_torch(getattr(made, name)).transpose(0, 1).contiguous() for name in ("query", "key", "value", "grad")
        )
        self.topk = to_torch(made.topk_indices).long().transpose(0, 1).contiguous()  # [N2, T1, count]
        self.size, self.scale = made.select_block_size, made.scale
        self.group = self.query.shape[0] // self.key.shape[0]
        for tensor in (self.query, self.key, self.value):
            tensor.requires_grad_(needs_grad)

    @property
    def blocks(self):
        return self.key.shape[1] // self.size

    def block_selected(self):
        """bool [N2, T1, blocks]."""
        n2, t1, _ = self.topk.shape
        return torch.zeros(n2, t1, self.blocks, dtype=torch.bool).scatter_(2, self.topk, True)

    def forget_gradients(self):
        for tensor in (self.query, self.key, self.value):
            tensor.grad = None

    def per_query_head(self, tensor):
        return tensor.repeat_interleave(self.group, 0)


def _gathered(problem, tensor, topk):
    """[N2 * tokens, rows, D]: the rows of the selected blocks."""
    n2, _, d = tensor.shape
    heads = torch.arange(n2)[:, None, None]
    blocks = tensor.view(n2, problem.blocks, problem.size * d)[heads, topk]
    return blocks.view(n2 * topk.shape[1], -1, d)


def _gather_bmm_chunk(problem, start):
    topk = problem.topk[:, start : start + _CHUNK]
    n2, tokens, _ = topk.shape
    query = problem.query[:, start : start + _CHUNK].view(n2, problem.group, tokens, -1)
    query = query.transpose(1, 2).reshape(n2 * tokens, problem.group, -1)
    scores = torch.bmm(query, _gathered(problem, problem.key, topk).transpose(1, 2))
    weights = torch.softmax(scores.float() * problem.scale, dim=-1).to(query.dtype)
    out = torch.bmm(weights, _gathered(problem, problem.value, topk))
    return out.view(n2, tokens, problem.group, -1).transpose(1, 2).flatten(0, 1)


def gather_bmm(problem):
    chunks = [_gather_bmm_chunk(problem, start) for start in range(0, problem.query.shape[1], _CHUNK)]
    return torch.cat(chunks, dim=1)


def gather_bmm_training(problem):
    """Forward and backward chunk by chunk: the gathered rows of all tokens would not fit into memory."""
    problem.forget_gradients()
    chunks = []
    for start in range(0, problem.query.shape[1], _CHUNK):
        out = _gather_bmm_chunk(problem, start)
        out.backward(problem.grad[:, start : start + _CHUNK])
        chunks.append(out.detach())
    return torch.cat(chunks, dim=1)


def _attend(problem, key, value, mask=None, causal=False):
    arguments = (problem.query[None], key[None], value[None])
    return F.scaled_dot_product_attention(*arguments, attn_mask=mask, is_causal=causal, scale=problem.scale)[0]


def _padded(value, width):
    """Value as wide as key: the fused kernel takes one width only."""
    return F.pad(value, (0, width - value.shape[-1]))


def dense_sdpa(problem, padded, causal=False, mask=None):
    """Scaled dot product attention over all rows, or over a mask; key and value heads are repeated in time."""
    key, value = problem.per_query_head(problem.key), problem.per_query_head(problem.value)
    width = value.shape[-1]
    value = _padded(value, key.shape[-1]) if padded else value
    return _attend(problem, key, value, mask, causal)[..., :width]


def selection_mask(problem):
    """Additive [1, N1, T1, T2] in the query's dtype, which the fused kernel reads as it is."""
    rows = problem.block_selected().repeat_interleave(problem.size, 2)
    mask = torch.zeros(rows.shape, dtype=problem.query.dtype).masked_fill_(~rows, float("-inf"))
    return problem.per_query_head(mask)[None]


def masked_sdpa(problem, padded):
    return functools.partial(dense_sdpa, problem, padded, mask=selection_mask(problem))


def masked_sdpa_training(problem, padded):
    attend = masked_sdpa(problem, padded)

    def run():
        problem.forget_gradients()
        out = attend()
        out.backward(problem.grad)
        return out.detach()

    return run


def flex_attention(problem):
    """FlexAttention compiled by Inductor, with a block mask of the selection; it has no backward on the CPU."""
    from torch.nn.attention import flex_attention as flex

    selected, group, size = problem.block_selected(), problem.group, problem.size

    def visible(b, head, query, row):
        return selected[head // group, query, row // size]

    n1, t1, _ = problem.query.shape
    mask = flex.create_block_mask(visible, 1, n1, t1, problem.key.shape[1], device="cpu", BLOCK_SIZE=128)
    compiled = torch.compile(flex.flex_attention, dynamic=False)
    key, value = problem.per_query_head(problem.key), problem.per_query_head(problem.value)

    def run():
        return compiled(problem.query[None], key[None], value[None], block_mask=mask, scale=problem.scale)[0]

    return run


def forward_ways(problem):
    """name -> function that prepares a call of one way to compute the forward."""
    return {
        "PyTorch gather + bmm": lambda: functools.partial(gather_bmm, problem),
        "PyTorch masked SDPA": lambda: masked_sdpa(problem, False),
        "PyTorch masked SDPA, value padded": lambda: masked_sdpa(problem, True),
        "PyTorch FlexAttention, compiled": lambda: flex_attention(problem),
    }


def training_ways(problem):
    return {
        "PyTorch gather + bmm": lambda: functools.partial(gather_bmm_training, problem),
        "PyTorch masked SDPA": lambda: masked_sdpa_training(problem, False),
        "PyTorch masked SDPA, value padded": lambda: masked_sdpa_training(problem, True),
    }


def dense_ways(problem, causal):
    """Dense attention: what selected attention saves over."""
    return {
        "PyTorch SDPA": lambda: functools.partial(dense_sdpa, problem, False, causal),
        "PyTorch SDPA, value padded": lambda: functools.partial(dense_sdpa, problem, True, causal),
    }
