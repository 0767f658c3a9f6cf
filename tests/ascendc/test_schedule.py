# SPDX-License-Identifier: Apache-2.0
"""The schedule of the kernels: which rows a token sees, and which core does what."""

import numpy as np
import pytest

from ascendc.schedule import Schedule
from support import ASCEND, DTYPES, make_paged_case, random_paged_case, random_select_case, short_masks

CORES = (1, 3, 20, 24)


def paged_case(seed):
    return random_paged_case(np.random.default_rng(seed), DTYPES["float16"], ASCEND, poison=True)


def packed_case(seed):
    return random_select_case(np.random.default_rng(seed), DTYPES["float16"], ASCEND, poison=True)


def long_case(seed):
    """Few sequences with many rows: units are cut into pieces."""
    rng = np.random.default_rng(seed)
    kv_lens = rng.integers(1, 4000, int(rng.integers(1, 4))).tolist()
    return make_paged_case(
        rng, DTYPES["float16"], "BSND", 2, [2] * len(kv_lens), kv_lens, n2=2, group=1, d1=16, d2=16,
        select_block_size=int(rng.choice([48, 64, 128])), select_block_count=int(rng.integers(1, 33)),
        page_block_size=int(rng.choice([16, 80, 128])),
    )  # fmt: skip


def expected_rows(case):
    """{(token, kv head): cache rows, ascending, with repetitions}, from the reference."""
    return {(t, h): np.sort(np.repeat(rows, count)) for t, h, rows, count in case.selections()}


@pytest.mark.parametrize("seed", range(150))
def test_rows_are_those_of_the_reference(seed):
    case = (long_case, paged_case, packed_case)[seed % 3](seed)
    schedule, expected = Schedule(case, 1), expected_rows(case)
    for token, head in np.ndindex(schedule.params.tokens, schedule.params.kv_heads):
        found = np.sort(schedule.rows(token, head))
        np.testing.assert_array_equal(found, expected.get((token, head), []))


@pytest.mark.parametrize("seed", range(120))
def test_nothing_beyond_a_mask_is_seen(seed):
    make = (long_case, paged_case, packed_case)[seed % 3]
    small, dropped = short_masks(np.random.default_rng(seed), make(seed))
    schedule, expected = Schedule(small, 1), expected_rows(dropped)
    for token, head in np.ndindex(schedule.params.tokens, schedule.params.kv_heads):
        found = np.sort(schedule.rows(token, head))
        np.testing.assert_array_equal(found, expected.get((token, head), []))


@pytest.mark.parametrize("seed", range(30))
def test_rows_do_not_depend_on_how_they_are_taken(seed):
    case = long_case(seed)
    schedule = Schedule(case, 1)
    whole = schedule.rows(0, 1)
    for skip in {0, 1, 15, len(whole) // 2, len(whole)}:
        for limit in (1, 37, 256):
            np.testing.assert_array_equal(schedule.rows(0, 1, skip, limit), whole[skip:])


@pytest.mark.parametrize("seed", range(120))
@pytest.mark.parametrize("cores", CORES)
def test_every_row_is_done_once(seed, cores):
    case = (long_case, paged_case, packed_case)[seed % 3](seed)
    schedule, expected = Schedule(case, cores), expected_rows(case)
    done, parts = {}, {}
    piece = 128 if schedule.params.chunk_rows == 256 else schedule.params.chunk_rows
    for core in range(schedule.cores):
        for token, head, first, rows, starts, ends, last, follower in schedule.steps(core).tolist():
            unit = token, head
            done.setdefault(unit, 0)
            assert first == done[unit] and 0 <= rows <= schedule.params.chunk_rows
            assert first % piece == 0 or rows == 0  # what a unit's pieces are does not depend on the cores
            done[unit] += rows
            if last:
                parts.setdefault(unit, []).append((core, starts, ends, follower))
    assert set(done) == set(np.ndindex(schedule.params.tokens, schedule.params.kv_heads))
    assert {unit: rows for unit, rows in done.items() if rows} == {u: len(r) for u, r in expected.items()}
    for unit_parts in parts.values():
        cores_of, starts, ends, followers = zip(*unit_parts)
        assert [*starts] == [1] + [0] * (len(starts) - 1) and [*ends] == [0] * (len(ends) - 1) + [1]
        assert [*followers] == [*cores_of[1:], -1]


@pytest.mark.parametrize("seed", range(40))
def test_cores_are_even(seed):
    """No core has more rows than its share and the granule of a cut, the fixed cost of units aside."""
    rng = np.random.default_rng(seed)
    kv_lens = rng.integers(500, 4000, int(rng.integers(1, 40))).tolist()
    case = make_paged_case(
        rng, DTYPES["float16"], "BSND", 1, None, kv_lens, n2=3, group=1, d1=16, d2=16, select_block_size=64,
        select_block_count=16, page_block_size=64, styles=("ascending",),
    )  # fmt: skip
    schedule = Schedule(case, 24)
    loads = [schedule.steps(core)[:, 3].sum() for core in range(schedule.cores)]
    units = [len(np.unique(schedule.steps(core)[:, :2], axis=0)) for core in range(schedule.cores)]
    assert max(loads) <= sum(loads) / len(loads) + 128 + 48 * max(units)
