# SPDX-License-Identifier: Apache-2.0
"""Tensors of more than 2^31 elements: offsets of their last rows do not fit in 32 bits."""

import re
from types import SimpleNamespace

import mindspore as ms
import numpy as np
import pytest

import ms_nsa
from support import PagedCase, SelectCase, check_forward, check_gradients, run_cells

HEADS, WIDTH, BLOCK = 16, 256, 64
ROWS = 2**31 // (HEADS * WIDTH) + 5 * BLOCK
# The rows that the tokens select, far apart in the large tensor and side by side in a small one.
USED = np.r_[0:BLOCK, ROWS - 2 * BLOCK : ROWS]
GIB = 2**30


def available_memory():
    with open("/proc/meminfo") as file:
        return 1024 * int(re.search(r"MemAvailable: *(\d+)", file.read()).group(1))


@pytest.fixture
def large(request):
    """Key and value of the large tensor, and the small case that must give the same results."""
    needed = request.param * GIB
    if available_memory() < needed:
        pytest.skip(f"needs {needed / GIB} GiB of memory, got {available_memory() / GIB:.1f}")
    rng = np.random.default_rng(0)
    small = SelectCase(
        query=rng.standard_normal((5, HEADS, WIDTH)).astype(np.float16),
        key=rng.standard_normal((len(USED), HEADS, WIDTH)).astype(np.float16),
        value=rng.standard_normal((len(USED), HEADS, 3)).astype(np.float16),
        grad=rng.standard_normal((5, HEADS, 3)).astype(np.float16),
        topk_indices=np.tile(np.int32([0, 1, 2]), (5, HEADS, 1)),
        select_block_size=BLOCK,
    )
    key, value = np.zeros((ROWS, HEADS, WIDTH), np.float16), np.zeros((ROWS, HEADS, 3), np.float16)
    key[USED], value[USED] = small.key, small.value
    assert key.size > 2**31
    last = ROWS // BLOCK - 1
    indices = ms.Tensor(np.tile(np.int32([0, last - 1, last]), (5, HEADS, 1)))
    return SimpleNamespace(small=small, key=key, value=value, indices=indices, last=last)


@pytest.mark.slow
@pytest.mark.parametrize("large", [14], indirect=True)
def test_forward(large):
    tensors = [run_cells.to_tensor(array) for array in (large.small.query, large.key, large.value)]
    outputs = ms_nsa.NsaSelectAttention(HEADS, None, BLOCK, 3)(*tensors, large.indices)
    check_forward(large.small, *run_cells.to_arrays(outputs))


@pytest.mark.slow
@pytest.mark.parametrize("large", [16], indirect=True)
def test_gradient(large):
    """Also zero for rows that nobody selects."""
    small = large.small
    tensors = [run_cells.to_tensor(array) for array in (small.grad, small.query, large.key, large.value, *small.saved)]
    del large.key  # a copy less in memory
    dq, dk, dv = ms_nsa.NsaSelectAttentionGrad(HEADS, None, BLOCK, 3)(*tensors, large.indices)
    assert dk.shape == (ROWS, HEADS, WIDTH)
    ends = [(gradient[:BLOCK], gradient[ROWS - 2 * BLOCK :]) for gradient in (dk, dv)]
    found = [np.concatenate(run_cells.to_arrays(both)) for both in ends]
    check_gradients(small, run_cells.to_array(dq), *found)
    for start in (BLOCK, ROWS // 2, ROWS - 3 * BLOCK):
        assert not dk[start : start + BLOCK].asnumpy().any()


@pytest.mark.slow
@pytest.mark.parametrize("large", [14], indirect=True)
def test_inference(large):
    """Five tokens of one sequence in pages of 448 rows; in the small case of 64."""
    small, page = large.small, 448
    paged = PagedCase(
        query=small.query[None], key=small.key.reshape(-1, BLOCK, HEADS, WIDTH),
        value=small.value.reshape(-1, BLOCK, HEADS, 3), topk_indices=small.topk_indices[None],
        block_table=np.int32([[0, 1, 2]]), actual_seq_qlen=None, actual_seq_kvlen=(len(USED),), head_num=HEADS,
        key_value_head_num=HEADS, select_block_size=BLOCK, page_block_size=BLOCK,
    )  # fmt: skip
    caches = [ms.Tensor(array.reshape(-1, page, *array.shape[1:])) for array in (large.key, large.value)]
    table = ms.Tensor(np.arange(ROWS // page, dtype=np.int32)[None])
    cell = ms_nsa.NsaSelectedAttentionInfer(HEADS, HEADS, BLOCK, 3, page)
    out = cell(ms.Tensor(paged.query), *caches, large.indices[None], table, actual_seq_kvlen=(ROWS,))
    check_forward(paged, run_cells.to_array(out))
