# SPDX-License-Identifier: Apache-2.0
"""With debugging a kernel names what it cannot raise, in the words of the CPU's operators; MS_NSA_DEBUG turns it on."""

from dataclasses import replace

import mindspore as ms
import numpy as np
import pytest

import ms_nsa
from ascendc.device import run_infer, run_select, run_select_grad
from ms_nsa.primitive import first_error
from support import DTYPES, check_forward, check_gradients, make_paged_case, make_select_case, run_cells, short_masks

SIZES = {"n2": 2, "group": 2, "d1": 32, "d2": 16, "select_block_size": 16, "select_block_count": 3}
LARGEST = 2**31 - 1
FORWARD, GRAD, INFER = "NsaSelectAttention", "NsaSelectAttentionGrad", "NsaSelectedAttentionInfer"


def training_case(dtype="float16"):
    return make_select_case(np.random.default_rng(3), DTYPES[dtype], [2, 4], [9, 40], **SIZES)


def paged_case(layout="BSND", dtype="float16"):
    lens = [3, 1] if layout == "TND" else [3, 2]
    return make_paged_case(
        np.random.default_rng(4), DTYPES[dtype], layout, 3, lens, [61, 30], page_block_size=32, **SIZES
    )


def edited(case, name, place, value):
    array = getattr(case, name).copy()
    array[place] = value
    return replace(case, **{name: array})


def of_cpu(run, *arguments):
    """The message that the CPU's Cell raises, with an end to compare with."""
    with pytest.raises(RuntimeError) as raised:
        run(*arguments)
    return f"{raised.value}\n"


TRAINING = [
    {"actual_seq_qlen": (-1, 6)},
    {"actual_seq_qlen": (7, 6)},
    {"actual_seq_qlen": (2, 5)},
    {"actual_seq_kvlen": (50, 49)},
    {"actual_seq_kvlen": (9, 50)},
    ("topk_indices", (1, 1, 2), 1),
    ("topk_indices", (5, 0, 1), 3),
    ("topk_indices", (2, 1, 0), LARGEST),
]
PAGED = [
    {"actual_seq_qlen": (4, 2)},
    {"actual_seq_qlen": (-1, 2)},
    {"actual_seq_kvlen": (65, 30)},
    ("topk_indices", (1, 1, 1, 2), 2),
    ("topk_indices", (0, 2, 0, 0), LARGEST),
]


def broken(case, change):
    return replace(case, **change) if isinstance(change, dict) else edited(case, *change)


@pytest.mark.parametrize("change", TRAINING, ids=str)
def test_training(change):
    good = training_case()
    case = broken(good, change)
    found = first_error.sentence(FORWARD, run_select(case, debug=True)[-1].first_error)
    assert f"{found}\n" in of_cpu(run_cells.run_forward, case)
    found = first_error.sentence(GRAD, run_select_grad(case, saved=good.saved, debug=True)[-1].first_error)
    assert f"{found}\n" in of_cpu(run_cells.run_gradients, case, "pynative", "tuple", good.saved)


@pytest.mark.parametrize("change", PAGED, ids=str)
def test_paged(change):
    case = broken(paged_case(), change)
    found = first_error.sentence(INFER, run_infer(case, debug=True)[-1].first_error, case.layout)
    assert f"{found}\n" in of_cpu(run_cells.run_forward, case)


@pytest.mark.parametrize("page", [-1, 7, LARGEST])
def test_pages(page):
    good = paged_case()
    reached = good.topk_indices[0, 0, 0].max() * 16 // 32
    case = edited(good, "block_table", (0, reached), page)
    found = first_error.sentence(INFER, run_infer(case, debug=True)[-1].first_error, case.layout)
    assert f"{found}\n" in of_cpu(run_cells.run_forward, case)


def test_sum_of_packed_lengths():
    case = replace(paged_case("TND"), actual_seq_qlen=(2, 1))
    found = first_error.sentence(INFER, run_infer(case, debug=True)[-1].first_error, case.layout)
    assert f"{found}\n" in of_cpu(run_cells.run_forward, case)


@pytest.mark.parametrize("shape", [(3, 40), (4, 39), (1, 160), (2, 9)], ids=str)
@pytest.mark.parametrize("change", [{}, {"actual_seq_kvlen": (9, 50)}, ("topk_indices", (1, 1, 2), 1)], ids=str)
def test_small_masks(shape, change):
    """Behind wrong lengths, before wrong indices."""
    good = training_case()
    case = replace(broken(good, change), atten_mask=np.zeros(shape, bool))
    found = first_error.sentence(FORWARD, run_select(case, debug=True)[-1].first_error)
    assert ("atten_mask must cover" in found) == ("actual_seq_kvlen" not in change)
    assert f"{found}\n" in of_cpu(run_cells.run_forward, case)
    found = first_error.sentence(GRAD, run_select_grad(case, saved=good.saved, debug=True)[-1].first_error)
    assert f"{found}\n" in of_cpu(run_cells.run_gradients, case, "pynative", "tuple", good.saved)


@pytest.mark.parametrize("shape", [(5, 49), (6, 48)], ids=str)
def test_small_masks_of_one_sequence(shape):
    good = replace(training_case(), actual_seq_qlen=None, actual_seq_kvlen=None)
    case = replace(good, atten_mask=np.ones(shape, np.uint8))
    found = first_error.sentence(FORWARD, run_select(case, debug=True)[-1].first_error)
    assert f"{found}\n" in of_cpu(run_cells.run_forward, case)
    found = first_error.sentence(GRAD, run_select_grad(case, saved=good.saved, debug=True)[-1].first_error)
    assert f"{found}\n" in of_cpu(run_cells.run_gradients, case, "pynative", "tuple", good.saved)


@pytest.mark.parametrize("shape", [(2, 61), (3, 60), (1, 183)], ids=str)
@pytest.mark.parametrize("layout", ["BSH", "BSND", "TND"])
@pytest.mark.parametrize("change", [{}, {"actual_seq_kvlen": (61, -1)}, "index"], ids=str)
def test_small_masks_of_paged_keys(shape, layout, change):
    case = replace(paged_case(layout), atten_mask=np.zeros(shape, bool))
    case = edited(case, "topk_indices", (-1, 0, 0), 50) if change == "index" else replace(case, **change)
    found = first_error.sentence(INFER, run_infer(case, debug=True)[-1].first_error, layout)
    assert ("atten_mask must cover" in found) == ("actual_seq_kvlen" not in change)
    assert f"{found}\n" in of_cpu(run_cells.run_forward, case)


def test_small_masks_of_as_many_queries_as_rows():
    """Without query lengths each sequence has S."""
    case = replace(paged_case(), actual_seq_qlen=None, atten_mask=np.zeros((2, 61), bool))
    found = first_error.sentence(INFER, run_infer(case, debug=True)[-1].first_error, case.layout)
    assert f"{found}\n" in of_cpu(run_cells.run_forward, case)


@pytest.mark.parametrize("shape", [(2, 2, 3), (2, 3, 2)], ids=str)
@pytest.mark.parametrize("layout", ["BSH", "BSND", "TND"])
@pytest.mark.parametrize("change", [{}, {"actual_seq_kvlen": (61, -1)}, "index"], ids=str)
def test_small_masks_of_new_tokens(shape, layout, change):
    case = replace(paged_case(layout), atten_mask=np.zeros(shape, bool))
    case = edited(case, "topk_indices", (-1, 0, 0), 50) if change == "index" else replace(case, **change)
    found = first_error.sentence(INFER, run_infer(case, debug=True)[-1].first_error, layout)
    assert ("atten_mask must cover [B, max Sq" in found) == ("actual_seq_kvlen" not in change)
    assert f"{found}\n" in of_cpu(run_cells.run_forward, case)


def good_calls():
    for mask in (None, np.zeros((4, 40), bool)):
        case = replace(training_case(), atten_mask=mask)
        yield from ((run_select, case), (run_select_grad, case))
    masks = None, np.zeros((3, 61), bool), np.zeros((2, 3, 3), bool)
    yield from ((run_infer, replace(paged_case(), atten_mask=mask)) for mask in masks)


def test_good_calls_report_nothing():
    """Padding and unused pages, however wild, included. Without the flag the record stays as it was."""
    for run, case in good_calls():
        *results, launched = run(case.poisoned(), debug=True)
        assert launched.first_error == [0] * 8
        *others, launched = run(case.poisoned())
        assert launched.first_error == [-1] * 8  # the twin's poison
        for mine, its in zip(results, others):
            np.testing.assert_array_equal(mine.view(np.uint8), its.view(np.uint8))


def build(operator, case):
    return getattr(ms_nsa, operator)(**run_cells.attributes_of(case))


def arrays_of(cell, *inputs):
    outputs = cell(*inputs)
    return run_cells.to_arrays(outputs if isinstance(outputs, tuple) else (outputs,))


CASES = {
    "NsaSelectAttention": (training_case, (4, 1, 2), 3),
    "NsaSelectedAttentionInfer": (paged_case, (0, 1, 1, 2), 4),
}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("operator", CASES)
def test_a_cell_names_a_wrong_index(on_twin, operator, dtype):
    """From the Cell to its error; with no debugging the index contributes nothing."""
    make, place, index = CASES[operator]
    good = make(dtype=dtype)
    case, without = edited(good, "topk_indices", place, index), edited(good, "topk_indices", place, -1)
    message = of_cpu(run_cells.run_forward, case)
    for debug in "01":
        on_twin(debug)
        cell = build(operator, case)
        check_forward(good, *arrays_of(cell, *run_cells.forward_inputs(good, "int64")))
        if debug == "0":
            check_forward(without, *arrays_of(cell, *run_cells.forward_inputs(case, "int64")))
            continue
        with pytest.raises(RuntimeError) as raised:
            cell(*run_cells.forward_inputs(case, "int64"))
        assert str(raised.value).startswith(f"{operator}: topk_indices must be below")
        assert f"{raised.value}\n" in message


def grad_inputs(case, saved):
    query, key, value, *rest = run_cells.forward_inputs(case, "int64")
    return [ms.Tensor(case.grad), query, key, value, *map(ms.Tensor, saved), *rest]


def test_the_gradient_cell_names_a_wrong_index(on_twin):
    good, change = training_case(), ("topk_indices", (4, 1, 2), 3)
    case, without = edited(good, *change), edited(good, *change[:2], -1)
    message = of_cpu(run_cells.run_gradients, case, "pynative", "tuple", good.saved)
    on_twin("0")
    check_gradients(without, *arrays_of(build(GRAD, case), *grad_inputs(case, without.saved)))
    on_twin("1")
    cell = build(GRAD, case)
    check_gradients(good, *arrays_of(cell, *grad_inputs(good, good.saved)))
    with pytest.raises(RuntimeError) as raised:
        cell(*grad_inputs(case, good.saved))
    assert str(raised.value).startswith(f"{GRAD}: topk_indices must be below")
    assert f"{raised.value}\n" in message


@pytest.mark.parametrize("operator", CASES)
def test_a_cell_names_a_small_mask(on_twin, operator):
    """From the Cell to its error; with no debugging all beyond the mask is dropped."""
    small, dropped = short_masks(np.random.default_rng(8), CASES[operator][0]())
    message = of_cpu(run_cells.run_forward, small)
    on_twin("0")
    check_forward(dropped, *arrays_of(build(operator, small), *run_cells.forward_inputs(small, "int64")))
    on_twin("1")
    cell = build(operator, small)
    check_forward(dropped, *arrays_of(cell, *run_cells.forward_inputs(dropped, "int64")))
    with pytest.raises(RuntimeError) as raised:
        cell(*run_cells.forward_inputs(small, "int64"))
    assert str(raised.value).startswith(f"{operator}: atten_mask must cover [max Sq, max Sk] = [")
    assert f"{raised.value}\n" in message


def test_the_gradient_cell_names_a_small_mask(on_twin):
    small, dropped = short_masks(np.random.default_rng(9), training_case())
    message = of_cpu(run_cells.run_gradients, small, "pynative", "tuple", dropped.saved)
    on_twin("0")
    check_gradients(dropped, *arrays_of(build(GRAD, small), *grad_inputs(small, dropped.saved)))
    on_twin("1")
    with pytest.raises(RuntimeError) as raised:
        build(GRAD, small)(*grad_inputs(small, dropped.saved))
    assert str(raised.value).startswith(f"{GRAD}: atten_mask must cover [max Sq, max Sk] = [")
    assert f"{raised.value}\n" in message


def differentiate(cell, case):
    query, key, value, *rest = run_cells.forward_inputs(case, "int64")

    def loss(query, key, value):
        return (cell(query, key, value, *rest)[0] * ms.Tensor(case.grad)).sum()

    return run_cells.to_arrays(ms.grad(loss, (0, 1, 2))(query, key, value))


def test_differentiating_a_cell(on_twin, monkeypatch):
    """Gradients are right with and without debugging, and a backward pass raises too."""
    good = training_case()
    case, without = (edited(good, "topk_indices", (4, 1, 2), index) for index in (3, -1))
    for debug in "01":
        on_twin(debug)
        cell = build(FORWARD, good)
        check_gradients(good, *differentiate(cell, good))
        if debug == "0":
            check_gradients(without, *differentiate(cell, case))
        else:
            for silent, named in ((False, FORWARD), (True, GRAD)):
                monkeypatch.setattr(cell._known, "_debug", not silent)
                with pytest.raises(RuntimeError, match=f"^{named}: topk_indices must be below .* at token 4"):
                    differentiate(cell, case)


def test_differentiating_the_statistics_of_a_cell(on_twin):
    case, rng = training_case(), np.random.default_rng(6)
    shape = (*case.query.shape[:2], 8)
    case.statistics_grad = tuple(rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    on_twin("1")
    cell = build(FORWARD, case)
    query, key, value, *rest = run_cells.forward_inputs(case, "int64")
    grads = [ms.Tensor(case.grad), *map(ms.Tensor, case.statistics_grad)]

    def loss(query, key, value):
        return sum((output * grad).sum() for output, grad in zip(cell(query, key, value, *rest), grads))

    check_gradients(case, *run_cells.to_arrays(ms.grad(loss, (0, 1, 2))(query, key, value)))


@pytest.mark.parametrize("statistics", [True, False])
def test_a_decoding_cell_with_masks_of_new_tokens(on_twin, statistics):
    mask = np.random.default_rng(7).random((2, 3, 4)) < 0.5
    case = replace(paged_case(), atten_mask=mask, return_softmax_lse=statistics)
    on_twin("1")
    results = arrays_of(build(INFER, case), *run_cells.forward_inputs(case, "int64"))
    assert len(results) == (3 if statistics else 1)
    check_forward(case, *results)
