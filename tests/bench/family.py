# SPDX-License-Identifier: Apache-2.0
"""Speed of compression, compressed attention and the sliding window: ``cd tests && python -m bench.family``.

FLOP count what is visible: the products with keys and with values, five products in the gradient.
Compression is held against a copy of the same bytes. Peaks are measured in the same run, next to each case.
"""

import argparse
import statistics
import threading
import time
from typing import Callable, NamedTuple

import mindspore as ms
import numpy as np

import ms_nsa
from bench import measure, peaks
from ms_nsa import backend
from support import DTYPES
from support.generators import random_array

N2, D1, D2, SIZE, STRIDE, WINDOW = 4, 192, 128, 32, 16, 512


class Case(NamedTuple):
    """One line of the table."""

    name: str
    call: Callable  # starts one call
    work: float  # FLOP, or bytes
    of_copy: bool = False


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
    yield Case(f"compression T={tokens}", lambda: compress(raw, weight), moved * row_bytes, True)
    yield Case(f"its gradient T={tokens}", lambda: bprop(grad, raw, weight), (tokens + moved) * row_bytes, True)


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
    copy = Copy(backend.threads())
    print(f"{backend.current_isa()}, {backend.threads()} threads; peaks: {name}, a copy")
    for case in cases:
        sample = copy if case.of_copy else lambda: machine.sample(name)
        timing = measure.undisturbed(case.call, sample, repeats)
        seconds, peak = statistics.median(timing.seconds), statistics.median(timing.peak)
        rate, unit = case.work / seconds / 1e9, "GB/s" if case.of_copy else "GFLOP/s"
        print(
            f"{case.name:45} {seconds * 1e3:9.2f} ms {rate:7.1f} {unit:7} {rate / peak:5.0%} of {peak:.0f}", flush=True
        )


def main():
    parser = argparse.ArgumentParser(prog="python -m bench.family", description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, nargs="+", default=[16384])
    parser.add_argument("--groups", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    cases = [case for tokens in options.tokens for group in options.groups for case in attention_cases(tokens, group)]
    run([*cases, *compression_cases(4 * max(options.tokens))], options.repeats)


if __name__ == "__main__":
    main()
