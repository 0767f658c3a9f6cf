# SPDX-License-Identifier: Apache-2.0
"""Selected attention in four calls: training forward, its gradient, and decoding over a paged KV cache.

The first and the third are the example calls of the torch_npu and aclnn documentation. Every result is compared with
the float64 reference, in PyNative and in Graph mode; the exit status is 1 if one of them is off.

    python samples/01_quickstart.py
"""

import sys
import time

import mindspore as ms
import numpy as np

import ms_nsa
from ms_nsa import reference

TOLERANCE = 2e-3  # error / result, both as root mean square; float16 rounds to 5e-4

# Two sequences packed into 256 query rows and 3072 key rows: where each of them ends.
Q_ENDS, KV_ENDS = (128, 256), (2048, 3072)


def normal(rng, *shape):
    return rng.standard_normal(shape).astype(np.float16)


def random_blocks(rng, tokens, kv_heads, count, num_blocks):
    """`count` different blocks out of `num_blocks` for every token and kv head."""
    every = np.tile(np.arange(num_blocks, dtype=np.int32), (tokens, kv_heads, 1))
    return rng.permuted(every, axis=2)[..., :count]


def training_arrays(rng):
    query, key, value = normal(rng, 256, 16, 192), normal(rng, 3072, 4, 192), normal(rng, 3072, 4, 128)
    # A block's number counts from the start of the token's own sequence: 2048 rows are 32 blocks, 1024 are 16.
    topk_indices = np.concatenate([random_blocks(rng, 128, 4, 16, 32), random_blocks(rng, 128, 4, 16, 16)])
    return query, key, value, topk_indices


def forward(rng):
    """The call of torch_npu.npu_nsa_select_attention; mindspore.ops.nsa_select_attention takes the same arguments."""
    scale_value, head_num, select_block_size, select_block_count = 192**-0.5, 16, 64, 16

    def call(query, key, value, topk_indices):
        return ms_nsa.nsa_select_attention(
            query,
            key,
            value,
            topk_indices,
            scale_value,
            head_num,
            select_block_size,
            select_block_count,
            actual_seq_qlen=Q_ENDS,
            actual_seq_kvlen=KV_ENDS,
        )

    arrays = training_arrays(rng)
    expected = reference.select_attention(*arrays, scale_value, select_block_size, None, Q_ENDS, KV_ENDS)
    return call, arrays, ("attention_out", "softmax_max", "softmax_sum"), expected


def gradient(rng):
    """The same attention as a Cell, causal, under mindspore.grad."""
    attention = ms_nsa.NsaSelectAttention(head_num=16, select_block_size=64, select_block_count=16, sparse_mode=3)

    def loss(query, key, value, topk_indices, weight):
        attention_out, _, _ = attention(query, key, value, topk_indices, None, Q_ENDS, KV_ENDS)
        return (attention_out * weight).astype(ms.float32).sum()

    def call(query, key, value, topk_indices, weight):
        return ms.grad(loss, grad_position=(0, 1, 2))(query, key, value, topk_indices, weight)

    arrays, weight = training_arrays(rng), normal(rng, 256, 16, 128)
    expected = reference.select_attention_grad(weight, *arrays, None, 64, None, Q_ENDS, KV_ENDS, sparse_mode=3)
    return call, (*arrays, weight), ("dq", "dk", "dv"), expected


def decode(rng):
    """The example of aclnnNsaSelectedAttentionInfer: one token, 48 rows on one page, one block selected."""
    query, key, value = normal(rng, 1, 1, 1, 192), normal(rng, 1, 64, 1, 192), normal(rng, 1, 64, 1, 128)
    topk_indices, block_table = np.zeros((1, 1, 1, 1), np.int32), np.zeros((1, 1), np.int32)

    def call(query, key, value, topk_indices, block_table):
        return ms_nsa.nsa_select_attention_infer(
            query,
            key,
            value,
            topk_indices,
            scale_value=1.0,
            head_num=1,
            key_value_head_num=1,
            select_block_size=64,
            select_block_count=1,
            page_block_size=64,
            layout="BSND",
            block_table=block_table,
            actual_seq_qlen=(1,),
            actual_seq_kvlen=(48,),
        )

    arrays = query, key, value, topk_indices, block_table
    expected = reference.selected_attention_infer(*arrays, (1,), (48,), 1.0, 1, 1, 64, 64)
    return call, arrays, ("attention_out",), (expected,)


def decode_batch(rng):
    """Decoding as a Cell: three sequences of different lengths, their pages scattered over a common cache."""
    kv_lengths, num_pages = (1000, 130, 517), 16
    attention = ms_nsa.NsaSelectedAttentionInfer(
        head_num=16, key_value_head_num=4, select_block_size=64, select_block_count=8, page_block_size=128
    )
    query = normal(rng, 3, 1, 16, 192)
    key, value = normal(rng, num_pages, 128, 4, 192), normal(rng, num_pages, 128, 4, 128)
    pages = iter(rng.permutation(num_pages))
    block_table = np.full((3, 8), -1, np.int32)  # -1: no page
    topk_indices = np.full((3, 1, 4, 8), -1, np.int32)  # -1: no block
    for sequence, kv_length in enumerate(kv_lengths):
        used_pages, num_blocks = -(-kv_length // 128), -(-kv_length // 64)
        block_table[sequence, :used_pages] = [next(pages) for _ in range(used_pages)]
        count = min(8, num_blocks)
        topk_indices[sequence, :, :, :count] = random_blocks(rng, 1, 4, count, num_blocks)
    kv_lengths = np.array(kv_lengths, np.int64)

    def call(query, key, value, topk_indices, block_table, actual_seq_kvlen):
        return attention(query, key, value, topk_indices, block_table, None, actual_seq_kvlen)

    arrays = query, key, value, topk_indices, block_table
    expected = reference.selected_attention_infer(*arrays, None, kv_lengths, None, 16, 4, 64, 128)
    return call, (*arrays, kv_lengths), ("attention_out",), (expected,)


def error_of(actual, expected):
    """Root mean square of the error by that of the reference."""
    return np.sqrt(np.mean((actual - expected) ** 2) / np.mean(expected**2))


def timed(run, tensors):
    """The results of a call as arrays, and its milliseconds."""
    began = time.perf_counter()
    results = run(*tensors)
    results = results if isinstance(results, tuple) else (results,)
    arrays = [result.asnumpy() for result in results]
    return arrays, (time.perf_counter() - began) * 1e3


def main():
    failures = 0
    print(f"{'call':<14}{'mode':<10}{'milliseconds':>12}  error of each result, relative")
    for example in (forward, gradient, decode, decode_batch):
        call, arrays, names, expected = example(np.random.default_rng(0))
        tensors = [ms.Tensor(array) for array in arrays]
        for mode, run in (("PyNative", call), ("Graph", ms.jit(call))):
            ms.set_context(mode=ms.GRAPH_MODE if mode == "Graph" else ms.PYNATIVE_MODE)
            timed(run, tensors)  # the first call compiles
            results, milliseconds = timed(run, tensors)
            errors = [error_of(*pair) for pair in zip(results, expected)]
            failures += not all(error < TOLERANCE for error in errors)
            described = ", ".join(f"{name} {error:.1e}" for name, error in zip(names, errors))
            print(f"{example.__name__:<14}{mode:<10}{milliseconds:>12.2f}  {described}")
    print(f"{failures} of 8 runs above {TOLERANCE}" if failures else f"all errors below {TOLERANCE}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
