# SPDX-License-Identifier: Apache-2.0
"""Speed of compression, compressed attention and the sliding window: ``cd tests && python -m bench family``.

The newest tokens of every forward result are held against the oracle first. FLOP count what is visible: the products
with keys and with values, five products in the gradient. Compression is held against a copy of the same bytes, decoding
against a loop that only loads the same rows. Peaks are measured in the same run, next to each case.
"""

import argparse
import csv
import functools
import pathlib
import statistics
import threading
import time
from types import SimpleNamespace
from typing import Callable, NamedTuple, Optional

import mindspore as ms
import numpy as np

import ms_nsa
from bench import calls, measure, operators, peaks
from bench.gate import WrongResult
from bench.run import environment
from ms_nsa import family_reference
from support import DTYPES, compare_tensor
from support.compare_topk import check_topk_indices
from support.family_terms import out_terms, window_terms
from support.generators import random_array
from support.run_cells import to_array

N2, D1, D2, SIZE, STRIDE, WINDOW, BLOCK, COUNT = 4, 192, 128, 32, 16, 512, 64, 16
TOKENS, NEWEST = 16384, 8  # of a case; of what is held against the oracle
BATCH, KV_LEN, PAGE = 64, 16384, 64  # of decoding
ARITHMETIC, COPY = "multiply-adds", "a copy"
DOT_BARS = {  # parts of the peak of bfloat16 products
    "compressed attention": {"T=16384 G=4": 0.74, "T=16384 G=16": 0.76, "T=65536 G=4": 0.82},
    "compressed attention, gradient": {"T=16384 G=4": 0.65},
    "window": {"T=16384 G=4": 0.70},
    "window, gradient": {"T=16384 G=4": 0.62},
}
FMA_BARS = {
    "avx2": 0.55,
    "avx512": 0.65,
    "avx512bf16": 0.65,
    "amxbf16": 0.65,
}  # of the peak of float32 products, forward alone
COPY_BAR, ROWS_BAR = 0.60, 0.80
LAYOUT_BARS = {"BSND": None, "BNSD": 0.85}  # of row loads; the other benchmark has that of BSND
LAYOUTS_BAR = 0.80  # time with pages of BNSD over time with BSND
CHOICE_BAR = 1.10  # time with a choice of blocks over time without
WHOLE_SHARE, WHOLE_BAR = 0.75, 1.15
BARE_CALL_BAR = 20e-6  # seconds
COLUMNS = [
    "date", "machine", "versions", "isa", "threads", "name", "p50_s", "value", "unit", "peak", "peak_value", "fraction",
    "bar", "holds",
]  # fmt: skip


class Case(NamedTuple):
    """One line of the table."""

    name: str
    sizes: str
    call: Callable  # starts one call
    work: float  # FLOP, or bytes
    peak: str = ARITHMETIC
    dtype: str = "bfloat16"
    row_loads: Optional[Callable] = None  # seconds of a loop that only loads the rows
    rows_bar: Optional[float] = ROWS_BAR

    def row_load_rates(self, count):
        """GB/s of that loop, so many times."""
        return [self.work / self.row_loads() / 1e9 for _ in range(count)]


def tensor(rng, *shape, dtype="bfloat16"):
    return ms.Tensor(random_array(rng, shape, DTYPES[dtype]))


def visible_windows(tokens):
    ends = np.arange(1, tokens + 1)
    return np.where(ends < SIZE, 0, (ends - SIZE) // STRIDE + 1).sum()


def visible_rows(topk):
    """Rows of the chosen blocks, [T, N2, n], that the causal rule leaves to each query."""
    after = np.arange(1, len(topk) + 1)[:, None, None] - BLOCK * topk.astype(np.int64)
    return np.where(topk < 0, 0, np.clip(after, 0, BLOCK)).sum()


def check_compressed(outputs, query, key, value, tokens):
    """Raises WrongResult unless the newest tokens have the oracle's output and blocks."""
    arguments = {
        **_newest(query, key, value),
        "compress_block_size": SIZE, "compress_stride": STRIDE, "select_block_size": BLOCK,
        "select_block_count": COUNT, "actual_seq_qlen": (NEWEST,), "actual_seq_kvlen": (tokens,),
        "sparse_mode": 3, "init_blocks": 1, "local_blocks": 2, "atten_mask": None, "topk_mask": None,
    }  # fmt: skip
    expected, *_ = family_reference.nsa_compress_attention(**arguments)
    _check_output(outputs[0], expected, out_terms(arguments))
    try:
        check_topk_indices(to_array(outputs[1])[-NEWEST:], arguments, arguments["query"].dtype)
    except AssertionError as error:
        raise WrongResult(str(error)) from None


def check_window(outputs, query, key, value):
    """Raises WrongResult unless the newest tokens have the oracle's output."""
    seen = WINDOW + NEWEST
    arguments = {**_newest(query, key[-seen:], value[-seen:]), "window_size": WINDOW}
    arguments |= {"actual_seq_qlen": (NEWEST,), "actual_seq_kvlen": (min(seen, len(key)),)}
    expected, *_ = family_reference.nsa_window_attention(**arguments)
    _check_output(outputs[0], expected, window_terms(arguments)["attention_out"])


def _newest(query, key, value):
    query, key, value = (to_array(each) for each in (query[-NEWEST:], key, value))
    return {"query": query, "key": key, "value": value, "scale_value": D1**-0.5, "head_num": query.shape[1]}


def _check_output(output, expected, terms):
    found = to_array(output)[-NEWEST:]
    failure = compare_tensor(found, expected, "out", found.dtype, terms).failure
    if failure:
        raise WrongResult(failure)


def gradient(cell, query, key, value, outputs, rng, dtype):
    """The gradient Cell's call for what a forward Cell returned: attention_out first, the statistics last."""
    out, *_, top, total = outputs
    grad = tensor(rng, *out.shape, dtype=dtype)
    return lambda: cell(grad, query, key, value, out, top, total)


def attention_cases(tokens, group, dtype="bfloat16", gradients=True):
    """Compressed attention with and without a choice of blocks, the window, and the gradients of both."""
    rng, made = np.random.default_rng(0), functools.partial(tensor, dtype=dtype)
    heads, rows = N2 * group, (tokens - SIZE) // STRIDE + 1
    query, key, value = made(rng, tokens, heads, D1), made(rng, tokens, N2, D1), made(rng, tokens, N2, D2)
    keys, values = made(rng, rows, N2, D1), made(rng, rows, N2, D2)
    pairs, seen = visible_windows(tokens) * heads, np.minimum(np.arange(1, tokens + 1), WINDOW).sum() * heads
    sizes = f"T={tokens} G={group}" + (f" {dtype}" if dtype != "bfloat16" else "")
    case = functools.partial(Case, sizes=sizes, dtype=dtype)
    chosen, window = (
        ms_nsa.NsaCompressAttention(heads, select_block_count=COUNT),
        ms_nsa.NsaWindowAttention(heads, WINDOW),
    )
    alone = ms_nsa.NsaCompressAttention(heads, select_block_count=0)
    forward, backward = 2 * (D1 + D2), 2 * (3 * D1 + 2 * D2)
    check_compressed(chosen(query, keys, values), query, keys, values, tokens)
    check_window(window(query, key, value), query, key, value)
    yield case("compressed attention", call=lambda: chosen(query, keys, values), work=forward * pairs)
    yield case("the same without a choice", call=lambda: alone(query, keys, values), work=forward * pairs)
    yield case("window", call=lambda: window(query, key, value), work=forward * seen)
    if gradients:
        call = gradient(
            ms_nsa.NsaCompressAttentionGrad(heads), query, keys, values, chosen(query, keys, values), rng, dtype
        )
        yield case("compressed attention, gradient", call=call, work=backward * pairs)
        cell = ms_nsa.NsaWindowAttentionGrad(heads, WINDOW)
        call = gradient(cell, query, key, value, window(query, key, value), rng, dtype)
        yield case("window, gradient", call=call, work=backward * seen)


def compression_cases(tokens):
    rng = np.random.default_rng(1)
    rows, weight = (tokens - SIZE) // STRIDE + 1, tensor(rng, SIZE, N2)
    raw, grad = tensor(rng, tokens, N2, D1), tensor(rng, rows, N2, D1)
    compress, bprop = ms_nsa.NsaCompress(), ms_nsa.NsaCompressGrad()
    sizes, moved, row_bytes = f"T={tokens}", tokens + rows, 2 * N2 * D1
    yield Case("compression", sizes, lambda: compress(raw, weight), moved * row_bytes, COPY)
    yield Case("compression, gradient", sizes, lambda: bprop(grad, raw, weight), (tokens + moved) * row_bytes, COPY)


def whole_forward(tokens, group=4):
    """The four operators of the forward pass, one after the other."""
    rng, heads = np.random.default_rng(4), N2 * group
    query, key, value = tensor(rng, tokens, heads, D1), tensor(rng, tokens, N2, D1), tensor(rng, tokens, N2, D2)
    compress, chosen = ms_nsa.NsaCompress(), ms_nsa.NsaCompressAttention(heads, select_block_count=COUNT)
    select, window = (
        ms_nsa.NsaSelectAttention(heads, select_block_count=COUNT, sparse_mode=3),
        ms_nsa.NsaWindowAttention(heads, WINDOW),
    )
    lengths = ms.Tensor([tokens], ms.int64)

    def call():
        topk = chosen(query, compress(key), compress(value))[1]
        select(query, key, value, topk, None, lengths, lengths)
        return window(query, key, value)

    topk = chosen(query, compress(key), compress(value))[1].asnumpy()
    seen = visible_windows(tokens) + np.minimum(np.arange(1, tokens + 1), WINDOW).sum()
    return Case(
        "all four, forward", f"T={tokens} G={group}", call, 2 * (D1 + D2) * (heads * seen + group * visible_rows(topk))
    )


def pages(rng, rows, width, cache_layout="BSND"):
    """A cache of BATCH sequences of so many rows, and its block table: pages lie scattered."""
    each = -(-rows // PAGE)
    shape = (N2, PAGE) if cache_layout == "BNSD" else (PAGE, N2)
    values = random_array(rng, (1 << 20,), DTYPES["bfloat16"])  # over and over: what they are takes no time
    cache = np.resize(values, (BATCH * each, *shape, width))
    return cache, rng.permutation(BATCH * each).reshape(BATCH, each).astype(np.int32)


def row_loads(machine, key, value, table, kv_len, topk, heads=N2):
    """Seconds of loops that load all rows of the blocks `topk`, which are as long as a page."""
    sizes = SimpleNamespace(
        n2=heads, d1=D1, d2=D2, kv_len=kv_len, page_block_size=PAGE, select_block_size=PAGE,
        select_block_count=topk.shape[-1],
    )  # fmt: skip
    made, call = SimpleNamespace(key=key, value=value), {"topk_indices": topk, "block_table": table}
    loads = functools.partial(machine.row_loads, sizes, made, call)
    return functools.partial(loads, measure.best_distance(loads))


def decode_cases(machine, group):
    """Compressed attention over whole caches, and the window over their newest rows."""
    rng = np.random.default_rng(2)
    heads, rows = N2 * group, (KV_LEN - SIZE) // STRIDE + 1
    query, row_bytes = tensor(rng, BATCH, 1, heads, D1), 2 * N2 * (D1 + D2) * BATCH
    chosen = ms_nsa.NsaCompressAttentionInfer(heads, N2, BLOCK, COUNT, PAGE, SIZE, STRIDE)
    window = ms_nsa.NsaWindowAttentionInfer(heads, N2, WINDOW, PAGE)
    for name, cell, length, cached, read in (
        ("compressed attention, decode", chosen, KV_LEN, rows, rows),
        ("window, decode", window, 2 * WINDOW, 2 * WINDOW, WINDOW),
    ):
        (key, table), (value, _) = pages(rng, cached, D1), pages(rng, cached, D2)
        tensors = [ms.Tensor(array) for array in (key, value, table)]
        call = functools.partial(cell, query, *tensors, None, ms.Tensor([length] * BATCH, ms.int64))
        in_place = (tensor.asnumpy() for tensor in tensors[:2])  # a copy may have other pages
        blocks = np.arange((cached - read) // PAGE, table.shape[1], dtype=np.int32)
        topk = np.broadcast_to(blocks, (BATCH, N2, len(blocks)))
        loads = row_loads(machine, *in_place, table, cached, topk)
        sizes = f"B={BATCH} kv={length} G={group}"
        yield Case(name, sizes, call, read * row_bytes, peaks.ROW_LOADS, row_loads=loads)


def compression_decode(lengths_apart):
    """The call after one new row per sequence, and its inputs. A window ends in one of STRIDE sequences, as on average,
    if their lengths are one apart; in all of them if the lengths are equal."""
    rng, rows = np.random.default_rng(3), 2 * WINDOW
    raw, table = pages(rng, rows, D1)
    slots, lengths = np.arange(BATCH, dtype=np.int32)[:, None], rows - lengths_apart * (np.arange(BATCH) % STRIDE)
    lengths = ms.Tensor(lengths, ms.int64)
    tensors = [ms.Tensor(raw), tensor(rng, SIZE, N2), ms.Tensor(slots), ms.Tensor(table), lengths]
    return functools.partial(ms_nsa.NsaCompressInfer(SIZE, STRIDE, PAGE), *tensors), tensors


def layout_cases(machine, group=4):
    """Selected attention over the same rows in both layouts of a cache. To the loop that only loads rows, pages of
    [N2, P, D] are N2 pages of one head each, and every head a sequence of its own."""
    for cache_layout in ("BSND", "BNSD"):
        rng = np.random.default_rng(3)
        (key, table), (value, _) = pages(rng, KV_LEN, D1, cache_layout), pages(rng, KV_LEN, D2, cache_layout)
        query, lengths = tensor(rng, BATCH, 1, N2 * group, D1), ms.Tensor([KV_LEN] * BATCH, ms.int64)
        blocks = [rng.permutation(KV_LEN // BLOCK)[:COUNT] for _ in range(BATCH * N2)]
        topk = np.reshape(blocks, (BATCH, N2, COUNT)).astype(np.int32)
        cell = ms_nsa.NsaSelectedAttentionInfer(N2 * group, N2, BLOCK, COUNT, PAGE, cache_layout=cache_layout)
        tensors = [ms.Tensor(array) for array in (key, value, topk[:, None], table)]
        call = functools.partial(cell, query, *tensors, None, lengths)
        heads = N2
        if cache_layout == "BNSD":
            heads, topk = 1, topk.reshape(BATCH * N2, 1, COUNT)
            table = (table[:, None] * N2 + np.arange(N2)[:, None]).reshape(BATCH * N2, -1).astype(np.int32)
        in_place = (tensor.asnumpy() for tensor in tensors[:2])
        loads = row_loads(machine, *in_place, table, KV_LEN, topk, heads)
        sizes, work = f"{cache_layout} B={BATCH} kv={KV_LEN} G={group}", BATCH * N2 * COUNT * BLOCK * 2 * (D1 + D2)
        bar = LAYOUT_BARS[cache_layout]
        yield Case("selected attention, decode", sizes, call, work, peaks.ROW_LOADS, row_loads=loads, rows_bar=bar)


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


class Table:
    """Measures cases, prints a line for each and keeps it. Bars are meant for the default number of tokens."""

    def __init__(self, repeats, with_bars, output=None):
        self.environment, self.repeats, self._with_bars, self._output = environment(), repeats, with_bars, output
        self.machine = peaks.Peaks(self.environment.threads, self.environment.supported_isas)
        self._copy = Copy(self.environment.threads)
        self.rows, self._seconds = [], {}

    def add(self, case):
        """Times a case between samples of its peak, and judges it."""
        peak = case.peak if case.peak != ARITHMETIC else peaks.arithmetic_peak(self.environment.isa, case.dtype)
        timing = self._time(case, peak)
        seconds, best = statistics.median(timing.seconds), statistics.median(timing.peak)
        self._seconds[case.name, case.sizes] = seconds, best
        rate, unit = case.work / seconds / 1e9, "GFLOP/s" if case.peak == ARITHMETIC else "GB/s"
        self._keep(f"{case.name} {case.sizes}", seconds, rate, unit, peak, best, rate / best, self._bar(case, peak))

    def _time(self, case, peak):
        """As the other benchmark does: row loops beside every row of calls, and their median; else the best peak."""
        if case.row_loads:
            return measure.interleave(case.call, case.row_load_rates, self.repeats)
        sample = self._copy if peak == COPY else functools.partial(self.machine.sample, peak)
        return measure.undisturbed(case.call, sample, self.repeats)

    def _bar(self, case, peak):
        """The smallest part of the peak that is good enough, or None."""
        if peak in (COPY, peaks.ROW_LOADS):
            return COPY_BAR if peak == COPY else case.rows_bar
        if peak == peaks.BF16_DOT:
            return DOT_BARS.get(case.name, {}).get(case.sizes)
        return FMA_BARS.get(self.environment.isa) if case.name in ("compressed attention", "window") else None

    def add_choice(self, sizes):
        """What choosing blocks costs: the call with it over the call without."""
        chosen, alone = (
            self._seconds[name, sizes][0] for name in ("compressed attention", "the same without a choice")
        )
        self._limit(f"choice of blocks {sizes}", chosen / alone, "x", CHOICE_BAR)

    def add_whole(self, case):
        """Time of the whole forward pass over that of its FLOP at WHOLE_SHARE of the peak."""
        self.add(case)
        seconds, best = self._seconds[case.name, case.sizes]
        ideal = case.work / (WHOLE_SHARE * best * 1e9)
        self._limit(f"{case.name} {case.sizes}, over {WHOLE_SHARE:.0%} of the peak", seconds / ideal, "x", WHOLE_BAR)

    def add_layouts(self):
        """Both layouts, and what the second saves."""
        seconds = []
        for case in layout_cases(self.machine):
            self.add(case)
            seconds.append(self._seconds[case.name, case.sizes][0])
        self._limit("selected attention, decode G=4, BNSD over BSND", seconds[1] / seconds[0], "x", LAYOUTS_BAR)

    def add_bare_call(self):
        """What compression in decoding takes above a custom operator that does nothing."""
        for lengths_apart, limit in ((1, BARE_CALL_BAR * 1e6), (0, None)):
            call, tensors = compression_decode(lengths_apart)
            outputs = operators.await_result(call())
            above, _ = calls.seconds_above(call, calls.bare_call("BareCompress", tensors, outputs), self.repeats)
            ends = int((outputs[1].asnumpy() >= 0).sum())
            self._limit(f"compression, decode B={BATCH}, windows: {ends}, above a bare call", above * 1e6, "us", limit)

    def _limit(self, name, value, unit, limit):
        self._keep(name, None, value, unit, "", None, None, limit)

    def _keep(self, name, seconds, value, unit, peak, best, fraction, bar):
        bar = bar if self._with_bars else None
        holds = "" if bar is None else "holds" if (fraction >= bar if fraction else value <= bar) else "MISSES"
        found = self.environment
        versions = " ".join(f"{package}={version}" for package, version in found.versions.items())
        start = [found.date, found.machine, versions, found.isa, found.threads]
        self.rows.append(dict(zip(COLUMNS, [*start, name, seconds, value, unit, peak, best, fraction, bar, holds])))
        time_text = f"{seconds * 1e3:9.2f} ms" if seconds else " " * 12
        share = f"{fraction:5.0%} of {peak}, {best:.0f}" if fraction else ""
        print(f"{name:60} {time_text} {value:7.1f} {unit:7} {share} {holds}", flush=True)
        if self._output:
            self._write()

    def _write(self):
        """All lines so far, so that a run that is ended early leaves its figures; each has the machine and versions."""
        with (self._output / "family.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)


def measure_family(table, tokens, groups):
    """All cases for sequences of `tokens`; compression and the whole forward pass have four times as many."""
    for group in groups:
        for case in attention_cases(tokens, group):
            table.add(case)
        table.add_choice(f"T={tokens} G={group}")
    for dtype in ("float16", "float32"):
        for case in attention_cases(tokens, groups[0], dtype, gradients=False):
            table.add(case)
    for case in attention_cases(4 * tokens, groups[0], gradients=False):
        table.add(case)
    table.add_choice(f"T={4 * tokens} G={groups[0]}")
    table.add_whole(whole_forward(4 * tokens, groups[0]))
    for case in compression_cases(4 * tokens):
        table.add(case)
    for group in groups:
        for case in decode_cases(table.machine, group):
            table.add(case)
    table.add_layouts()
    table.add_bare_call()


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench family", description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=TOKENS)
    parser.add_argument("--groups", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=pathlib.Path, help="folder for family.csv")
    options = parser.parse_args(arguments)
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
    measure_family(Table(options.repeats, options.tokens == TOKENS, options.output), options.tokens, options.groups)
    return 0
