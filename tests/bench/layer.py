# SPDX-License-Identifier: Apache-2.0
"""The layer against the same layer with dense attention, by length: ``cd tests && python -m bench layer``.

Forward, forward with gradient, and one step of decoding; with projections ("layer") and without ("attention"). Dense
attention is the best of this package's own kernels over all rows and, for attention alone, PyTorch's SDPA where PyTorch
is installed. The realised share is the speed-up divided by the ratio of the FLOP. Memory is that of one call with
projections, in a process of its own.
"""

import argparse
import csv
import functools
import pathlib
import statistics
import time
from typing import NamedTuple

import mindspore as ms
import numpy as np

import ms_nsa
from bench import layer_memory

RESULTS = pathlib.Path(__file__).resolve().parent / "results"
SIZE, STRIDE, BLOCK, COUNT, WINDOW = 32, 16, 64, 16, 512  # the layer's defaults
SIZES = "head_num", "group", "head_dim", "hidden_size", "batch", "dtype"
KINDS = "forward", "gradient", "decode"
COLUMNS = (
    *("kind", "scope", "length", "sparse_s", "dense_s", "dense_by", "flop_ratio", "realised"),
    *("sparse_mb", "dense_mb"),
)
PAGE = 64
NOT_MEASURED = float("nan"), float("nan")
LONG_CALL = 5  # seconds


class Row(NamedTuple):
    """One line of the table: seconds of both."""

    kind: str
    scope: str
    length: int
    sparse: float
    dense: float
    dense_by: str
    flop_ratio: float
    sparse_mb: float
    dense_mb: float

    @property
    def realised(self):
        return self.dense / self.sparse / self.flop_ratio

    def values(self):
        numbers = [f"{value:.4g}" for value in (self.sparse, self.dense)]
        rest = [f"{value:.4g}" for value in (self.flop_ratio, self.realised, self.sparse_mb, self.dense_mb)]
        return [self.kind, self.scope, self.length, *numbers, self.dense_by, *rest]


class DenseLayer(ms_nsa.NativeSparseAttention):
    """The same projections around dense causal attention: a window as long as any sequence."""

    def construct(self, x, actual_seq_len=None):
        rows = self._rows(x)
        positions = self._places(rows, (rows.shape[0],))[0]
        query = self._narrow(self._rotate(self._heads(rows, self.to_query, self.head_num), positions))
        key = self._narrow(self._rotate(self._heads(rows, self.to_key, self.key_value_head_num), positions))
        value = self._narrow(self._heads(rows, self.to_value, self.key_value_head_num))
        return self._output(self.attention.window(query, key, value)[0], x)


class DenseInfer(ms_nsa.NativeSparseAttentionInfer):
    """The same over pages."""

    def _write_windows(self, slots, positions, block_table, q_lens, kv_lens):
        return kv_lens

    def _attend(self, x, query, compressed_query, block_table, compressed_block_table, lengths, gates):
        out = self.window_tnd(self._narrow(query), *self._window_pages(), block_table, *lengths)
        return out.astype(ms.float32)


def seen_rows(length):
    """Pairs of a token and a row: compressed, selected and window, and dense."""
    ends = np.arange(1, length + 1)
    windows = np.where(ends < SIZE, 0, (ends - SIZE) // STRIDE + 1)
    return (windows + np.minimum(ends, BLOCK * COUNT) + np.minimum(ends, WINDOW)), ends


def flop_ratio(kind, scope, length, o):
    """FLOP of the dense layer by those of the sparse one; a gradient costs 3.5 times a forward, of both."""
    sparse, dense = (seen[-1:] if kind == "decode" else seen for seen in seen_rows(length))
    tokens, heads, kv = len(sparse), o.head_num, o.head_num // o.group
    projections = 2 * tokens * o.hidden_size * o.head_dim * (2 * heads + 2 * kv) * (scope == "layer")
    per_row = 4 * heads * o.head_dim
    return (projections + per_row * dense.sum()) / (projections + per_row * sparse.sum())


def measure(call, repeats):
    """Median seconds after a first call; a first call that is long is all there is."""
    first = seconds_of(call)
    return first if first > LONG_CALL else statistics.median(seconds_of(call) for _ in range(repeats))


def seconds_of(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def tensor(rng, dtype, *shape):
    return ms.Tensor(rng.standard_normal(shape, np.float32)).astype(dtype)


def wait(result):
    """Ends when a result is there; bfloat16 has no array of its own."""
    first = result[0] if isinstance(result, tuple) else result
    first.astype(ms.float32).sum().asnumpy()


def sizes_of(o):
    heads = o.head_num, o.head_num // o.group
    return {
        "hidden_size": o.hidden_size,
        "head_num": heads[0],
        "key_value_head_num": heads[1],
        "key_head_dim": o.head_dim,
    }


def layer_calls(kind, length, o):
    """Calls of the sparse and of the dense layer."""
    dtype, rng = getattr(ms, o.dtype), np.random.default_rng(0)
    made = [
        ms_nsa.NativeSparseAttention(**sizes_of(o), compute_dtype=dtype),
        DenseLayer(**sizes_of(o), compute_dtype=dtype, window_size=length),
    ]
    x = tensor(rng, dtype, length, o.hidden_size)
    for layer in made:
        weights = [layer.to_query.weight, layer.to_key.weight, layer.to_value.weight, layer.to_out.weight]

        def loss(x, layer=layer):
            return layer(x).astype(ms.float32).mean()

        differentiate = ms.value_and_grad(loss, 0, weights)
        yield (lambda layer=layer: wait(layer(x))) if kind == "forward" else (lambda f=differentiate: wait(f(x)[1][0]))


def attention_calls(kind, length, o):
    """Calls without projections."""
    dtype, rng, kv = getattr(ms, o.dtype), np.random.default_rng(1), o.head_num // o.group
    query, gates = tensor(rng, dtype, length, o.head_num, o.head_dim), tensor(rng, ms.float32, length, o.head_num, 3)
    key, value = (tensor(rng, dtype, length, kv, o.head_dim) for _ in range(2))
    core, pool = ms_nsa.NsaAttention(o.head_num, kv), ms_nsa.NsaCompress()
    window = ms_nsa.NsaWindowAttention(o.head_num, length)

    def sparse(query, key, value):
        return core(query, key, value, gates, pool(key), pool(value))

    def dense(query, key, value):
        return window(query, key, value)[0]

    for attend in (sparse, dense):

        def loss(query, key, value, attend=attend):
            return attend(query, key, value).astype(ms.float32).mean()

        forward = functools.partial(attend, query, key, value)
        differentiate = functools.partial(ms.value_and_grad(loss, (0, 1, 2)), query, key, value)
        yield (lambda f=forward: wait(f())) if kind == "forward" else (lambda f=differentiate: wait(f()[1]))


def decode_calls(length, o):
    """One more token of each of o.batch sequences, with projections, whose parameters need no cast at every step."""
    dtype, rng = getattr(ms, o.dtype), np.random.default_rng(2)
    pages, heads = -(-length // PAGE), o.head_num // o.group
    compressed = -(-(length // STRIDE) // PAGE)
    tables = [
        ms.Tensor(rng.permutation(o.batch * each).reshape(o.batch, each).astype(np.int32))
        for each in (pages, compressed)
    ]
    x = tensor(rng, dtype, o.batch, o.hidden_size)
    lengths = ms.Tensor([1] * o.batch, ms.int64), ms.Tensor([length] * o.batch, ms.int64)
    for layer_class, window in ((ms_nsa.NativeSparseAttentionInfer, WINDOW), (DenseInfer, length)):
        cache = ms_nsa.NsaCache(o.batch * pages, o.batch * compressed, PAGE, heads, o.head_dim, o.head_dim, dtype)
        layer = layer_class(**sizes_of(o), param_dtype=dtype, compute_dtype=dtype, window_size=window, cache=cache)
        yield lambda layer=layer: wait(layer(x, *tables, *lengths))


def sdpa_call(kind, length, o):
    """PyTorch's scaled_dot_product_attention on tensors of the same sizes; None where PyTorch is not installed."""
    try:
        import torch
    except ImportError:
        return None
    dtype, kv = getattr(torch, o.dtype), o.head_num // o.group
    shapes = [(1, heads, length, o.head_dim) for heads in (o.head_num, kv, kv)]
    query, key, value = (torch.randn(shape).to(dtype).requires_grad_(kind == "gradient") for shape in shapes)

    def call():
        rows = key.repeat_interleave(o.group, 1), value.repeat_interleave(o.group, 1)
        out = torch.nn.functional.scaled_dot_product_attention(query, *rows, is_causal=True)
        if kind == "gradient":
            out.float().mean().backward()

    return call


def calls_of(kind, scope, length, o):
    """Calls of the sparse and of the dense one."""
    if kind == "decode":
        return decode_calls(length, o)
    return (layer_calls if scope == "layer" else attention_calls)(kind, length, o)


def rows_of(length, o):
    """All lines of one length."""
    for kind in o.kinds:
        for scope in ("layer",) if kind == "decode" else ("layer", "attention"):
            sparse, dense = (measure(call, o.repeats) for call in calls_of(kind, scope, length, o))
            by, other = "ms_nsa", sdpa_call(kind, length, o) if scope == "attention" else None
            if other is not None:
                seconds = measure(other, o.repeats)
                if seconds < dense:
                    dense, by = seconds, "PyTorch SDPA"
            extra = megabytes(kind, length, o) if scope == "layer" else NOT_MEASURED
            yield Row(kind, scope, length, sparse, dense, by, flop_ratio(kind, scope, length, o), *extra)


def megabytes(kind, length, o):
    """Memory of a call of the sparse and of the dense layer."""
    if kind == "decode" or o.no_memory:
        return NOT_MEASURED
    sizes = [word for name in SIZES for word in ("--" + name.replace("_", "-"), str(getattr(o, name)))]
    extra = (layer_memory.in_fresh_process(kind, "layer", which, length, sizes) for which in ("sparse", "dense"))
    return [size / 2**20 for size in extra]


def break_even(rows, kind, scope):
    """The shortest measured length from which on the sparse one is faster; None if there is none."""
    found = [row for row in rows if (row.kind, row.scope) == (kind, scope)]
    slower = [row.length for row in found if row.sparse > row.dense]
    faster = [row.length for row in found if row.length > max(slower, default=0)]
    return min(faster, default=None)


def draw(rows, path):
    from matplotlib.figure import Figure

    measured = {}
    for kind in KINDS:
        chosen = [row for row in rows if (row.kind, row.scope) == (kind, "layer")]
        measured[f"layer, {kind}", "seconds"] = [(row.length, row.sparse, row.dense) for row in chosen]
        with_memory = [(row.length, row.sparse_mb, row.dense_mb) for row in chosen if row.sparse_mb > 0]
        if kind == "gradient" and with_memory:
            measured["layer, memory of a gradient", "MB"] = with_memory
    figure = Figure(figsize=(3.6 * len(measured), 4), layout="tight")
    for axes, ((title, unit), points) in zip(figure.subplots(1, len(measured)), measured.items()):
        for at, name in enumerate(("sparse", "dense"), 1):
            axes.plot([point[0] for point in points], [point[at] for point in points], "o-", label=name)
        axes.set(xlabel="tokens", ylabel=unit, title=title, xscale="log", yscale="log")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(path, dpi=110)


TITLES = {
    "README.md": {
        "tokens": "tokens", "layer": "layer", "attention": "attention alone", "forward": "forward",
        "gradient": "with gradient", "decode": "decode", "memory": "memory with gradient, MB",
    },
    "README_CN.md": {
        "tokens": "token 数", "layer": "整层", "attention": "仅注意力", "forward": "前向",
        "gradient": "含梯度", "decode": "解码", "memory": "含梯度的内存，MB",
    },
}  # fmt: skip


def markdown(rows, readme="README.md"):
    """The table of the README: milliseconds of sparse and dense calls, and the realised share."""
    titles = TITLES[readme]
    shown = [(kind, scope) for scope in ("layer", "attention") for kind in KINDS]
    shown = [each for each in shown if any((row.kind, row.scope) == each for row in rows)]
    with_memory = any(row.sparse_mb > 0 for row in rows)
    heads = [titles["tokens"], *(f"{titles[scope]}, {titles[kind]}" for kind, scope in shown)]
    heads += [titles["memory"]] * with_memory
    lines = [f"| {' | '.join(heads)} |", "| --- " * len(heads) + "|"]
    for length in sorted({row.length for row in rows}):
        found = {(row.kind, row.scope): row for row in rows if row.length == length}
        cells = [_compared(found[each]) if each in found else "" for each in shown]
        if with_memory:
            gradient = found.get(("gradient", "layer"))
            cells.append(f"{gradient.sparse_mb:.0f} / {gradient.dense_mb:.0f}" if gradient else "")
        lines.append(f"| {length} | {' | '.join(cells)} |")
    return "\n".join(lines)


def saved(readme):
    """That table of the results in the repository; empty without."""
    path = RESULTS / "layer.csv"
    if not path.exists():
        return ""
    with path.open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    numbers = "sparse_s", "dense_s", "flop_ratio", "sparse_mb", "dense_mb"
    rows = []
    for line in lines:
        sparse, dense, *rest = (float(line[name]) for name in numbers)
        rows.append(Row(line["kind"], line["scope"], int(line["length"]), sparse, dense, line["dense_by"], *rest))
    return markdown(rows, readme)


def _compared(row):
    sparse, dense = (
        f"{1000 * value:.0f}" if value >= 1 else f"{1000 * value:.3g}" for value in (row.sparse, row.dense)
    )
    return f"{sparse} / {dense} ms, {row.realised:.0%}"


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m bench layer", description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024 << step for step in range(7)])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--head-num", type=int, default=16)
    parser.add_argument("--group", type=int, default=4, help="query heads of a key head")
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--hidden-size", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=8, help="sequences of decoding")
    parser.add_argument("--dtype", default="bfloat16", choices=("float16", "bfloat16", "float32"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true", help="leave out the memory of calls")
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS)
    return parser.parse_args(arguments)


def main(arguments=None):
    o, rows = parse(arguments), []
    print(" ".join(f"{name:>10}" for name in COLUMNS))
    for length in o.lengths:
        for row in rows_of(length, o):
            rows.append(row)
            print(" ".join(f"{value!s:>10}" for value in row.values()), flush=True)
    for kind, scope in sorted({(row.kind, row.scope) for row in rows}):
        print(f"{kind}, {scope}: faster than dense from {break_even(rows, kind, scope)} tokens on")
    o.output.mkdir(parents=True, exist_ok=True)
    with (o.output / "layer.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *(row.values() for row in rows)])
    draw(rows, o.output / "layer.png")
    print(markdown(rows))
    return 0
