# SPDX-License-Identifier: Apache-2.0
import json
import time

import numpy as np
import pytest

from twin import faults, twin


@pytest.fixture(scope="module")
def row_softmax():
    return twin.compile_kernel(faults.KERNELS / "row_softmax.cpp", halves=["vector"])


@pytest.fixture(scope="module")
def gather_rows():
    return twin.compile_kernel(faults.KERNELS / "gather_rows.cpp", halves=["vector"])


@pytest.fixture(scope="module")
def attention():
    return twin.compile_kernel(faults.KERNELS / "attention.cpp")


def assert_plausible(timing, **bytes_of_paths):
    """No core ends before its busiest pipe or after the sum of its pipes and what issuing takes; bytes are counted."""
    for core in timing["cores"]:
        busy = core["busy"].values()
        assert max(busy) <= core["modelled_cycles"] <= sum(busy) + 4 * core["instructions"]
        assert core["utilisation"] <= 1
    assert {name.replace("_", "->"): n for name, n in bytes_of_paths.items()}.items() <= timing["bytes"].items()


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("rows,columns", [(1, 1), (5, 63), (21, 130), (40, 1001), (17, 1499)])
@pytest.mark.parametrize("blocks,seed", [(1, 0), (3, 4)])
def test_row_softmax(row_softmax, rows, columns, blocks, seed):
    x = 3 * np.random.default_rng(rows).standard_normal((rows, columns)).astype(np.float32)
    tiling = np.array([rows, columns], np.uint32)
    arguments = [x, twin.output(x.shape, np.float32), None, tiling]
    result = row_softmax.launch("row_softmax", arguments, block_dim=blocks, seed=seed, preempt=3 if seed else 0)
    np.testing.assert_allclose(result.outputs[0], softmax(x.astype(np.float64)), rtol=2e-6, atol=1e-12)
    assert_plausible(result.timing, GM_UB=x.nbytes, UB_GM=x.nbytes)


def test_double_buffer_overlaps(row_softmax):
    """Copies in and out hide behind the arithmetic: the core takes less than the sum of its pipes."""
    x = np.random.default_rng(0).standard_normal((64, 1024)).astype(np.float32)
    arguments = [x, twin.output(x.shape, np.float32), None, np.array(x.shape, np.uint32)]
    result = row_softmax.launch("row_softmax", arguments, trace=True)
    events = [e for e in json.loads(result.trace)["traceEvents"] if e.get("ph") == "X"]
    busy = {}
    for e in events:
        busy[e["tid"]] = busy.get(e["tid"], 0) + e["dur"]
    span = max(e["ts"] + e["dur"] for e in events) - min(e["ts"] for e in events)
    assert span < 0.95 * sum(busy.values())


@pytest.mark.parametrize("count,width,taken", [(1, 7, 3), (130, 61, 61), (75, 333, 129)])
@pytest.mark.parametrize("blocks,seed", [(1, 0), (2, 9)])
def test_gather_rows(gather_rows, count, width, taken, blocks, seed):
    rng = np.random.default_rng(count)
    table = rng.standard_normal((37, width)).astype(np.float16)
    indices = rng.integers(-1, len(table), count).astype(np.int32)
    order = rng.permutation(width)[:taken].astype(np.uint32)
    tiling = np.array([count, len(table), width, taken], np.uint32)
    arguments = [table, indices, order, twin.output((count, taken), np.float16), None, tiling]
    result = gather_rows.launch("gather_rows", arguments, block_dim=blocks, seed=seed, preempt=5 if seed else 0)
    expected = np.where(indices[:, None] < 0, np.float16(0), table[indices][:, order])
    np.testing.assert_array_equal(result.outputs[0], expected)
    rows = int((indices >= 0).sum())
    assert result.timing["bytes"].get("GM->UB", 0) >= rows * width * 2
    assert_plausible(result.timing, UB_GM=expected.nbytes)


def run_attention(kernel, tokens, kv_heads, group, keys, blocks, **options):
    rng = np.random.default_rng(tokens + keys)
    query = rng.standard_normal((tokens, kv_heads * group, 192)).astype(np.float16)
    key = rng.standard_normal((keys, kv_heads, 192)).astype(np.float16)
    value = rng.standard_normal((keys, kv_heads, 128)).astype(np.float16)
    tiling = np.zeros(1, np.dtype([(n, "u4") for n in ("tokens", "kv_heads", "group", "keys")] + [("scale", "f4")]))
    tiling[0] = (tokens, kv_heads, group, keys, 192**-0.5)
    ring = 2 * (64 * 128 * 4 + 64 * 128 * 2 + 64 * 128 * 4)
    out = twin.output((tokens, kv_heads * group, 128), np.float16)
    arguments = [query, key, value, out, twin.workspace(blocks * ring), tiling]
    start = time.process_time()
    result = kernel.launch("attention", arguments, block_dim=blocks, **options)
    seconds = time.process_time() - start
    q = query.astype(np.float64).reshape(tokens, kv_heads, group, 192)
    weights = softmax(192**-0.5 * np.einsum("thgd,khd->thgk", q, key.astype(np.float64)))
    expected = np.einsum("thgk,khd->thgd", weights, value.astype(np.float64)).reshape(out.data.shape)
    np.testing.assert_allclose(result.outputs[0], expected, rtol=4e-3, atol=1e-3)
    return result, seconds


@pytest.mark.parametrize("tokens,kv_heads,group,keys", [(64, 1, 1, 128), (24, 3, 8, 384), (32, 2, 2, 256)])
def test_attention(attention, tokens, kv_heads, group, keys):
    run_attention(attention, tokens, kv_heads, group, keys, 2, seed=3, preempt=7)


def test_attention_with_all_checks_is_fast(attention):
    """The size that the twin promises to run with all checks in 10 s on one core; fast mode skips the checks."""
    checked, seconds = run_attention(attention, 64, 2, 4, 1024, 4)
    fast, _ = run_attention(attention, 64, 2, 4, 1024, 4, checks=False)
    assert seconds < 10
    np.testing.assert_array_equal(checked.outputs[0], fast.outputs[0])
    assert checked.timing["modelled_cycles"] == fast.timing["modelled_cycles"]
