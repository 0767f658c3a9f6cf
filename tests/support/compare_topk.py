# SPDX-License-Identifier: Apache-2.0
"""Compares chosen blocks with the oracle's importance.

A kernel's importance is rounded, so blocks whose importances are closer than its error may change places. What does
not depend on rounding must be right: structure, forced blocks, and the order of blocks without any importance.
"""

import numpy as np

from ms_nsa import family_rules, reference

EPSILON = {"float16": 4e-3, "bfloat16": 4e-3, "float32": 1e-5}  # of the largest importance, G * l / d


def check_topk_indices(topk_indices, arguments, dtype):
    """``arguments`` are the keyword arguments of nsa_compress_attention with the values that the kernel got."""
    count, topk_indices = arguments["select_block_count"], np.asarray(topk_indices)
    shape = (len(arguments["query"]), arguments["key"].shape[1], count)
    assert topk_indices.shape == shape and topk_indices.dtype == np.int32, f"{topk_indices.dtype} {topk_indices.shape}"
    group = arguments["query"].shape[1] // arguments["key"].shape[1]
    largest = group * arguments["compress_block_size"] / arguments["compress_stride"]
    seen = np.zeros(shape[:2], bool)
    for visit, importance, forced in _candidates(**arguments):
        row, seen[visit.token, visit.head] = topk_indices[visit.token, visit.head], True
        problem = wrong_choice(row, importance, forced, EPSILON[np.dtype(dtype).name] * largest)
        assert not problem, f"topk_indices[{visit.token}, {visit.head}] {problem}, got {row.tolist()}"
    assert seen.all()


def _candidates(
    query, key, value, scale_value, head_num, compress_block_size, compress_stride, select_block_size,
    select_block_count, topk_mask=None, atten_mask=None, actual_seq_qlen=None, actual_cmp_seq_kvlen=None,
    actual_sel_seq_kvlen=None, actual_seq_kvlen=None, sparse_mode=0, init_blocks=0, local_blocks=0,
):  # fmt: skip
    """Every token at every kv head with the importance of its candidates and which of them are forced."""
    query, key = reference.float64(query, key)
    windows = family_rules.Windows(compress_block_size, compress_stride, sparse_mode)
    sequences = family_rules.compressed_sequences(query, key, head_num, windows, actual_seq_qlen, actual_seq_kvlen)
    choice = family_rules.Choice(select_block_size, select_block_count, init_blocks, local_blocks, topk_mask)
    sizes = windows, select_block_size
    for visit, importance in family_rules.block_importance(query, key, scale_value, sequences, *sizes, atten_mask):
        yield visit, importance, family_rules.forced_blocks(visit, len(importance), choice)


def wrong_choice(row, importance, forced, epsilon):
    """What is wrong with one row of topk_indices, empty if it is right."""
    expected = family_rules.choose(importance, forced, len(row))
    chosen = row[: len(expected)]
    if (row[len(expected) :] != -1).any() or (chosen < 0).any() or (chosen >= len(importance)).any():
        return f"must hold {len(expected)} blocks below {len(importance)}, then -1"
    if (np.diff(chosen) <= 0).any():
        return "must ascend"
    if not np.isin(expected[forced[expected]], chosen).all():
        return f"must hold the forced blocks {expected[forced[expected]].tolist()}"
    rank = np.where(np.isnan(importance), np.inf, importance)
    free, exact = chosen[~forced[chosen]], expected[~forced[expected]]
    if np.isin(rank[~forced], (0, np.inf)).all() and free.tolist() != exact.tolist():
        return f"must hold {exact.tolist()}, without any difference of importance"
    if (rank[free] < rank[exact].min(initial=np.inf) - epsilon).any():
        return f"must hold the most important blocks {exact.tolist()}"
    return ""
