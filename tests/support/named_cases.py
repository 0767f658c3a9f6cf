# SPDX-License-Identifier: Apache-2.0
"""The classic edges as fixed cases: NAMED_CASES maps a name to a function of the dtype (and the profile).

A profile that does not take a size gets the next larger one, so that every backend runs every edge.
"""

import zlib
from functools import partial

import numpy as np

from .generators import ANY, INDEX_STYLES, make_paged_case, make_select_case, random_mask

SIZES = {"n2": 2, "group": 3, "d1": 37, "d2": 29, "select_block_size": 17, "select_block_count": 4}
STYLES = [style for style in INDEX_STYLES if style != "absent"]
TAILS = range(1, 16)


def _select(name, dtype, profile=ANY, *, q_lens=(5, 9), kv_lens=(61, 95), edit=None, **arguments):
    case = make_select_case(_rng(name), dtype, q_lens, kv_lens, name=name, **_sized(profile, arguments))
    if edit:
        edit(case)
    return case


def _paged(name, dtype, profile=ANY, *, layout="BSND", s=1, q_lens=None, kv_lens=(61, 0, 95), edit=None, **arguments):
    sizes = _sized(profile, {"page_block_size": 23, "spare_pages": 2, "spare_slots": 1, **arguments}, True)
    case = make_paged_case(_rng(name), dtype, layout, s, q_lens, kv_lens, name=name, **sizes)
    if edit:
        edit(case)
    return case


def _rng(name):
    return np.random.default_rng(zlib.crc32(name.encode()))


def _sized(profile, arguments, paged=False):
    arguments = {"styles": STYLES, **SIZES, **arguments}
    names = ["d1", "d2", "select_block_size"] + ["page_block_size"] * paged
    fitting = profile.nearest(**{name: arguments[name] for name in names})
    return {**arguments, **{name: fitting[name] for name in names}}


def _lengths_none(case):
    case.actual_seq_qlen = case.actual_seq_kvlen = None


def _first_slot_absent(case):
    case.topk_indices[..., 0] = -1


def _only_last_block(case):
    """Each token selects the last block of its sequence only: under a causal rule most see nothing."""
    case.topk_indices[:] = -1
    ends, starts = case.kv_ends, np.concatenate([[0], case.kv_ends[:-1]])
    for token, b in enumerate(np.searchsorted(case.q_ends, np.arange(len(case.query)), side="right")):
        case.topk_indices[token, :, -1] = -(-(ends[b] - starts[b]) // case.select_block_size) - 1


def _mask(case, rows, cols, dtype=bool):
    """Random, with some rows dropped altogether."""
    rng, mask = _rng(case.name), None
    while mask is None or mask.dtype != dtype:
        mask = random_mask(rng, rows, cols)
    case.atten_mask = mask


def _mask_hides_first_block(case):
    case.atten_mask = np.zeros((9, 95), bool)
    case.atten_mask[:, : case.select_block_size] = True


def _mask_hides_all(case):
    case.atten_mask = np.ones((9, 95), np.uint8)


def _integer_scores(case, step):
    """Scores in the thousands that float32 still computes exactly: only exp and its range are at stake."""
    rng = _rng(case.name)
    case.query, case.key = (
        (step * rng.integers(-8, 9, array.shape)).astype(case.dtype) for array in (case.query, case.key)
    )


def _nan_in_first_block(case):
    """Tokens that see the row get NaN; nobody else does."""
    case.value[3, 0] = np.nan


def _nan_in_first_page(case):
    case.value[case.block_table[0, 0], 3, 0] = np.nan


def _rank_3_indices(case):
    case.topk_indices = case.topk_indices[:, 0]


def _shared_first_page(case):
    case.block_table[:, 0] = case.block_table[0, 0]


SELECT = {
    "minimal": {"q_lens": [1], "kv_lens": [1], "styles": ["distinct"], **dict.fromkeys(SIZES, 1)},
    "two_sequences": {"styles": ["distinct"]},
    "no_lengths": {"q_lens": [11], "kv_lens": [79], "edit": _lengths_none},
    "many_short_sequences": {"q_lens": [1, 2, 0, 3] * 10, "kv_lens": [3, 1, 2, 0] * 10},
    "token_chunks": {"q_lens": [3, 1058], "kv_lens": [20, 70], "n2": 1, "group": 1, "d1": 18, "d2": 9},
    # lengths of zero
    "no_tokens": {"q_lens": [0, 0], "kv_lens": [7, 20]},
    "no_kv_rows": {"q_lens": [3, 2], "kv_lens": [0, 0]},
    "nothing_at_all": {"q_lens": [0], "kv_lens": [0]},
    "zero_lengths_anywhere": {"q_lens": [0, 3, 0, 0, 4, 2, 0], "kv_lens": [5, 0, 0, 7, 40, 3, 21]},
    "zero_lengths_causal": {"q_lens": [0, 3, 2, 0], "kv_lens": [5, 0, 40, 3], "sparse_mode": 3},
    # index rows
    "empty_rows": {"styles": ["absent", "distinct"]},
    "all_rows_empty": {"styles": ["absent"]},
    "first_slot_absent": {"edit": _first_slot_absent},
    "holes": {"styles": ["holes"], "select_block_count": 7},
    "one_block_in_every_slot": {"styles": ["one_block"], "select_block_count": 5},
    "repeated": {"styles": ["repeated"], "select_block_count": 13},
    "one_slot": {"styles": ["distinct"], "select_block_count": 1},
    "more_slots_than_blocks": {"styles": ["ascending"], "select_block_count": 20},
    "every_block": {
        "styles": ["distinct"], "kv_lens": [96, 88], "select_block_size": 32, "select_block_count": 3,
    },
    # block sizes against lengths
    "last_block_of_one_row": {"kv_lens": [65, 97], "select_block_size": 32, "styles": ["last_block"]},
    "last_block_full": {"kv_lens": [64, 96], "select_block_size": 32, "styles": ["last_block"]},
    "last_block_lacks_one_row": {"kv_lens": [63, 95], "select_block_size": 32, "styles": ["last_block"]},
    "block_longer_than_sequence": {"kv_lens": [3, 50], "select_block_size": 128, "select_block_count": 2},
    "block_of_one_row": {"select_block_size": 1, "select_block_count": 19},
    "one_visible_row": {"kv_lens": [1, 1], "select_block_count": 1, "styles": ["distinct"]},
    # masks
    "left_up_causal": {"q_lens": [61, 40], "kv_lens": [61, 40], "sparse_mode": 2},
    "left_up_causal_long_kv": {"kv_lens": [200, 3], "sparse_mode": 2, "select_block_size": 5},
    "right_down_causal": {"sparse_mode": 3, "styles": ["last_block"]},
    "right_down_causal_more_queries_than_rows": {"q_lens": [13, 9], "kv_lens": [6, 9], "sparse_mode": 3},
    "causal_hides_the_selection": {
        "q_lens": [61, 40], "kv_lens": [61, 40], "sparse_mode": 2, "edit": _only_last_block,
    },
    "mask_bool": {"edit": partial(_mask, rows=9, cols=95)},
    "mask_uint8": {"edit": partial(_mask, rows=9, cols=95, dtype=np.uint8)},
    "mask_and_left_up_causal": {
        "q_lens": [30, 40], "kv_lens": [30, 40], "sparse_mode": 2, "edit": partial(_mask, rows=40, cols=40),
    },
    "mask_and_right_down_causal": {"sparse_mode": 3, "edit": partial(_mask, rows=9, cols=95)},
    "mask_hides_a_block": {"edit": _mask_hides_first_block},
    "mask_hides_all": {"edit": _mask_hides_all},
    # numbers
    "scale_zero": {"scale_value": 0.0, "sparse_mode": 3, "edit": partial(_mask, rows=9, cols=95)},
    "scale_negative": {"scale_value": -0.3, "sparse_mode": 3, "edit": partial(_mask, rows=9, cols=95)},
    "scale_large": {"scale_value": 0.7},
    "scores_in_the_thousands": {"scale_value": 2.0, "edit": partial(_integer_scores, step=1)},
    "scores_beyond_float16": {"scale_value": 0.25, "edit": partial(_integer_scores, step=32)},
    "nan_reaches_only_its_readers": {
        "styles": ["distinct"], "select_block_count": 1, "edit": _nan_in_first_block,
    },
    # heads
    "one_head": {"n2": 1, "group": 1},
    "groups_of_one": {"n2": 5, "group": 1},
    "one_kv_head": {"n2": 1, "group": 7},
    "group_of_16": {"n2": 3, "group": 16},
    "group_of_17": {"n2": 2, "group": 17},
    "value_wider_than_key": {"d1": 17, "d2": 131},
    "key_wider_than_value": {"d1": 207, "d2": 1},
    "torch_npu_example_small": {
        "q_lens": [4, 4], "kv_lens": [1024, 512], "n2": 4, "group": 4, "d1": 192, "d2": 128,
        "select_block_size": 64, "select_block_count": 16, "styles": ["ascending"],
    },
}  # fmt: skip
for _tail in TAILS:  # factors that are coprime with 15 send the tails of the sizes round in different orders
    SELECT[f"tail_{_tail:02}"] = {
        "q_lens": [_tail, 2 * _tail % 15 + 1], "kv_lens": [64 + _tail, 4 * _tail % 15 + 1],
        "group": 8 * _tail % 15 + 1, "d1": 48 + 11 * _tail % 15 + 1, "d2": 16 + _tail,
        "select_block_size": 7 * _tail % 15 + 1, "select_block_count": 13 * _tail % 15 + 1,
    }  # fmt: skip

PAGED = {
    "minimal": {"kv_lens": [1], "page_block_size": 1, "styles": ["distinct"], **dict.fromkeys(SIZES, 1)},
    "decode_bsnd": {},
    "decode_bsh": {"layout": "BSH"},
    "decode_tnd": {"layout": "TND"},
    "rank_3_indices": {"edit": _rank_3_indices},
    "rank_3_indices_bsh": {"layout": "BSH", "edit": _rank_3_indices},
    "many_sequences": {"kv_lens": [3, 40, 0, 19, 23] * 14, "n2": 1},
    # tokens
    "multi_token": {"s": 4},
    "multi_token_bsh": {"s": 3, "layout": "BSH", "q_lens": [3, 2, 3]},
    "multi_token_tnd": {"layout": "TND", "q_lens": [4, 1, 3]},
    "padded_tokens": {"s": 5, "q_lens": [2, 5, 0]},
    "zero_tokens_first_tnd": {"layout": "TND", "q_lens": [0, 2, 3], "kv_lens": [30, 0, 70]},
    "tokens_across_a_block": {
        "s": 4, "kv_lens": [35, 33, 32], "select_block_size": 16, "styles": ["last_block"],
    },
    "more_tokens_than_rows": {"s": 6, "kv_lens": [2, 5, 6], "select_block_size": 2},
    "left_up_causal": {"s": 6, "kv_lens": [4, 6, 50], "select_block_size": 3, "sparse_mode": 2},
    "right_down_causal": {"s": 4, "sparse_mode": 3},
    # lengths, pages and blocks
    "no_kv_rows": {"kv_lens": [0, 0], "s": 2},
    "page_of_one_row": {"page_block_size": 1},
    "page_larger_than_cache": {"page_block_size": 130},
    "pages_exactly_full": {"page_block_size": 16, "kv_lens": [64, 16, 96]},
    "last_page_of_one_row": {"page_block_size": 16, "kv_lens": [65, 1, 17]},
    "blocks_cross_pages": {"page_block_size": 64, "select_block_size": 48, "kv_lens": [200, 129, 64]},
    "blocks_of_two_pages": {"page_block_size": 64, "select_block_size": 128, "kv_lens": [250, 129, 64]},
    "blocks_of_many_pages": {"page_block_size": 16, "select_block_size": 128, "kv_lens": [250, 129, 64]},
    "pages_of_many_blocks": {"page_block_size": 128, "select_block_size": 16, "kv_lens": [250, 129, 64]},
    "common_first_page": {"kv_lens": [61, 70, 95], "edit": _shared_first_page},
    "table_longer_than_needed": {"spare_slots": 7},
    # index rows
    "empty_rows": {"styles": ["absent", "distinct"], "s": 3},
    "all_rows_empty": {"styles": ["absent"], "s": 2},
    "first_slot_absent": {"edit": _first_slot_absent, "s": 2},
    "holes": {"styles": ["holes"], "s": 2, "select_block_count": 7},
    "one_block_in_every_slot": {"styles": ["one_block"], "select_block_count": 5},
    "repeated": {"styles": ["repeated"], "select_block_count": 13},
    "more_slots_than_blocks": {"styles": ["ascending"], "select_block_count": 20},
    # numbers and masks
    "mask_bool": {"s": 4, "edit": partial(_mask, rows=4, cols=95)},
    "mask_uint8": {"s": 4, "edit": partial(_mask, rows=4, cols=95, dtype=np.uint8)},
    "mask_and_left_up_causal": {"s": 4, "sparse_mode": 2, "edit": partial(_mask, rows=4, cols=95)},
    "scale_zero": {"scale_value": 0.0, "s": 3},
    "scale_negative": {"scale_value": -0.3, "s": 3},
    "scores_in_the_thousands": {"scale_value": 2.0, "edit": partial(_integer_scores, step=1)},
    "nan_reaches_only_its_readers": {
        "s": 6, "styles": ["distinct"], "select_block_count": 1, "edit": _nan_in_first_page,
    },
    # heads
    "groups_of_one": {"n2": 5, "group": 1},
    "group_of_16": {"n2": 3, "group": 16},
    "group_of_17": {"n2": 2, "group": 17, "s": 2},
    "value_wider_than_key": {"d1": 17, "d2": 131},
    "decode_example_small": {
        "kv_lens": [1100, 512], "n2": 4, "group": 4, "d1": 192, "d2": 128, "page_block_size": 128,
        "select_block_size": 64, "select_block_count": 16, "styles": ["ascending"],
    },
}  # fmt: skip
for _tail in TAILS:
    PAGED[f"tail_{_tail:02}"] = {
        "s": 4 * _tail % 15 + 1, "kv_lens": [64 + _tail, 2 * _tail % 15 + 1],
        "group": 8 * _tail % 15 + 1, "d1": 48 + 11 * _tail % 15 + 1, "d2": 16 + _tail,
        "page_block_size": 7 * _tail % 15 + 1, "select_block_size": 13 * _tail % 15 + 1,
    }  # fmt: skip

SELECT_CASES = {f"select_{name}": partial(_select, f"select_{name}", **made) for name, made in SELECT.items()}
PAGED_CASES = {f"paged_{name}": partial(_paged, f"paged_{name}", **made) for name, made in PAGED.items()}
NAMED_CASES = {**SELECT_CASES, **PAGED_CASES}
