# SPDX-License-Identifier: Apache-2.0
"""The layer over several processes, against the same in one: data, head and context parallel, and decoding.

    msrun --worker_num=2 --local_worker_num=2 samples/06_distributed.py

Every process computes the answer of a single process too and compares. The same script runs with HCCL on NPUs: only
MindSpore's AllReduce and AllGather are used.
"""

import sys

import mindspore as ms
import numpy as np
from mindspore import Tensor, ops
from mindspore.communication import get_group_size, get_rank, init

import ms_nsa

HIDDEN, HEADS, KV_HEADS, WIDTH, TOKENS = 32, 8, 4, 16, 96  # TOKENS of each of the two sequences
SIZES = {
    "key_head_dim": WIDTH, "compress_block_size": 8, "compress_stride": 4, "select_block_size": 8,
    "select_block_count": 4, "window_size": 20, "compress": "mean",
}  # fmt: skip
CLOSE = 2e-5  # of the largest element


def make_layer(head_num=HEADS, key_value_head_num=KV_HEADS):
    return ms_nsa.NativeSparseAttention(HIDDEN, head_num, key_value_head_num, **SIZES)


def weights_of(rng):
    """The same random weights in every process, by name."""
    shapes = {p.name: p.shape for p in make_layer().trainable_params()}
    return {name: rng.standard_normal(shape).astype(np.float32) / 6 for name, shape in shapes.items()}


def load(layer, weights):
    for parameter in layer.trainable_params():
        parameter.set_data(Tensor(weights[parameter.name]))
    return layer


def run(layer, x, sens, ends):
    """Output, gradient of x, and gradients of the weights by name."""

    def loss(x):
        y = layer(x, ends)
        return (y * sens).sum(), y

    differentiate = ms.value_and_grad(loss, 0, layer.trainable_params(), has_aux=True)
    (_, y), (of_x, of_weights) = differentiate(x)
    return y, of_x, {p.name: g for p, g in zip(layer.trainable_params(), of_weights)}


def share_of(array, axis, rank, size):
    return np.split(array, size, axis)[rank]


def data_parallel(weights, x, sens, rank, size):
    """Each process has some of the sequences; weight gradients are added. Sent: the weights' size, once a step."""
    results = [
        run(load(make_layer(), weights), *parts, (TOKENS,)) for parts in zip(ops.chunk(x, 2), ops.chunk(sens, 2))
    ]
    y, of_x, of_weights = results[rank]
    added = {name: ops.AllReduce()(gradient) for name, gradient in of_weights.items()}
    single = {name: results[0][2][name] + results[1][2][name] for name in added}  # as one that accumulates
    for name, gradient in added.items():
        assert gradient.asnumpy().tobytes() == single[name].asnumpy().tobytes(), name
    whole = run(load(make_layer(), weights), x, sens, (TOKENS, 2 * TOKENS))
    for ours, right in ((y, whole[0]), (of_x, whole[1])):
        assert ours.asnumpy().tobytes() == share_of(right.asnumpy(), 0, rank, size).tobytes()
    return "bit for bit"


def head_parallel(weights, x, sens, rank, size):
    """Each process has some heads: rows of all projections, columns of the last. Sent: 2 * hidden_size a token."""
    axis = {name: 1 if name == "to_out.weight" else 0 for name in weights}
    mine = {name: share_of(array, axis[name], rank, size) for name, array in weights.items()}
    ends = (TOKENS, 2 * TOKENS)
    y, of_x, of_weights = run(load(make_layer(HEADS // size, KV_HEADS // size), mine), x, sens, ends)
    y, of_x = ops.AllReduce()(y), ops.AllReduce()(of_x)
    right_y, right_x, right = run(load(make_layer(), weights), x, sens, ends)
    pairs = {name: share_of(right[name].asnumpy(), axis[name], rank, size) for name in mine}
    return close([(y, right_y), (of_x, right_x), *((of_weights[name], pairs[name]) for name in mine)])


def context_parallel(weights, x, sens, rank, size):
    """Each process has the queries of a part of the sequence and gathers keys and values.

    A process sees the rows up to its own last token: right alignment gives the queries their positions. Sent forward
    ``N2 * (D1 + D2)`` a token, and as much back for the gradients.
    """
    x, sens = x[:TOKENS], sens[:TOKENS]
    layer, part, end = load(make_layer(), weights), TOKENS // size, TOKENS // size * (rank + 1)
    places = Tensor(np.arange(end - part, end), ms.int32)
    windows = Tensor(np.arange((end - SIZES["compress_block_size"]) // SIZES["compress_stride"] + 1), ms.int32)
    core = layer.attention

    def project(rows):
        query, key, value = (
            projection(rows).reshape(part, -1, WIDTH) for projection in (layer.to_query, layer.to_key, layer.to_value)
        )
        return layer.rotary(query, places), key, layer.rotary(key, places), value, layer._gates(rows)

    def attend(query, key, turned, value, gates):
        key, turned, value = key[:end], turned[:end], value[:end]
        keys = layer.rotary(layer.pool(key, None), windows * SIZES["compress_stride"])
        lengths = {"actual_seq_qlen": (part,), "actual_seq_kvlen": (end,)}
        compressed, blocks, _, _ = core.compressed(query, keys, layer.pool(value, None), **lengths)
        selected = core.selected(query, turned, value, ops.stop_gradient(blocks), **lengths)[0]
        window = core.window(query, turned, value, **lengths)[0]
        mixed = compressed * gates[..., :1] + selected * gates[..., 1:2] + window * gates[..., 2:]
        return layer.to_out(mixed.reshape(part, -1))

    mine, out_sens = x[end - part : end], sens[end - part : end]
    query, key, turned, value, gates = project(mine)
    gathered = [ops.AllGather()(rows) for rows in (key, turned, value)]
    y = attend(query, *gathered, gates)
    of_rows, of_out = ms.grad(lambda *rows: (attend(*rows) * out_sens).sum(), (0, 1, 2, 3, 4), [layer.to_out.weight])(
        query, *gathered, gates
    )
    back = [ops.AllReduce()(gradient)[end - part : end] for gradient in of_rows[1:4]]
    cotangents = [of_rows[0], *back, of_rows[4]]
    names = [p for p in layer.trainable_params() if not p.name.startswith("to_out")]
    of_x, of_weights = ms.grad(lambda rows: sum((a * b).sum() for a, b in zip(project(rows), cotangents)), 0, names)(
        mine
    )
    found = {p.name: ops.AllReduce()(g) for p, g in zip([*names, layer.to_out.weight], [*of_weights, *of_out])}
    right_y, right_x, right = run(load(make_layer(), weights), x, sens, (TOKENS,))
    own = slice(end - part, end)
    return close([(y, right_y[own]), (of_x, right_x[own]), *((found[name], right[name]) for name in found)])


def decode(rng, rank, size):
    """Each process holds half of a paged cache; results of selected attention are merged by their statistics."""
    pages, page, part = 12, 8, 48
    query = rng.standard_normal((1, HEADS, WIDTH)).astype(np.float32)
    key, value = rng.standard_normal((2, pages, page, KV_HEADS, WIDTH)).astype(np.float32)
    blocks = np.stack([np.sort(rng.permutation(pages)[:6]) for _ in range(KV_HEADS)])[None].astype(np.int32)
    attend = ms_nsa.NsaSelectedAttentionInfer(
        HEADS, KV_HEADS, page, 6, page, layout="TND", return_softmax_lse=True, sparse_mode=0
    )
    half = pages // size
    local = np.where(blocks // half == rank, blocks - rank * half, -1).astype(np.int32)
    table = Tensor(np.arange(half, dtype=np.int32)[None])
    shape = (half, page, KV_HEADS * WIDTH)
    mine = [Tensor(share_of(array, 0, rank, size).reshape(shape)) for array in (key, value)]
    out, top, total = attend(Tensor(query), *mine, Tensor(local), table, (1,), (part,))
    outs, tops, totals = (ops.AllGather()(tensor) for tensor in (out, top[..., :1], total[..., :1]))
    largest = tops.max(0, keepdims=True)
    share = totals * ops.exp(tops - largest)
    merged = (outs * share).sum(0, keepdims=True) / share.sum(0, keepdims=True)
    every = [Tensor(array.reshape(pages, page, -1)) for array in (key, value)]
    whole = Tensor(np.arange(pages, dtype=np.int32)[None])
    right = attend(Tensor(query), *every, Tensor(blocks), whole, (1,), (pages * page,))[0]
    return close([(merged, right)])


def close(pairs):
    """Asserts that all pairs are equal up to rounding; returns the largest difference in words."""
    worst = 0.0
    for ours, right in pairs:
        ours, right = (array if isinstance(array, np.ndarray) else array.asnumpy() for array in (ours, right))
        worst = max(worst, np.abs(ours - right).max() / np.abs(right).max())
    assert worst < CLOSE, worst
    return f"within {worst:.0e}"


def main():
    init()
    rank, size = get_rank(), get_group_size()
    if size != 2:
        sys.exit("run with 2 processes: msrun --worker_num=2 --local_worker_num=2 samples/06_distributed.py")
    rng = np.random.default_rng(0)
    weights = weights_of(rng)
    x, sens = (Tensor(rng.standard_normal((2 * TOKENS, HIDDEN)).astype(np.float32)) for _ in range(2))
    for kind in (data_parallel, head_parallel, context_parallel):
        how = kind(weights, x, sens, rank, size)
        print(f"process {rank}: {kind.__name__} equals one process, gradients included, {how}")
    print(f"process {rank}: decode over two halves of a cache equals one, {decode(rng, rank, size)}", flush=True)


if __name__ == "__main__":
    main()
