# SPDX-License-Identifier: Apache-2.0
"""The inference Cell against the float64 reference: layouts, pages, ragged tokens."""

from dataclasses import replace

import numpy as np
import pytest

import ms_nsa
from support import (
    BARS,
    PAGED_CASES,
    check_forward,
    make_paged_case,
    random_paged_case,
    run_cells,
)
from support.run_cells import run_forward, same_bits

LAYOUTS = ("BSH", "BSND", "TND")
# As in test_select_attention.py: what differs for the compiler or the binding.
IN_GRAPH_MODE = [
    "minimal", "decode_bsnd", "decode_bsh", "decode_tnd", "rank_3_indices", "rank_3_indices_bsh", "padded_tokens",
    "multi_token_bsh", "multi_token_tnd", "zero_tokens_first_tnd", "left_up_causal", "no_kv_rows", "mask_bool",
    "mask_uint8", "scale_zero", "tail_11", "decode_example_small",
]  # fmt: skip


@pytest.fixture(params=LAYOUTS)
def layout(request):
    return request.param


def draw(seed, dtype, poison=False):
    return random_paged_case(np.random.default_rng([43, seed]), dtype, poison=poison)


def typical_case(dtype=np.float32, layout="BSND", seed=0, **changes):
    """Several tokens a sequence, padded but in TND, pages that blocks straddle, an empty sequence."""
    sizes = {
        "s": 3, "q_lens": [3, 1, 2, 2], "kv_lens": [45, 70, 0, 33], "n2": 3, "group": 2, "d1": 21, "d2": 35,
        "select_block_size": 9, "select_block_count": 5, "page_block_size": 14, "spare_pages": 2, "spare_slots": 1,
        "styles": ("holes", "repeated"),
    }  # fmt: skip
    return make_paged_case(np.random.default_rng([8, seed]), dtype, layout, **{**sizes, **changes})


@pytest.mark.parametrize("name", PAGED_CASES)
def test_named_cases(name, dtype):
    run_cells.check(PAGED_CASES[name](dtype))


@pytest.mark.parametrize("name", IN_GRAPH_MODE)
def test_named_cases_in_graph_mode(name, dtype_in_graph_mode):
    run_cells.check(PAGED_CASES[f"paged_{name}"](dtype_in_graph_mode), "graph")


@pytest.mark.parametrize("seed", range(40))
def test_random_cases(seed, dtype):
    run_cells.check(draw(seed, dtype, poison=bool(seed % 2)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_cases_in_graph_mode(seed, dtype):
    run_cells.check(draw(2000 + seed, dtype, poison=True), "graph")


def test_rows_without_tokens_or_keys_are_zero(layout, dtype):
    """Padded tokens, tokens of an empty sequence, tokens that select nothing: exactly zero."""
    case = typical_case(dtype, layout)
    case.topk_rows[1] = -1  # a view: token 1 of sequence 0
    (out,) = run_forward(case)
    rows = out.reshape(-1, case.head_num, case.value_rows.shape[2])
    used = np.zeros(len(rows), bool)
    for start, q_len, kv_len in zip(case.query_start, case.q_lens, case.actual_seq_kvlen):
        used[start : start + q_len] = kv_len > 0
    used[1] = False
    assert (rows[~used] == 0).all()
    assert rows[used].any(axis=(1, 2)).all()
    check_forward(case, out)


def test_poison_out_of_sight_changes_no_bit(setting, layout):
    """Also wild page ids beyond the kv length, and wild indices in padded tokens."""
    mode, dtype = setting
    case = typical_case(dtype, layout)
    assert same_bits(run_forward(case, mode), run_forward(case.poisoned(), mode))


def test_layouts_agree_bitwise(mode, dtype):
    """The same tokens packed, padded, and with heads as one dimension."""
    bsnd = typical_case(dtype)
    (expected,) = run_forward(bsnd, mode)
    heads = [cache.reshape(*cache.shape[:2], -1) for cache in (bsnd.key, bsnd.value)]
    bsh = replace(bsnd, layout="BSH", query=bsnd.query.reshape(*bsnd.query.shape[:2], -1), key=heads[0], value=heads[1])
    assert run_forward(bsh, mode)[0].tobytes() == expected.tobytes()
    kept = np.concatenate([start + np.arange(q) for start, q in zip(bsnd.query_start, bsnd.q_lens)])
    tnd = replace(
        bsnd, layout="TND", query=bsnd.query_rows[kept], topk_indices=bsnd.topk_rows[kept], key=heads[0], value=heads[1]
    )
    assert run_forward(tnd, mode)[0].tobytes() == expected.reshape(-1, *expected.shape[2:])[kept].tobytes()


def test_cache_layouts_agree_bitwise(setting, layout):
    """Heads before the rows of a page, or heads and their width as one: the same rows, the same bits."""
    mode, dtype = setting
    case = typical_case(dtype, layout, return_softmax_lse=True)
    expected = run_forward(case, mode)
    check_forward(case, *expected)
    assert same_bits(run_forward(case.heads_first().poisoned(), mode), expected)
    flat, split = (
        replace(case, **{name: getattr(case, name).reshape(len(case.key), case.page_block_size, *shape)})
        for name, shape in (("key", (-1,)), ("value", (case.key_value_head_num, -1)))
    )
    assert same_bits(run_forward(flat, mode), expected)
    assert same_bits(run_forward(split, mode), expected)


@pytest.mark.parametrize("layout", ["BSH", "BSND"])
def test_single_tokens_take_indices_of_either_rank(mode, layout, dtype):
    case = typical_case(dtype, layout, s=1, q_lens=None)
    rank_3 = replace(case, topk_indices=case.topk_indices[:, 0])
    assert (rank_3.topk_indices.ndim, case.topk_indices.ndim) == (3, 4)
    assert same_bits(run_forward(case, mode), run_forward(rank_3, mode))


def test_each_kv_head_uses_its_own_indices(layout):
    """Permuting the heads of everything permutes the heads of the output, bitwise."""
    case = typical_case(layout=layout)
    order = np.array([2, 0, 1])
    query_order = (2 * order[:, None] + np.arange(2)).ravel()
    permuted = replace(
        case,
        query=case.query_rows[:, query_order].reshape(case.query.shape),
        key=case.key_rows[:, order].reshape(case.key.shape),
        value=case.value_rows[:, order].reshape(case.value.shape),
        topk_indices=case.topk_rows[:, order].reshape(case.topk_indices.shape),
    )
    shape = (-1, case.head_num, case.value_rows.shape[2])
    (plain,), (out,) = run_forward(case), run_forward(permuted)
    assert plain.reshape(shape)[:, query_order].tobytes() == out.reshape(shape).tobytes()


def test_place_of_pages_does_not_matter(layout, dtype):
    """Moving pages and page ids together changes no bit."""
    case = typical_case(dtype, layout)
    order = np.random.default_rng(5).permutation(len(case.key))
    table = np.where(case.block_table >= 0, order[case.block_table], -1).astype(np.int32)
    place = np.argsort(order)
    moved = replace(case, key=case.key[place], value=case.value[place], block_table=table)
    assert not np.array_equal(table, case.block_table)
    assert same_bits(run_forward(case), run_forward(moved))


def test_padding_equals_leaving_slots_out(setting, layout):
    mode, dtype = setting
    case = typical_case(dtype, layout, styles=("repeated",))
    plain = run_forward(case, mode)
    for slots, absent in [([0, 1, 2, 3, 4], -1), ([3, 4, 5, 6, 7], -2), ([0, 2, 3, 6, 7], np.iinfo(np.int32).min)]:
        padded = np.full((*case.topk_indices.shape[:-1], 8), absent, np.int32)
        padded[..., slots] = case.topk_indices
        assert same_bits(plain, run_forward(replace(case, topk_indices=padded), mode))


def test_order_and_duplicates(layout, dtype):
    case = typical_case(dtype, layout, styles=("ascending",))
    tripled = np.tile(case.topk_indices, 3)
    for indices in (tripled, np.random.default_rng(3).permuted(tripled, axis=-1)):
        check_forward(case, *run_forward(replace(case, topk_indices=indices)))


def test_non_contiguous_inputs(setting, layout):
    mode, dtype = setting
    case = typical_case(dtype, layout, atten_mask=np.random.default_rng(1).random((3, 70)) < 0.2)
    arrays = case.query, case.key, case.value, case.topk_indices, case.block_table
    lengths = (np.array(lens, np.int64) for lens in (case.actual_seq_qlen, case.actual_seq_kvlen))
    inputs = [run_cells.to_strided_tensor(array) for array in (*arrays, *lengths, case.atten_mask)]
    assert not any(tensor.is_contiguous() for tensor in inputs)
    with run_cells.run_mode(mode):
        out = run_cells.forward_cell(case)(*inputs)
        assert run_cells.to_array(out).tobytes() == run_forward(case, mode)[0].tobytes()


@pytest.mark.parametrize("lengths", run_cells.LENGTHS)
def test_forms_of_lengths(mode, layout, lengths):
    case = typical_case(layout=layout)
    assert same_bits(run_forward(case), run_forward(case, mode, lengths))


def test_query_lengths_may_be_left_out(mode, layout):
    """S tokens each; in TND one each."""
    each = 1 if layout == "TND" else 3
    case = typical_case(layout=layout, q_lens=[each] * 4)
    assert same_bits(run_forward(case, mode), run_forward(replace(case, actual_seq_qlen=None), mode))


def test_mask_dtypes_and_values(mode):
    """Indexed by token of the sequence and row; bool, and uint8 with any non-zero value, also larger than needed."""
    drop = np.random.default_rng(2).random((3, 70)) < 0.4
    case = typical_case(atten_mask=drop)
    plain = run_forward(case, mode)
    check_forward(case, *plain)
    larger = np.ones((5, 83), np.uint8)
    larger[:3, :70] = drop * np.random.default_rng(4).integers(1, 256, drop.shape)
    for mask in (drop.astype(np.uint8), larger):
        assert same_bits(plain, run_forward(replace(case, atten_mask=mask), mode))
    assert not same_bits(plain, run_forward(replace(case, atten_mask=None), mode))


@pytest.mark.parametrize("changes", [{"scale_value": -0.7}, {"scale_value": 0}, {"sparse_mode": 2}])
def test_attributes_take_effect(mode, layout, changes):
    base = typical_case(layout=layout, kv_lens=[5, 3, 0, 4], select_block_size=2, scale_value=0.31, sparse_mode=3)
    case = replace(base, **changes)
    results = run_forward(case, mode)
    check_forward(case, *results)
    assert not same_bits(results, run_forward(base, mode))


def test_causal_modes_0_and_3_are_the_same(layout):
    case = typical_case(layout=layout, sparse_mode=3)
    assert same_bits(run_forward(case), run_forward(replace(case, sparse_mode=0)))


def test_functional_form(mode, layout):
    """Positions of torch_npu.npu_nsa_select_attention_infer; from layout on also by keyword."""
    case = typical_case(layout=layout, scale_value=0.25, atten_mask=np.random.default_rng(1).random((3, 70)) < 0.2)
    plain = run_forward(case, mode)
    query, key, value, topk, table, qlen, kvlen, mask = run_cells.forward_inputs(case)
    sizes = (case.head_num, case.key_value_head_num, case.select_block_size, case.select_block_count)
    positional = (query, key, value, topk, 0.25, *sizes, case.page_block_size)
    with run_cells.run_mode(mode):
        results = [
            ms_nsa.nsa_select_attention_infer(*positional, layout, mask, table, qlen, kvlen),
            ms_nsa.nsa_select_attention_infer(
                *positional, layout=layout, atten_mask=mask, block_table=table, actual_seq_qlen=list(qlen),
                actual_seq_kvlen=list(kvlen),
            ),
        ]  # fmt: skip
        for result in results:
            assert same_bits(plain, (run_cells.to_array(result),))


def test_default_layout_is_bsnd(mode):
    case = typical_case()
    sizes = (case.head_num, 3, case.select_block_size, case.select_block_count, case.page_block_size)
    inputs = run_cells.forward_inputs(case)
    with run_cells.run_mode(mode):
        out = ms_nsa.NsaSelectedAttentionInfer(*sizes)(*inputs)
        assert same_bits(run_forward(case, mode), (run_cells.to_array(out),))


def test_agrees_with_training_cell(dtype):
    """Decoding the last token equals the training Cell on the whole sequence under the right-down causal rule."""
    case = typical_case(dtype, s=1, q_lens=None, kv_lens=[61, 40, 7, 33], styles=("ascending",))
    (out,) = run_forward(case)
    training = ms_nsa.NsaSelectAttention(case.head_num, None, 9, 5, sparse_mode=3)
    for b, kv_len in enumerate(case.actual_seq_kvlen):
        rows = case.block_table[b, np.arange(kv_len) // 14] * 14 + np.arange(kv_len) % 14
        packed = [case.query[b], case.key_rows[rows], case.value_rows[rows], case.topk_indices[b]]
        expected = run_cells.to_array(training(*map(run_cells.to_tensor, packed))[0]).astype(np.float32)
        tolerance = 4 * BARS[np.dtype(dtype).name]["out"].rms
        np.testing.assert_allclose(out[b].astype(np.float32), expected, rtol=tolerance, atol=tolerance)
