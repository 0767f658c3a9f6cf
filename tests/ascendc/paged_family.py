# SPDX-License-Identifier: Apache-2.0
"""Decode calls of the sliding window and of compressed attention: tensors and attributes, the oracle's answer, and the
check of what the twin gives. Whatever no token sees is NaN: pages, rows of pages, padded tokens."""

import numpy as np

from ascendc import device
from ms_nsa import family_rules, paged_family_reference
from support import DTYPES, compare_tensor
from support.compare_topk import wrong_choice

WINDOW, COMPRESSED = "NsaWindowAttentionInfer", "NsaCompressAttentionInfer"
LAYOUTS = ("BSH", "BSND", "TND")
FORMS = ("BSND", "BNSD", "merged")


def paged_call(
    rng, dtype, q_lens, rows, layout="TND", form="BSND", n2=2, group=2, d1=32, d2=16, page=16, s=None, spare=1,
    scale_value=None, statistics=True,
):  # fmt: skip
    """Tensors and attributes that the operators share; `rows` of the cache each sequence has."""
    dtype, s = DTYPES[dtype], s or max([*q_lens, 1])
    pages = [-(-int(n) // page) for n in rows]
    table = rng.integers(-(2**31), 2**31 - 1, (len(rows), max([*pages, 1]) + spare)).astype(np.int32)
    ids = rng.permutation(sum(pages) + 2)
    caches = {name: np.full((len(ids), page, n2, d), np.nan, dtype) for name, d in (("key", d1), ("value", d2))}
    for b, n in enumerate(rows):
        table[b, : pages[b]], ids = ids[: pages[b]], ids[pages[b] :]
        j = np.arange(n)
        for cache in caches.values():
            cache[table[b, j // page], j % page] = rng.standard_normal((n, n2, cache.shape[-1]))
    shape = (sum(q_lens),) if layout == "TND" else (len(q_lens), s)
    query = rng.standard_normal((*shape, n2 * group, d1)).astype(dtype)
    for b, q_len in enumerate(q_lens if layout != "TND" else ()):
        query[b, q_len:] = np.nan
    tensors = {
        "query": query.reshape(*shape, -1) if layout == "BSH" else query,
        **{name: in_form(cache, form) for name, cache in caches.items()},
        "block_table": table,
        "actual_seq_qlen": np.array(q_lens, np.int64),
        "actual_seq_kvlen": np.array(rows, np.int64),
    }
    attributes = {
        "head_num": n2 * group, "key_value_head_num": n2, "page_block_size": page, "layout": layout,
        "default_scale": int(scale_value is None), "scale_value": scale_value or 0.0,
        "cache_layout": "BNSD" if form == "BNSD" else "BSND", "return_softmax_lse": int(statistics),
    }  # fmt: skip
    return tensors, attributes


def in_form(cache, form):
    if form == "BNSD":
        return np.ascontiguousarray(cache.swapaxes(1, 2))
    return cache.reshape(*cache.shape[:2], -1) if form == "merged" else cache


def window_call(rng, dtype, q_lens, kv_lens, window_size, **sizes):
    tensors, attributes = paged_call(rng, dtype, q_lens, kv_lens, **sizes)
    return tensors, {**attributes, "window_size": window_size}


def compressed_call(
    rng, dtype, q_lens, kv_lens, size=32, stride=16, block=64, count=16, init_blocks=1, local_blocks=2, **sizes
):  # fmt: skip
    """`kv_lens` are raw rows."""
    tensors, attributes = paged_call(rng, dtype, q_lens, windows_of(kv_lens, size, stride), **sizes)
    choice = {"init_blocks": init_blocks, "local_blocks": local_blocks}
    windows = {"compress_block_size": size, "compress_stride": stride}
    attributes.update(select_block_size=block, select_block_count=count, **windows, **choice)
    return {**tensors, "actual_seq_kvlen": np.array(kv_lens, np.int64)}, attributes


def for_reference(tensors, attributes):
    """The keyword arguments of the oracle."""
    given = {**tensors, **attributes, "return_softmax_lse": True}
    if given.pop("default_scale"):
        given["scale_value"] = None
    return given


def expected_window(tensors, attributes):
    return paged_family_reference.nsa_window_attention_infer(**for_reference(tensors, attributes))


def expected_compressed(tensors, attributes):
    """attention_out, topk_indices, softmax_max, softmax_sum."""
    given = for_reference(tensors, attributes)
    given["actual_sel_seq_kvlen"] = given.pop("actual_seq_kvlen")
    return paged_family_reference.nsa_compress_attention_infer(**given)


def check_chosen(tensors, attributes, topk_indices, expected):
    """By importance: what a kernel rounds may change places with what is as important."""
    size, stride, n2 = (attributes[name] for name in ("compress_block_size", "compress_stride", "key_value_head_num"))
    windows, block = family_rules.Windows(size, stride), attributes["select_block_size"]
    tokens = paged_family_reference.new_tokens(
        *(given[name] for given, name in ((tensors, "query"), (attributes, "layout"), (attributes, "head_num"))),
        tensors["block_table"], tensors["actual_seq_qlen"],
    )  # fmt: skip
    key = paged_family_reference.cache_rows(
        tensors["key"], n2, attributes["page_block_size"], attributes["cache_layout"]
    )
    sequences = paged_family_reference.paged_sequences(
        tokens, tensors["actual_seq_kvlen"].tolist(), tensors["block_table"], attributes["page_block_size"],
        len(tensors["key"]),
    )  # fmt: skip
    assert topk_indices.shape == expected.shape
    rows = topk_indices.reshape(-1, n2, attributes["select_block_count"])
    choice = family_rules.Choice(block, len(rows[0, 0]), attributes["init_blocks"], attributes["local_blocks"])
    largest = attributes["head_num"] // n2 * size / stride
    scale = None if attributes["default_scale"] else attributes["scale_value"]
    seen = np.zeros(rows.shape[:2], bool)
    for visit, importance in family_rules.block_importance(tokens.query, key, scale, sequences, windows, block):
        forced = family_rules.forced_blocks(visit, len(importance), choice)
        row, seen[visit.token, visit.head] = rows[visit.token, visit.head], True
        problem = wrong_choice(row, importance, forced, 2e-5 * largest)
        assert not problem, f"topk_indices[{visit.token}, {visit.head}] {problem}, got {row.tolist()}"
    assert (rows[~seen] == -1).all()


def check_results(tensors, found, expected, scale=1.0):
    """attention_out and the statistics; values are of size 1."""
    dtype, right = tensors["query"].dtype, dict(zip(("attention_out", "softmax_max", "softmax_sum"), expected))
    seen = expected[2][..., :1] if expected[0].ndim == expected[2].ndim else 1
    terms = np.ones_like(expected[0]) * (np.asarray(seen) > 0) * scale
    score = np.maximum(1, np.abs(np.where(np.isfinite(expected[1]), expected[1], 0)))
    kinds = {"attention_out": ("out", terms), "softmax_max": ("softmax_max", score)}
    kinds["softmax_sum"] = "softmax_sum", score * expected[2]
    for name, (kind, size) in kinds.items():
        compared = compare_tensor(found[name], right[name], kind, dtype, size)
        assert not compared.failure, f"{name} {compared.failure}"


def random_lengths(rng):
    """New tokens and raw rows of a few sequences, some of them without any, some with fewer rows than tokens."""
    batch = int(rng.integers(1, 5))
    kv_lens = rng.integers(0, int(rng.choice([20, 90, 700])), batch)
    return rng.integers(0, 4, batch).tolist(), kv_lens.tolist()


def random_sizes(rng):
    q_lens, kv_lens = random_lengths(rng)
    layout, form = str(rng.choice(LAYOUTS)), str(rng.choice(FORMS))
    if layout == "TND" and sum(q_lens) == 0:
        q_lens[0] = 1
    sizes = {"n2": int(rng.integers(1, 4)), "group": int(rng.choice([1, 2, 3, 4, 7, 16])), "layout": layout}
    widths = {name: 16 * int(rng.integers(1, 6)) for name in ("d1", "d2")}
    scale = {"scale_value": None if rng.random() < 0.5 else float(rng.normal())}
    return q_lens, kv_lens, {**sizes, **widths, **scale, "form": form, "page": 16 * int(rng.integers(1, 9))}


def run(operator, tensors, attributes, **options):
    return device.run(operator, tensors, attributes, **options)


def windows_of(kv_lens, compress_block_size, compress_stride):
    return [family_rules.window_count(int(n), compress_block_size, compress_stride) for n in kv_lens]
