# SPDX-License-Identifier: Apache-2.0
"""nsa_compress_infer writes the new compressed rows to a cache of pages or of rows, in both modes."""

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor, nn

import ms_nsa
from ms_nsa import paged_family_reference
from support import DTYPES
from support.run_cells import run_mode, to_array

SIZES = 4, 2, 8  # compress_block_size, compress_stride, page_block_size
TABLE, LENS, NEW = np.array([[4, 0], [2, 3]], np.int32), (12, 9), (3, 4)
SLOTS = np.array([[3, -1], [17, 2]], np.int32)


class Compress(nn.Cell):
    """Keeps its compressed rows."""

    def __init__(self, cache):
        super().__init__()
        self.cache = ms.Parameter(Tensor(cache), name="cache")

    def construct(self, raw, weight, slots, table):
        return ms_nsa.nsa_compress_infer(
            raw, weight, slots, *SIZES, block_table=table, actual_seq_len=LENS, cache=self.cache, actual_seq_qlen=NEW
        )


def inputs(dtype):
    rng = np.random.default_rng(8)
    return [rng.standard_normal(shape).astype(dtype) for shape in ((5, 8, 2, 12), (4, 2))]


@pytest.mark.parametrize("shape", [(6, 4, 2, 12), (24, 2, 12)], ids=["pages", "rows"])
def test_rows_are_written_to_their_slots(setting, shape):
    mode, dtype = setting
    raw, weight = inputs(dtype)
    before = np.random.default_rng(9).standard_normal(shape).astype(dtype)
    cell = Compress(before)
    with run_mode(mode):
        rows, slots = cell(*map(Tensor, (raw, weight, SLOTS, TABLE)))
        rows, slots, found = to_array(rows), slots.asnumpy(), to_array(cell.cache)
    wanted = before.reshape(24, 2, 12).copy()
    for row, slot in zip(rows.reshape(-1, 2, 12), slots.ravel()):
        if slot >= 0:
            wanted[slot] = row
    assert found.tobytes() == wanted.tobytes()  # all other rows keep their bits
    expected, of_oracle = paged_family_reference.nsa_compress_infer(raw, weight, SLOTS, *SIZES, TABLE, LENS, None, NEW)
    assert np.array_equal(slots, of_oracle)
    ulp = {"float32": 1e-6, "float16": 2e-3, "bfloat16": 1.6e-2}[np.dtype(dtype).name]
    assert np.allclose(rows.astype(np.float64), expected, atol=ulp, rtol=ulp)


def test_wrong_slots_change_nothing():
    raw, weight = inputs(DTYPES["float32"])
    cell = Compress(np.zeros((6, 4, 2, 12), np.float32))
    wrong = np.where(SLOTS == 17, 24, SLOTS)
    with pytest.raises(RuntimeError, match=r"slots must be below num_blocks \* page_block_size = 24, got 24 at row 2"):
        cell(*map(Tensor, (raw, weight, wrong, TABLE)))[1].asnumpy()
    assert not cell.cache.asnumpy().any()


@pytest.mark.parametrize("shape", [(6, 4, 3, 12), (6, 4, 2, 8), (6, 4)])
def test_a_cache_of_other_rows_is_refused(shape):
    raw, weight = inputs(DTYPES["float32"])
    with pytest.raises(ValueError, match=r"^NsaWritePages: .*key_pages must "):
        Compress(np.zeros(shape, np.float32))(*map(Tensor, (raw, weight, SLOTS, TABLE)))
