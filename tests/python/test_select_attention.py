# SPDX-License-Identifier: Apache-2.0
"""The training Cells against the float64 reference: forward, gradient Cell, automatic differentiation."""

from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest

import ms_nsa
from support import (
    SELECT_CASES,
    check_forward,
    check_gradients,
    make_select_case,
    random_select_case,
    run_cells,
)
from support.run_cells import run_forward, run_gradients, run_training, same_bits

# Compiling two graphs a case costs half a second, so Graph mode runs the cases that differ in what is compiled or
# in what the binding makes of the arguments; the kernels are the same in both modes.
IN_GRAPH_MODE = [
    "minimal", "no_lengths", "no_tokens", "no_kv_rows", "nothing_at_all", "zero_lengths_anywhere", "empty_rows",
    "right_down_causal", "mask_bool", "mask_uint8", "mask_and_left_up_causal", "scale_zero", "scale_negative",
    "tail_07", "torch_npu_example_small",
]  # fmt: skip


def draw(seed, dtype, poison=False):
    return random_select_case(np.random.default_rng([42, seed]), dtype, poison=poison)


def typical_case(dtype=np.float32, seed=0, **changes):
    """Ragged sequences, holes and duplicates in the index rows, a causal rule."""
    sizes = {
        "q_lens": [7, 0, 12], "kv_lens": [45, 11, 70], "n2": 3, "group": 2, "d1": 21, "d2": 35,
        "select_block_size": 9, "select_block_count": 5, "sparse_mode": 3, "styles": ("holes", "repeated"),
    }  # fmt: skip
    return make_select_case(np.random.default_rng([7, seed]), dtype, **{**sizes, **changes})


def assert_right(case, results):
    check_forward(case, *results[:3])
    check_gradients(case, *results[3:])


@pytest.mark.parametrize("name", SELECT_CASES)
def test_named_cases(name, dtype):
    case = SELECT_CASES[name](dtype)
    run_cells.check(case)
    check_gradients(case, *run_gradients(case))


@pytest.mark.parametrize("name", IN_GRAPH_MODE)
def test_named_cases_in_graph_mode(name, dtype_in_graph_mode):
    run_cells.check(SELECT_CASES[f"select_{name}"](dtype_in_graph_mode), "graph")


@pytest.mark.parametrize("seed", range(40))
def test_random_cases(seed, dtype):
    case = draw(seed, dtype, poison=bool(seed % 2))
    run_cells.check(case)
    check_gradients(case, *run_gradients(case))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_cases_in_graph_mode(seed, dtype):
    case = draw(2000 + seed, dtype, poison=True)
    run_cells.check(case, "graph")
    check_gradients(case, *run_gradients(case, "graph"))


def test_outputs_start_as_nan(mode):
    """The runs above rely on it to show an element that a kernel forgot. The pool decides; often is enough."""
    hits = 0
    for seed in range(20):
        case = typical_case(seed=seed)
        with run_cells.run_mode(mode):
            inputs = run_cells.forward_inputs(case)
            filled = run_cells.fill_free_memory(case)
            outputs = run_cells.forward_cell(case)(*inputs)
            hits += sum(any(a <= out.data_ptr() < b for a, b in filled) for out in outputs)
    assert hits > 0


def test_statistics_are_repeated_8_times(setting):
    mode, dtype = setting
    case = typical_case(dtype, styles=None)
    for statistic in run_forward(case, mode)[1:]:
        assert statistic.dtype == np.float32
        assert statistic.shape == (*case.query.shape[:2], 8)
        assert (statistic.view(np.uint32) == statistic.view(np.uint32)[..., :1]).all()


def test_rows_without_visible_keys(setting):
    """Output 0, maximum -inf, sum 0, gradients 0, exactly."""
    mode, dtype = setting
    case = typical_case(dtype, sparse_mode=2)
    case.topk_indices[:9] = -1
    case.topk_indices[9:13, 1] = -5
    results = out, top, total, dq, dk, dv = run_training(case, mode)
    for rows in (np.s_[:9], np.s_[9:13, 2:4]):
        assert (top[rows] == -np.inf).all()
        for result in (out[rows], total[rows], dq[rows]):
            assert (result == 0).all()
    assert (dk[:45] == 0).all() and (dv[:45] == 0).all()
    assert_right(case, results)


def test_poison_out_of_sight(setting):
    """NaN and Inf in rows that are masked, causally hidden or not selected, inside visible blocks too."""
    mode, dtype = setting
    case = typical_case(dtype, atten_mask=np.random.default_rng(1).random((12, 70)) < 0.2).poisoned()
    assert not np.isfinite(case.key.astype(np.float32)).all()
    assert_right(case, run_training(case, mode))
    check_gradients(case, *run_gradients(case, mode))


def test_padding_equals_leaving_slots_out(setting):
    """-1 between, before and behind the entries, bitwise."""
    mode, dtype = setting
    case = typical_case(dtype, styles=("repeated",))
    t1, n2, count = case.topk_indices.shape
    plain = run_training(case, mode)
    for slots, absent in [([0, 1, 2, 3, 4], -1), ([3, 4, 5, 6, 7], -2), ([0, 2, 3, 6, 7], np.iinfo(np.int32).min)]:
        padded = np.full((t1, n2, count + 3), absent, np.int32)
        padded[..., slots] = case.topk_indices
        assert same_bits(plain, run_training(replace(case, topk_indices=padded), mode))


def test_order_of_slots_does_not_matter(setting):
    mode, dtype = setting
    case = typical_case(dtype)
    shuffled = np.random.default_rng(3).permuted(case.topk_indices, axis=2)
    assert (shuffled != case.topk_indices).any()
    assert_right(case, run_training(replace(case, topk_indices=shuffled), mode))


def test_duplicates_count_per_occurrence(setting):
    """Every block three times: the same weights, three times the sum."""
    mode, dtype = setting
    once = typical_case(dtype, styles=("ascending",))
    results = run_training(replace(once, topk_indices=np.tile(once.topk_indices, 3)), mode)
    assert_right(once, (*results[:2], results[2] / 3, *results[3:]))


def test_non_contiguous_inputs(setting):
    mode, dtype = setting
    case = typical_case(dtype, atten_mask=np.random.default_rng(1).random((12, 70)) < 0.2)
    plain = *run_forward(case, mode), *run_gradients(case, mode)
    inputs = [
        run_cells.to_strided_tensor(array)
        for array in (case.query, case.key, case.value, case.topk_indices, case.atten_mask)
    ]
    assert not any(tensor.is_contiguous() for tensor in inputs)
    lengths = [
        run_cells.to_strided_tensor(np.array(ends, np.int64)) for ends in (case.actual_seq_qlen, case.actual_seq_kvlen)
    ]
    given = [run_cells.to_strided_tensor(array) for array in (case.grad, *case.saved)]
    with run_cells.run_mode(mode):
        forward = run_cells.forward_cell(case)(*inputs, *lengths)
        gradients = run_cells.grad_cell(case)(given[0], *inputs[:3], *given[1:], *inputs[3:], *lengths)
        assert same_bits(plain, run_cells.to_arrays((*forward, *gradients)))


@pytest.mark.parametrize("lengths", run_cells.LENGTHS)
def test_forms_of_lengths(mode, lengths):
    case = typical_case()
    assert same_bits(run_training(case), run_training(case, mode, lengths))


def test_lengths_of_one_sequence_may_be_left_out(setting):
    mode, dtype = setting
    case = typical_case(dtype, q_lens=[15], kv_lens=[52])
    left_out = replace(case, actual_seq_qlen=None, actual_seq_kvlen=None)
    assert same_bits(run_training(case, mode), run_training(left_out, mode))


def test_mask_dtypes_and_values(mode):
    """bool, and uint8 with any non-zero value for drop, also larger than needed."""
    drop = np.random.default_rng(2).random((12, 70)) < 0.4
    case = typical_case(atten_mask=drop)
    plain = run_training(case, mode)
    larger = np.zeros((15, 83), np.uint8)
    larger[12:], larger[:, 70:] = 1, 1
    larger[:12, :70] = drop * np.random.default_rng(4).integers(1, 256, drop.shape)
    for mask in (drop.astype(np.uint8), drop * np.uint8(255), larger):
        assert same_bits(plain, run_training(replace(case, atten_mask=mask), mode))
    assert not same_bits(plain, run_training(replace(case, atten_mask=None), mode))


def test_default_attributes(mode):
    """Block size 64, 16 slots, scale 1 / sqrt(D1), no causal rule."""
    case = typical_case(q_lens=[5], kv_lens=[300], select_block_size=64, select_block_count=16, sparse_mode=0)
    plain = run_forward(case, mode)
    check_forward(case, *plain)
    with run_cells.run_mode(mode):
        forward = ms_nsa.NsaSelectAttention(case.head_num)(*run_cells.forward_inputs(case))
        explicit = ms_nsa.NsaSelectAttention(
            head_num=case.head_num, scale_value=1 / np.sqrt(21), select_block_size=64, select_block_count=16,
            sparse_mode=0, limits="auto",
        )(*run_cells.forward_inputs(case))  # fmt: skip
        assert same_bits(plain, run_cells.to_arrays(forward))
        assert same_bits(plain, run_cells.to_arrays(explicit))


@pytest.mark.parametrize("changes", [{"scale_value": -0.7}, {"scale_value": 0}, {"sparse_mode": 0}, {"sparse_mode": 2}])
def test_attributes_take_effect(mode, changes):
    base = typical_case(scale_value=0.31, q_lens=[9, 8], kv_lens=[20, 30], sparse_mode=3)
    case = replace(base, **changes)
    results = run_training(case, mode)
    assert_right(case, results)
    assert not same_bits(results, run_training(base, mode))


def test_integers_of_numpy_are_attributes_too():
    case = typical_case()
    cell = ms_nsa.NsaSelectAttention(
        np.int64(case.head_num), np.float32(0.5), np.int32(case.select_block_size), np.int16(5), sparse_mode=3
    )
    found = run_cells.to_arrays(cell(*run_cells.forward_inputs(case)))
    assert same_bits(found, run_forward(replace(case, scale_value=0.5)))


def test_functional_form(mode):
    """Positions of torch_npu.npu_nsa_select_attention; the last three also by keyword."""
    case = typical_case(sparse_mode=0, scale_value=0.25, atten_mask=np.random.default_rng(1).random((12, 70)) < 0.2)
    plain = run_forward(case, mode)
    query, key, value, topk_indices, mask, qlen, kvlen = run_cells.forward_inputs(case)
    attributes = (0.25, case.head_num, case.select_block_size, case.select_block_count)
    tensors = (query, key, value, topk_indices)
    with run_cells.run_mode(mode):
        results = [
            ms_nsa.nsa_select_attention(*tensors, *attributes, mask, qlen, kvlen),
            ms_nsa.nsa_select_attention(
                *tensors, *attributes, atten_mask=mask, actual_seq_qlen=qlen, actual_seq_kvlen=kvlen
            ),
            ms_nsa.nsa_select_attention(
                query=query, key=key, value=value, topk_indices=topk_indices, scale_value=0.25,
                head_num=case.head_num, select_block_size=case.select_block_size,
                select_block_count=case.select_block_count, atten_mask=mask,
                actual_seq_kvlen=list(kvlen), actual_seq_qlen=list(qlen),
            ),
        ]  # fmt: skip
        for result in results:
            assert same_bits(plain, run_cells.to_arrays(result))


def test_functional_form_has_a_gradient():
    case = typical_case(sparse_mode=0, scale_value=0.25)
    inputs, grad = run_cells.forward_inputs(case), ms.Tensor(case.grad)

    def loss(query, key, value):
        attributes = (0.25, case.head_num, case.select_block_size, case.select_block_count)
        out, _, _ = ms_nsa.nsa_select_attention(query, key, value, inputs[3], *attributes, None, *inputs[5:])
        return (out * grad).sum()

    check_gradients(case, *run_cells.to_arrays(ms.grad(loss, (0, 1, 2))(*inputs[:3])))


def test_gradient_cell_agrees_with_differentiation(setting):
    """Given the forward's own results, the gradient Cell and bprop are the same computation."""
    mode, dtype = setting
    case = typical_case(dtype)
    results = run_training(case, mode)
    case.saved = results[:3]
    assert same_bits(run_gradients(case, mode), results[3:])


@pytest.mark.parametrize("seed", range(4))
def test_gradient_against_numerical_differences(seed):
    """Central differences of the float32 forward along random directions."""
    case = typical_case(seed=seed, styles=None, scale_value=0.2)
    gradients = run_training(case)[3:]
    rng = np.random.default_rng([5, seed])
    for name, gradient in zip(("query", "key", "value"), gradients):
        direction = rng.standard_normal(gradient.shape).astype(np.float32)
        step, losses = 2e-3, []
        for sign in (1, -1):
            moved = replace(case, **{name: getattr(case, name) + np.float32(sign * step) * direction})
            losses.append((run_forward(moved)[0].astype(np.float64) * case.grad).sum())
        difference = (losses[0] - losses[1]) / (2 * step)
        slope = (gradient.astype(np.float64) * direction).sum()
        size = np.linalg.norm(gradient.astype(np.float64)) + np.linalg.norm(case.grad) * 1e-2
        assert abs(difference - slope) < 5e-3 * size, name
