# SPDX-License-Identifier: Apache-2.0
"""Proves the cases: they cover what they claim, poison lies out of use, hostile memory is hostile."""

import signal
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from support import (
    ASCEND,
    DTYPES,
    NAMED_CASES,
    PagedCase,
    SelectCase,
    buffers,
    guarded,
    random_paged_case,
    random_select_case,
    scattered,
)

RANDOM = [random_select_case, random_paged_case]


def results_of(case):
    return (*case.forward, *case.gradients) if isinstance(case, SelectCase) else (case.forward,)


def assert_same_results(case, other):
    for mine, its in zip(results_of(case), results_of(other)):
        np.testing.assert_array_equal(mine, its, err_msg=str(case))


@pytest.mark.parametrize("name", NAMED_CASES)
def test_named_cases_ignore_poison(name):
    case = NAMED_CASES[name](DTYPES["bfloat16"])
    assert_same_results(case, case.poisoned())


@pytest.mark.parametrize("draw", RANDOM)
def test_random_cases_ignore_poison(draw):
    wild = 0
    for seed in range(60):
        case, poisoned = (draw(np.random.default_rng([6, seed]), np.float16, poison=p) for p in (False, True))
        assert_same_results(case, poisoned)
        wild += not np.isfinite(poisoned.key.astype(np.float32)).all()
    assert wild > 30


def features(case):
    """What a random case exercises, in words."""
    rows, paged = [len(rows) for _, _, rows, _ in case.selections()], isinstance(case, PagedCase)
    kv_lens = np.array(case.actual_seq_kvlen) if paged else np.diff(case.kv_ends, prepend=0)
    q_lens = case.q_lens if paged else np.diff(case.q_ends, prepend=0)
    topk, sizes = case.topk_indices, (case.query_rows.shape[-1], case.value_rows.shape[-1])
    ordered = np.sort(topk, axis=-1)
    mask = case.atten_mask
    yield f"sparse_mode {case.sparse_mode}"
    yield f"mask {None if mask is None else mask.dtype}"
    yield "D2 > D1" if sizes[1] > sizes[0] else "D2 <= D1"
    yield "group of 16 or 17" if case.query_rows.shape[1] // case.key_rows.shape[1] > 15 else "small group"
    yield "scale " + ("None" if case.scale_value is None else str(int(np.sign(case.scale_value))))
    yield "large scale" if abs(case.scale * np.sqrt(sizes[0])) > 3 else "usual scale"
    seen = {
        "zero-length queries": (q_lens == 0).any(),
        "zero-length kv": (kv_lens == 0).any(),
        "leading zero-length": len(kv_lens) > 1 and q_lens[0] == 0,
        "trailing zero-length": len(kv_lens) > 1 and q_lens[-1] == 0,
        "fewer rows than queries": (q_lens > kv_lens).any(),
        "empty rows among others": 0 < len(rows) < topk.shape[-2] * q_lens.sum(),
        "duplicates": ((ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)).any(),
        "negatives below -1": (topk < -1).any(),
        "absent before present": ((topk[..., :-1] < 0) & (topk[..., 1:] >= 0)).any(),
        "clipped last block": (kv_lens % case.select_block_size > 0).any(),
        "many blocks": kv_lens.max() > 5 * case.select_block_size,
        "block longer than sequence": (kv_lens < case.select_block_size).any(),
        "odd sizes": sizes[0] % 2 and sizes[1] % 2,
        "mask larger than needed": mask is not None and np.greater(mask.shape, (q_lens.max(), kv_lens.max())).all(),
        "mask row dropped": mask is not None and (mask[: q_lens.max(), : kv_lens.max()] != 0).all(axis=1).any(),
        "many rows seen": max(rows, default=0) > 64,
    }
    if mask is not None:
        needed = q_lens.max(), kv_lens.max()
        seen["mask larger than needed"] = mask.shape[0] > needed[0] and mask.shape[1] > needed[1]
        seen["mask row dropped"] = mask[: needed[0], : needed[1]].all(axis=1).any()
    if paged:
        used = -(-kv_lens // case.page_block_size)
        yield f"layout {case.layout}"
        yield f"rank {topk.ndim} indices in {case.layout}"
        yield "q_len None" if case.actual_seq_qlen is None else "q_len given"
        seen["padded tokens"] = case.layout != "TND" and (q_lens < case.query.shape[1]).any()
        seen["block over pages"] = case.select_block_size > case.page_block_size and used.max() > 1
        seen["page over blocks"] = case.select_block_size < case.page_block_size
        seen["unused table entries"] = (case.block_table < 0).any()
        seen["shared page"] = len(used) > 1 and min(used[:2]) > 0 and case.block_table[0, 0] == case.block_table[1, 0]
    else:
        yield "lengths None" if case.actual_seq_qlen is None else "lengths given"
    yield from (name for name, true in seen.items() if true)


EVERYWHERE = """
sparse_mode 0; sparse_mode 2; sparse_mode 3; mask None; mask bool; mask uint8; mask larger than needed;
mask row dropped; D2 > D1; D2 <= D1; odd sizes; group of 16 or 17; scale None; scale -1; scale 0; scale 1;
large scale; zero-length queries; zero-length kv; leading zero-length; trailing zero-length;
fewer rows than queries; empty rows among others; duplicates; negatives below -1; absent before present;
clipped last block; many blocks; block longer than sequence; many rows seen"""
SELECT_ONLY = """; lengths None; lengths given"""
PAGED_ONLY = """; layout BSH; layout BSND; layout TND; rank 3 indices in BSH; rank 4 indices in BSH;
rank 3 indices in BSND; rank 4 indices in BSND; q_len None; q_len given; padded tokens; block over pages;
page over blocks; unused table entries; shared page"""


@pytest.mark.parametrize(("draw", "only"), [(random_select_case, SELECT_ONLY), (random_paged_case, PAGED_ONLY)])
def test_random_cases_cover_the_semantics(draw, only):
    met = Counter()
    for seed in range(250):
        met.update(features(draw(np.random.default_rng([7, seed]), np.float16)))
    wanted = (EVERYWHERE + only).replace("\n", " ").split(";")
    rare = {name.strip(): met[name.strip()] for name in wanted if met[name.strip()] < 3}
    assert not rare, rare


@pytest.mark.parametrize("draw", RANDOM)
def test_random_cases_keep_to_the_profile(draw):
    for seed in range(40):
        case = draw(np.random.default_rng([8, seed]), np.float16, ASCEND)
        assert ASCEND.fits(case), str(case)


@pytest.mark.parametrize("name", NAMED_CASES)
def test_named_cases_keep_to_the_profile(name):
    assert ASCEND.fits(NAMED_CASES[name](np.float16, ASCEND))


READ_BEHIND = """
import ctypes, runpy, sys
import numpy as np
array = runpy.run_path(sys.argv[1])["guarded"](np.arange(5, dtype=np.float32))
ctypes.string_at(array.ctypes.data, array.nbytes)
print("inside", flush=True)
ctypes.string_at(array.ctypes.data, array.nbytes + 1)
"""


def test_guarded_memory_faults_behind_the_array():
    command = [sys.executable, "-c", READ_BEHIND, buffers.__file__]
    run = subprocess.run(command, capture_output=True, check=False)
    assert run.stdout.strip() == b"inside"
    assert run.returncode == -signal.SIGSEGV


def test_hostile_arrays_hold_the_same_values():
    array = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
    for copy in (guarded(array), scattered(array)):
        np.testing.assert_array_equal(copy, array)
        assert copy.dtype == array.dtype
    assert not scattered(array).flags.c_contiguous
