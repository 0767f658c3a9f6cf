# SPDX-License-Identifier: Apache-2.0
"""What `python -m bench layer` calls: the layer and its dense twin, attention alone, decoding; and the FLOP of each."""

import mindspore as ms
import numpy as np
from mindspore import ops

import ms_nsa
from bench import operators
from ms_nsa.shared import Shared

SIZE, STRIDE, BLOCK, COUNT, WINDOW = 32, 16, 64, 16, 512  # the layer's defaults
PAGE = 64
GRADIENT = 3.5  # what a forward with its gradient costs, by the forward


class DenseLayer(ms_nsa.NativeSparseAttention):
    """The same projections around dense causal attention: a window as long as any sequence."""

    def construct(self, x, actual_seq_len=None):
        rows = self._rows(x)
        angles = self._angles(self._places(rows, (rows.shape[0],))[0])
        query = self._narrow(self._rotate(self.to_query(rows), angles))
        key = self._narrow(self._rotate(self.to_key(rows), angles))
        value = self._narrow(self.to_value(rows))
        return self._output(self.attention.window(query, key, value)[0], x)


class DenseInfer(ms_nsa.NativeSparseAttentionInfer):
    """The same over pages."""

    def _write_windows(self, slots, positions, block_table, q_lens, kv_lens):
        return kv_lens

    def _attend(self, x, query, compressed_query, block_table, compressed_block_table, lengths, gates):
        return self.window_tnd(self._narrow(query), *self._window_pages(), block_table, *lengths)


def seen_rows(length):
    """Rows that each token sees: compressed, selected and window, and dense."""
    ends = np.arange(1, length + 1)
    windows = np.where(ends < SIZE, 0, (ends - SIZE) // STRIDE + 1)
    return windows + np.minimum(ends, BLOCK * COUNT) + np.minimum(ends, WINDOW), ends


def flop(kind, scope, length, o):
    """FLOP of the sparse and of the dense one."""
    decoding = kind not in ("forward", "gradient")
    seen = [rows[-1:] if decoding else rows for rows in seen_rows(length)]
    tokens, heads, kv = len(seen[0]), o.head_num, o.head_num // o.group
    projections = 2 * tokens * o.hidden_size * o.head_dim * (2 * heads + 2 * kv) * (scope == "layer")
    times = (o.batch if decoding else 1) * (GRADIENT if kind == "gradient" else 1)
    return [times * (projections + 4.0 * heads * o.head_dim * rows.sum()) for rows in seen]


def flop_ratio(kind, scope, length, o):
    """FLOP of the dense one by those of the sparse one."""
    sparse, dense = flop(kind, scope, length, o)
    return dense / sparse


def tensor(rng, dtype, *shape):
    return ms.Tensor(rng.standard_normal(shape, np.float32)).astype(dtype)


def sizes_of(o):
    heads = o.head_num, o.head_num // o.group
    return {
        "hidden_size": o.hidden_size,
        "head_num": heads[0],
        "key_value_head_num": heads[1],
        "key_head_dim": o.head_dim,
    }


def layer_call(kind, which, length, o):
    """With projections: of the sparse layer, of its dense twin, or of what the twin is without its attention, whose
    tokens then see themselves only ("rest")."""
    dtype, rng = getattr(ms, o.dtype), np.random.default_rng(0)
    made = ms_nsa.NativeSparseAttention if which == "sparse" else DenseLayer
    window = {"sparse": WINDOW, "dense": length, "rest": 1}[which]
    layer = made(**sizes_of(o), compute_dtype=dtype, window_size=window)
    x = tensor(rng, dtype, length, o.hidden_size)
    if kind == "forward":
        return lambda: operators.await_result(layer(x))
    weights = ms.ParameterTuple([getattr(layer, name).weight for name in ("to_query", "to_key", "to_value", "to_out")])
    differentiate = ops.GradOperation(get_all=True, get_by_list=True, sens_param=True)(layer, weights)
    grad = tensor(rng, dtype, length, o.hidden_size)

    def call():
        of_inputs, of_weights = differentiate(x, grad)
        operators.as_arrays((*of_inputs, *of_weights))

    return call


def attention_call(kind, which, length, o):
    """Without projections. "slice" is dense attention of one key head and its query heads; "rest" that of all heads
    whose tokens see themselves only."""
    dtype, rng, kv = getattr(ms, o.dtype), np.random.default_rng(1), o.head_num // o.group
    heads, kv = (o.group, 1) if which == "slice" else (o.head_num, kv)
    query = tensor(rng, dtype, length, heads, o.head_dim)
    key, value = (tensor(rng, dtype, length, kv, o.head_dim) for _ in range(2))
    if which == "sparse":
        core, pool, shared = ms_nsa.NsaAttention(heads, kv), ms_nsa.NsaCompress(), Shared(2)
        gates = tensor(rng, ms.float32, length, heads, 3)
    else:
        window = ms_nsa.NsaWindowAttention(heads, 1 if which == "rest" else length)

    def attend(query, key, value):
        if which == "sparse":
            # As the layer does: MindSpore's own sum of two gradients in bfloat16 took an eighth of the whole gradient.
            (key, to_pool), (value, values_to_pool) = shared(key), shared(value)
            return core(query, key, value, gates, pool(to_pool), pool(values_to_pool))
        return window(query, key, value)[0]

    if kind == "forward":
        return lambda: operators.await_result(attend(query, key, value))
    differentiate = ops.GradOperation(get_all=True, sens_param=True)(attend)
    grad = tensor(rng, dtype, length, heads, o.head_dim)
    return lambda: operators.as_arrays(differentiate(query, key, value, grad))


def decode_call(kind, which, length, o):
    """One more token of each of o.batch sequences, with projections. Parameters have the dtype of computation, or
    float32, whose casts are then a part of every step."""
    dtype, rng = getattr(ms, o.dtype), np.random.default_rng(2)
    pages, heads = -(-length // PAGE), o.head_num // o.group
    compressed = -(-(length // STRIDE) // PAGE)
    tables = [
        ms.Tensor(rng.permutation(o.batch * each).reshape(o.batch, each).astype(np.int32))
        for each in (pages, compressed)
    ]
    x = tensor(rng, dtype, o.batch, o.hidden_size)
    lengths = ms.Tensor([1] * o.batch, ms.int64), ms.Tensor([length] * o.batch, ms.int64)
    made, window = (ms_nsa.NativeSparseAttentionInfer, WINDOW) if which == "sparse" else (DenseInfer, length)
    cache = ms_nsa.NsaCache(o.batch * pages, o.batch * compressed, PAGE, heads, o.head_dim, o.head_dim, dtype)
    param_dtype = ms.float32 if kind == "decode_float32" else dtype
    layer = made(**sizes_of(o), param_dtype=param_dtype, compute_dtype=dtype, window_size=window, cache=cache)
    return lambda: operators.await_result(layer(x, *tables, *lengths))


def make_call(kind, scope, which, length, o):
    """The call of a case."""
    if kind not in ("forward", "gradient"):
        return decode_call(kind, which, length, o)
    return (layer_call if scope == "layer" else attention_call)(kind, which, length, o)
