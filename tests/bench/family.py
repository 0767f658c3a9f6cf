# SPDX-License-Identifier: Apache-2.0
"""Speed of compression, compressed attention and the sliding window: ``cd tests && python -m bench.family``.

FLOP count what is visible: the products with keys and with values, five products in the gradient.
Compression is held against a copy of the same bytes, decoding against a streamed read of the rows that it loads. Peaks
are measured in the same run, next to each case. `--layouts` compares the two layouts of a cache instead.
"""

import argparse
import functools
import statistics
import threading
import time
from typing import Callable, NamedTuple

import mindspore as ms
import numpy as np

import ms_nsa
from bench import measure, operators, peaks
from ms_nsa import backend
from support import DTYPES
from support.generators import random_array

N2, D1, D2, SIZE, STRIDE, WINDOW = 4, 192, 128, 32, 16, 512
BATCH, KV_LEN, PAGE = 64, 16384, 64  # of decoding
ARITHMETIC, COPY = "multiply-adds", "a copy"


class Case(NamedTuple):
    """One line of the table."""

    name: str
    call: Callable  # starts one call
    work: float  # FLOP, or bytes
    peak: str = ARITHMETIC


def tensor(rng, *shape):
    return ms.Tensor(random_array(rng, shape, DTYPES["bfloat16"]))


def visible_windows(tokens):
    ends = np.arange(1, tokens + 1)
    return np.where(ends < SIZE, 0, (ends - SIZE) // STRIDE + 1).sum()


def gradient(cell, query, key, value, outputs, rng):
    """The gradient Cell's call for what a forward Cell returned: attention_out first, the statistics last."""
    out, *_, top, total = outputs
    grad = tensor(rng, *out.shape)
    return lambda: cell(grad, query, key, value, out, top, total)


def attention_cases(tokens, group):
    rng = np.random.default_rng(0)
    heads, rows = N2 * group, (tokens - SIZE) // STRIDE + 1
    query, key, value = tensor(rng, tokens, heads, D1), tensor(rng, tokens, N2, D1), tensor(rng, tokens, N2, D2)
    keys, values = tensor(rng, rows, N2, D1), tensor(rng, rows, N2, D2)
    sizes, pairs = f"T={tokens} G={group}", visible_windows(tokens) * heads
    seen = np.minimum(np.arange(1, tokens + 1), WINDOW).sum() * heads
    chosen = ms_nsa.NsaCompressAttention(heads)
    alone = ms_nsa.NsaCompressAttention(heads, select_block_count=0)
    window = ms_nsa.NsaWindowAttention(heads, WINDOW)
    yield Case(f"compressed attention {sizes}", lambda: chosen(query, keys, values), 2 * pairs * (D1 + D2))
    yield Case(f"the same without a choice {sizes}", lambda: alone(query, keys, values), 2 * pairs * (D1 + D2))
    bprop = gradient(ms_nsa.NsaCompressAttentionGrad(heads), query, keys, values, chosen(query, keys, values), rng)
    yield Case(f"its gradient {sizes}", bprop, 2 * pairs * (3 * D1 + 2 * D2))
    yield Case(f"window {sizes}", lambda: window(query, key, value), 2 * seen * (D1 + D2))
    bprop = gradient(ms_nsa.NsaWindowAttentionGrad(heads, WINDOW), query, key, value, window(query, key, value), rng)
    yield Case(f"its gradient {sizes}", bprop, 2 * seen * (3 * D1 + 2 * D2))


def compression_cases(tokens):
    rng = np.random.default_rng(1)
    rows, weight = (tokens - SIZE) // STRIDE + 1, tensor(rng, SIZE, N2)
    raw, grad = tensor(rng, tokens, N2, D1), tensor(rng, rows, N2, D1)
    compress, bprop = ms_nsa.NsaCompress(), ms_nsa.NsaCompressGrad()
    moved, row_bytes = tokens + rows, 2 * N2 * D1
    yield Case(f"compression T={tokens}", lambda: compress(raw, weight), moved * row_bytes, COPY)
    yield Case(f"its gradient T={tokens}", lambda: bprop(grad, raw, weight), (tokens + moved) * row_bytes, COPY)


def pages(rng, rows, width, cache_layout="BSND"):
    """A cache of BATCH sequences of so many rows, and its block table: pages lie scattered."""
    each = -(-rows // PAGE)
    shape = (N2, PAGE) if cache_layout == "BNSD" else (PAGE, N2)
    values = random_array(rng, (1 << 20,), DTYPES["bfloat16"])  # over and over: what they are takes no time
    cache = np.resize(values, (BATCH * each, *shape, width))
    return ms.Tensor(cache), ms.Tensor(rng.permutation(BATCH * each).reshape(BATCH, each).astype(np.int32))


def decode_cases(group):
    rng = np.random.default_rng(2)
    heads, rows = N2 * group, (KV_LEN - SIZE) // STRIDE + 1
    query, lengths = tensor(rng, BATCH, 1, heads, D1), ms.Tensor([KV_LEN] * BATCH, ms.int64)
    sizes, row_bytes = f"B={BATCH} kv={KV_LEN}", 2 * N2 * (D1 + D2) * BATCH
    key, table = pages(rng, rows, D1)
    value, _ = pages(rng, rows, D2)
    chosen = ms_nsa.NsaCompressAttentionInfer(heads, N2, 64, 16, PAGE, SIZE, STRIDE)
    call = functools.partial(chosen, query, key, value, table, None, lengths)
    yield Case(f"compressed attention, decode G={group} {sizes}", call, rows * row_bytes, peaks.STREAM)
    raw, raw_table = pages(rng, 2 * WINDOW, D1)
    raw_value, _ = pages(rng, 2 * WINDOW, D2)
    window = ms_nsa.NsaWindowAttentionInfer(heads, N2, WINDOW, PAGE)
    short = ms.Tensor([2 * WINDOW] * BATCH, ms.int64)
    call = functools.partial(window, query, raw, raw_value, raw_table, None, short)
    yield Case(f"window, decode G={group} B={BATCH}", call, WINDOW * row_bytes, peaks.STREAM)
    compress, weight = ms_nsa.NsaCompressInfer(SIZE, STRIDE, PAGE), tensor(rng, SIZE, N2)
    slots = ms.Tensor(np.arange(BATCH, dtype=np.int32)[:, None])
    call = functools.partial(compress, raw, weight, slots, raw_table, short)
    yield Case(f"compression, decode B={BATCH}", call, BATCH * SIZE * 2 * N2 * D1, peaks.STREAM)


def compare_layouts(repeats, group=4):
    """Selected attention over the same rows in both layouts, in turn."""
    calls = {}
    for cache_layout in ("BSND", "BNSD"):
        rng = np.random.default_rng(3)
        (key, table), (value, _) = pages(rng, KV_LEN, D1, cache_layout), pages(rng, KV_LEN, D2, cache_layout)
        query, lengths = tensor(rng, BATCH, 1, N2 * group, D1), ms.Tensor([KV_LEN] * BATCH, ms.int64)
        blocks = [rng.permutation(KV_LEN // 64)[:16] for _ in range(BATCH * N2)]
        topk = ms.Tensor(np.reshape(blocks, (BATCH, 1, N2, 16)).astype(np.int32))
        cell = ms_nsa.NsaSelectedAttentionInfer(N2 * group, N2, 64, 16, PAGE, cache_layout=cache_layout)
        calls[cache_layout] = functools.partial(cell, query, key, value, topk, table, None, lengths)
    seconds = {cache_layout: [] for cache_layout in calls}
    for _ in range(20 * repeats):
        for cache_layout, call in calls.items():
            start = time.perf_counter()
            operators.await_result(call())
            seconds[cache_layout].append(time.perf_counter() - start)
    bsnd, bnsd = (statistics.median(each) for each in seconds.values())
    moved = BATCH * N2 * 1024 * 2 * (D1 + D2) / 1e9
    print(
        f"decode G={group} B={BATCH} kv={KV_LEN}: BSND {moved / bsnd:.1f} GB/s, BNSD {moved / bnsd:.1f} GB/s", end=", "
    )
    print(f"{bsnd / bnsd:.2f} times as fast")


class Copy:
    """Bytes a second that the threads together read and write while they copy a large array."""

    def __init__(self, threads, size=1 << 27):
        self._from = np.array_split(np.ones(size, np.uint8), threads)
        self._to = [np.empty_like(part) for part in self._from]

    def __call__(self):
        workers = [threading.Thread(target=np.copyto, args=pair) for pair in zip(self._to, self._from)]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return 2 * sum(part.nbytes for part in self._from) / (time.perf_counter() - start) / 1e9


def run(cases, repeats):
    machine = peaks.Peaks(backend.threads(), backend.supported_isas())
    name = peaks.arithmetic_peak(backend.current_isa(), "bfloat16")
    samples = {COPY: Copy(backend.threads()), ARITHMETIC: lambda: machine.sample(name)}
    samples[peaks.STREAM] = lambda: machine.sample(peaks.STREAM)
    print(f"{backend.current_isa()}, {backend.threads()} threads; peaks: {name}, a copy, a streamed read")
    for case in cases:
        timing = measure.undisturbed(case.call, samples[case.peak], repeats)
        seconds, peak = statistics.median(timing.seconds), statistics.median(timing.peak)
        rate, unit = case.work / seconds / 1e9, "GFLOP/s" if case.peak == ARITHMETIC else "GB/s"
        print(
            f"{case.name:45} {seconds * 1e3:9.2f} ms {rate:7.1f} {unit:7} {rate / peak:5.0%} of {peak:.0f}", flush=True
        )


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.family", description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[16384])
    parser.add_argument("--groups", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layouts", action="store_true", help="compare the layouts of a cache in decoding")
    options = parser.parse_args()
    if options.layouts:
        return compare_layouts(options.repeats)
    cases = [case for tokens in options.tokens for group in options.groups for case in attention_cases(tokens, group)]
    decoding = [case for group in options.groups for case in decode_cases(group)]
    run([*cases, *compression_cases(4 * max(options.tokens)), *decoding], options.repeats)
    return None


if __name__ == "__main__":
    main()
