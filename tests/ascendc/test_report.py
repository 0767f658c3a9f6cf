"""With the debug flag a kernel names what it cannot raise, in the words of the CPU's operators."""

from dataclasses import replace

import numpy as np
import pytest

from ascendc import report
from ascendc.device import run_infer, run_select, run_select_grad
from support import DTYPES, make_paged_case, make_select_case, run_cells

SIZES = {"n2": 2, "group": 2, "d1": 32, "d2": 16, "select_block_size": 16, "select_block_count": 3}
LARGEST = 2**31 - 1


def training_case():
    return make_select_case(np.random.default_rng(3), DTYPES["float16"], [2, 4], [9, 40], **SIZES)


def paged_case(layout="BSND"):
    lens = [3, 1] if layout == "TND" else [3, 2]
    return make_paged_case(
        np.random.default_rng(4), DTYPES["float16"], layout, 3, lens, [61, 30], page_block_size=32, **SIZES
    )


def edited(case, name, place, value):
    array = getattr(case, name).copy()
    array[place] = value
    return replace(case, **{name: array})


def of_cpu(case):
    with pytest.raises(RuntimeError) as raised:
        run_cells.run_forward(case)
    return str(raised.value)


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
    message = of_cpu(case)
    for launched in (run_select(case, debug=True)[-1], run_select_grad(case, saved=good.saved, debug=True)[-1]):
        assert f"NsaSelectAttention: {report.sentence(launched.workspace)}\n" in f"{message}\n"


@pytest.mark.parametrize("change", PAGED, ids=str)
def test_paged(change):
    case = broken(paged_case(), change)
    found = report.sentence(run_infer(case, debug=True)[-1].workspace, case.layout)
    assert f"NsaSelectedAttentionInfer: {found}\n" in f"{of_cpu(case)}\n"


@pytest.mark.parametrize("page", [-1, 7, LARGEST])
def test_pages(page):
    good = paged_case()
    reached = good.topk_indices[0, 0, 0].max() * 16 // 32
    case = edited(good, "block_table", (0, reached), page)
    found = report.sentence(run_infer(case, debug=True)[-1].workspace, case.layout)
    assert f"NsaSelectedAttentionInfer: {found}\n" in f"{of_cpu(case)}\n"


def test_sum_of_packed_lengths():
    case = replace(paged_case("TND"), actual_seq_qlen=(2, 1))
    found = report.sentence(run_infer(case, debug=True)[-1].workspace, case.layout)
    assert f"NsaSelectedAttentionInfer: {found}\n" in f"{of_cpu(case)}\n"


def test_good_calls_report_nothing():
    """Padding and unused pages, however wild, included."""
    for run, case in ((run_select, training_case()), (run_select_grad, training_case()), (run_infer, paged_case())):
        *results, launched = run(case.poisoned(), debug=True)
        assert report.sentence(launched.workspace) is None
        for mine, its in zip(results, run(case.poisoned())):
            np.testing.assert_array_equal(mine.view(np.uint8), its.view(np.uint8))
