# SPDX-License-Identifier: Apache-2.0
"""Proves the decoding oracles of the family: they equal the training oracles, bit by bit, whatever the pages."""

import numpy as np
import pytest

from ms_nsa.family_reference import compressed_seq_lens, nsa_compress, nsa_compress_attention, nsa_window_attention
from ms_nsa.paged_family_reference import (
    nsa_compress_attention_infer,
    nsa_compress_infer,
    nsa_window_attention_infer,
)

SEEDS = range(20)
LAYOUTS = [("BSH", "BSND"), ("BSND", "BNSD"), ("TND", "BSND"), ("TND", "merged")]


def paged(rng, rows, lens, page_size, form="BSND"):
    """Packed rows in shuffled pages with NaN wherever no row lies, and the table: (cache, block_table, arguments)."""
    pages = [-(-n // page_size) for n in lens]
    cache = np.full((sum(pages) + 2, page_size, *rows.shape[1:]), np.nan)
    ids = rng.permutation(len(cache))
    table = np.full((len(lens), max(pages, default=0) + 1), -7)
    for b, (n, end) in enumerate(zip(lens, np.cumsum(lens))):
        table[b, : pages[b]], ids = ids[: pages[b]], ids[pages[b] :]
        j = np.arange(n)
        cache[table[b, j // page_size], j % page_size] = rows[end - n : end]
    if form == "merged":
        cache = cache.reshape(*cache.shape[:2], -1)
    return (
        (cache.swapaxes(1, 2) if form == "BNSD" else cache),
        table,
        {"cache_layout": "BNSD" if form == "BNSD" else "BSND"},
    )


def padded(packed, q_lens, layout):
    """Packed tokens in the layout of a query, NaN where there is no token."""
    if layout == "TND":
        return packed
    out = np.full((len(q_lens), max(q_lens) + 1, *packed.shape[1:]), np.nan)
    for row, n, end in zip(out, q_lens, np.cumsum(q_lens)):
        row[:n] = packed[end - n : end]
    return out.reshape(*out.shape[:2], -1) if layout == "BSH" else out


def assert_tokens(array, packed, q_lens, layout, rest):
    """``array`` holds the packed tokens, ``rest`` in padded ones."""
    expected = padded(packed.astype(np.float64), q_lens, layout)
    np.testing.assert_array_equal(array, np.where(np.isnan(expected), rest, expected))


def random_batch(seed):
    """q_lens, kv_lens, and packed query, key, value of raw rows."""
    rng = np.random.default_rng([31, seed])
    batch, n2, group = (int(rng.integers(1, high)) for high in (5, 4, 4))
    kv_lens = rng.integers(0, 30, batch)
    q_lens = rng.integers(0, 6, batch)  # more of them than rows now and then
    widths = rng.integers(1, 5, 2)
    query = rng.standard_normal((q_lens.sum(), n2 * group, widths[0]))
    return rng, q_lens.tolist(), kv_lens.tolist(), query, *(rng.standard_normal((kv_lens.sum(), n2, d)) for d in widths)


@pytest.mark.parametrize(("layout", "form"), LAYOUTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_paged_compressed_attention_equals_training(seed, layout, form):
    rng, q_lens, kv_lens, query, raw_key, raw_value = random_batch(seed)
    size, stride, n = 6, int(rng.integers(1, 7)), 4
    ends = np.cumsum(q_lens), np.cumsum(kv_lens)
    key, value = (nsa_compress(raw, None, size, stride, ends[1]) for raw in (raw_key, raw_value))
    choice = {"init_blocks": 1, "local_blocks": 2}
    out, topk, *statistics = nsa_compress_attention(
        query, key, value, 0.8, query.shape[1], size, stride, 5, n,
        actual_seq_qlen=ends[0], actual_seq_kvlen=ends[1], sparse_mode=3, **choice,
    )  # fmt: skip
    counts, page_size = compressed_seq_lens(kv_lens, size, stride, per_sequence=True), int(rng.integers(1, 6))
    pages_rng = [np.random.default_rng([32, seed]) for _ in range(2)]
    key_cache, table, cache_layout = paged(pages_rng[0], key, counts, page_size, form)
    value_cache, _, _ = paged(pages_rng[1], value, counts, page_size, form)
    args = padded(query, q_lens, layout), key_cache, value_cache, 0.8, query.shape[1], key.shape[1], 5, n, page_size
    lens = {"block_table": table, "actual_seq_qlen": q_lens, "actual_sel_seq_kvlen": kv_lens}
    results = nsa_compress_attention_infer(
        *args, size, stride, layout, **lens, return_softmax_lse=True, **choice, **cache_layout
    )
    other = "BSND" if layout == "BSH" else layout
    assert_tokens(results[0], out, q_lens, layout, 0)
    for mine, its, rest in zip(results[1:], (topk, *statistics), (-1, -np.inf, 0)):
        assert_tokens(mine, its, q_lens, other, rest)
    again = nsa_compress_attention_infer(
        *args, size, stride, layout, **lens, actual_cmp_seq_kvlen=counts, **cache_layout
    )
    assert len(again) == 2 and again[1].dtype == np.int32  # 1 and 2 are the defaults
    for mine, its in zip(again, results):
        np.testing.assert_array_equal(mine, its)


@pytest.mark.parametrize(("layout", "form"), LAYOUTS)
@pytest.mark.parametrize("seed", SEEDS)
def test_paged_window_attention_equals_training(seed, layout, form):
    rng, q_lens, kv_lens, query, key, value = random_batch(seed)
    window, page_size = int(rng.integers(1, 12)), int(rng.integers(1, 6))
    lens = np.cumsum(q_lens), np.cumsum(kv_lens)
    out, *statistics = nsa_window_attention(query, key, value, None, query.shape[1], window, *lens)
    pages_rng = [np.random.default_rng([33, seed]) for _ in range(2)]
    key_cache, table, cache_layout = paged(pages_rng[0], key, kv_lens, page_size, form)
    value_cache, _, _ = paged(pages_rng[1], value, kv_lens, page_size, form)
    args = padded(query, q_lens, layout), key_cache, value_cache, None, query.shape[1], key.shape[1], window, page_size
    args = *args, layout, table, q_lens, kv_lens
    results = nsa_window_attention_infer(*args, return_softmax_lse=True, **cache_layout)
    assert_tokens(results[0], out, q_lens, layout, 0)
    for mine, its, rest in zip(results[1:], statistics, (-np.inf, 0)):
        assert_tokens(mine, its, q_lens, "BSND" if layout == "BSH" else layout, rest)
    np.testing.assert_array_equal(nsa_window_attention_infer(*args, **cache_layout), results[0])


def steps_of(rng, lens, most):
    """Numbers of new tokens per sequence, step by step, until the sequences are whole."""
    done = np.zeros(len(lens), int)
    while (done < lens).any():
        new = np.minimum(rng.integers(0, most + 1, len(lens)), lens - done)
        done = done + new
        yield new, done


@pytest.mark.parametrize("form", ["BSND", "BNSD", "merged"])
@pytest.mark.parametrize("most", [1, 5, 40])
@pytest.mark.parametrize(("size", "stride"), [(6, 4), (3, 3), (1, 1), (7, 2)])
def test_steps_fill_the_compressed_cache_as_training_does(form, most, size, stride):
    rng = np.random.default_rng([34, most, size])
    lens, page_size, row = np.array([29, 2, size, 33]), 5, (2, 3)
    raw, weight = rng.standard_normal((lens.sum(), *row)), rng.standard_normal((size, 2))
    counts = compressed_seq_lens(lens, size, stride, per_sequence=True)
    expected = nsa_compress(raw, weight, size, stride, np.cumsum(lens))
    input, table, cache_layout = paged(np.random.default_rng(35), raw, lens, page_size, form)
    whole, cmp_table, _ = paged(np.random.default_rng(36), expected, counts, 4, form)
    cache, slots_per_step = np.full_like(whole, np.nan), -(-most // stride)
    for new, done in steps_of(rng, lens, most):
        slots = np.full((len(lens), slots_per_step), 10**6)  # out of range, wherever no window ends
        for b, (before, after) in enumerate(
            zip(*(compressed_seq_lens(n, size, stride, True) for n in (done - new, done)))
        ):
            c = np.arange(before, after)
            slots[b, : len(c)] = cmp_table[b, c // 4] * 4 + c % 4
        arguments = {"block_table": table, "actual_seq_len": done, "actual_seq_qlen": new, "cache": cache}
        rows, found = nsa_compress_infer(input, weight, slots, size, stride, page_size, **arguments, **cache_layout)
        assert rows.shape == (4, slots_per_step, *row) and found.dtype == np.int32
        np.testing.assert_array_equal(found, np.where(slots == 10**6, -1, slots))
        assert not rows[found < 0].any()
    np.testing.assert_array_equal(cache, whole)  # rows that belong to no sequence are still NaN


def test_a_dropped_row_is_not_written():
    pages, table = np.arange(8.0).reshape(4, 2, 1, 1), [[3, 0, 2], [1, 2, 0]]
    cache = np.full((6, 1, 1), 9.0)
    rest = {"block_table": table, "actual_seq_len": [4, 4], "cache": cache}
    rows, slots = nsa_compress_infer(pages, None, [-1, 5], 2, 2, 2, **rest)
    assert rows.ravel().tolist() == [0, 4.5] and slots.tolist() == [[-1], [5]]
    assert cache.ravel().tolist() == [9] * 5 + [4.5]
    merged, _ = nsa_compress_infer(np.arange(16.0).reshape(4, 2, 2), None, [4, 5], 2, 2, 2, table, [4, 3])
    assert merged.tolist() == [[[[1, 2]]], [[[0, 0]]]]  # without weight two dimensions in one are one head


def test_decoding_equals_training():
    """Raw rows, compressed rows, attention: chunks of any size and single tokens give what training gives."""
    rng = np.random.default_rng(37)
    size, stride, lens = 6, 4, np.array([41, 23])
    ends, layer = np.cumsum(lens), {"sparse_mode": 3, "init_blocks": 1, "local_blocks": 2}
    query, raw = rng.standard_normal((64, 4, 3)), rng.standard_normal((64, 2, 3))
    key = nsa_compress(raw, None, size, stride, ends)
    trained = nsa_compress_attention(query, key, key, None, 4, size, stride, 5, 4, actual_seq_qlen=ends, **layer)
    for most in (1, 7):
        cache, table = np.full((6, 4, 2, 3), np.nan), np.array([[4, 1, 5], [0, 3, 2]])
        input, raw_table, _ = paged(rng, raw, lens, 5)
        for new, done in steps_of(rng, lens, most):
            windows = np.array(compressed_seq_lens(done - new, size, stride, True))[:, None] + np.arange(2)
            slots = table[np.arange(2)[:, None], np.minimum(windows // 4, 2)] * 4 + windows % 4
            lengths = {"actual_seq_len": done, "actual_seq_qlen": new}
            nsa_compress_infer(input, None, slots, size, stride, 5, raw_table, cache=cache, **lengths)
            tokens = np.concatenate([end - n + np.arange(d - q, d) for end, n, d, q in zip(ends, lens, done, new)])
            lengths = {"block_table": table, "actual_seq_qlen": new, "actual_sel_seq_kvlen": done}
            out, topk = nsa_compress_attention_infer(
                query[tokens], cache, cache, None, 4, 2, 5, 4, 4, size, stride, "TND", **lengths
            )
            np.testing.assert_array_equal(out, trained[0][tokens])
            np.testing.assert_array_equal(topk, trained[1][tokens])


def infer(tokens=1, select_block_size=5, **changed):
    """One sequence of 14 raw rows, 3 compressed ones (windows of 6 rows, every 4) in pages of 2, blocks of 5."""
    rest = {"block_table": [[1, 0]], "actual_sel_seq_kvlen": [14], "layout": "TND", **changed}
    query, cache = np.ones((tokens, 1, 1)), np.arange(4.0).reshape(2, 2, 1, 1)
    return nsa_compress_attention_infer(query, cache, cache, 0.0, 1, 1, select_block_size, 3, 2, 6, 4, **rest)


def test_raw_lengths_that_are_not_given_are_the_least_possible():
    out, topk = infer(actual_sel_seq_kvlen=[16])
    assert out.item() == pytest.approx((2 + 3 + 0) / 3) and topk.ravel().tolist() == [0, 2, 3]
    least = infer(actual_sel_seq_kvlen=None, actual_cmp_seq_kvlen=[3])  # rows 14 and 15 and block 3 unknown
    np.testing.assert_array_equal(least[1].ravel(), [0, 1, 2])
    for mine, its in zip(least, infer()):
        np.testing.assert_array_equal(mine, its)
    # No compressed row: there are at least the new tokens, which have their own blocks.
    few = {"select_block_size": 1, "actual_sel_seq_kvlen": None, "actual_cmp_seq_kvlen": [0]}
    assert infer(**few)[1].ravel().tolist() == [0, -1, -1]
    out, topk = infer(3, **few, actual_seq_qlen=[3])
    assert not out.any() and topk[:, 0].tolist() == [[0, -1, -1], [0, 1, -1], [0, 1, 2]]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"actual_sel_seq_kvlen": None}, "actual_cmp_seq_kvlen must be given"),
        ({"actual_cmp_seq_kvlen": [2]}, r"actual_cmp_seq_kvlen must be \[3\], got \[2\]"),
        ({"block_table": None}, "block_table must be given"),
        ({"block_table": [[1, 2]]}, r"block_table must name pages below 2, got \[1, 1, 2\]"),
        ({"block_table": [[-1, 0]]}, "block_table must name pages below 2"),
        ({"block_table": [[1]]}, "block_table must have a page for row 2"),
        ({"actual_seq_qlen": [2]}, "actual_seq_qlen must fit 1 sequences"),
        ({"actual_sel_seq_kvlen": [14, 3]}, "lengths of keys must be 1 numbers"),
        ({"topk_mask": np.zeros((1, 1))}, "topk_mask must be None"),
        ({"atten_mask": np.zeros((1, 1))}, "atten_mask must be None"),
    ],
)
def test_arguments_that_do_not_fit_are_errors(changed, message):
    with pytest.raises(ValueError, match=message):
        infer(**changed)


@pytest.mark.parametrize(
    ("slots", "q_lens", "message"),
    [
        ([1], [3], "slot_mapping must have a slot for every new window, got 1 per sequence"),
        ([1, 2], [1], "slot_mapping and actual_seq_qlen must be of 1 sequences"),
        ([1], [1, 1], "slot_mapping and actual_seq_qlen must be of 1 sequences"),
    ],
)
def test_slots_that_do_not_fit_are_errors(slots, q_lens, message):
    pages = np.zeros((4, 2, 1, 1))
    with pytest.raises(ValueError, match=message):
        nsa_compress_infer(pages, None, slots, 2, 1, 2, [[3, 0, 2]], [6], actual_seq_qlen=q_lens)
