# SPDX-License-Identifier: Apache-2.0
"""The tiles of the block-outer kernels: what is in them, and which core does them."""

import ctypes
import functools
import pathlib
from typing import NamedTuple

import numpy as np
import pytest

from ascendc import host
from ms_nsa import reference
from support import ASCEND, DTYPES, make_select_case, random_select_case, short_masks

CORES = (1, 3, 20, 24)
INTS = ctypes.POINTER(ctypes.c_int64)


class Tile(NamedTuple):
    segment: int
    head: int
    row: int
    block_rows: int
    rows: int
    hidden: int
    piece: int
    opens: int
    first: int
    entries: tuple  # (token row, slot)


class Arrays(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("params", "indices", "mask", "q_lens", "kv_lens")]


@functools.cache
def library():
    source = pathlib.Path(__file__).resolve().parent / "tiles.cpp"
    lib = ctypes.CDLL(str(host.build([source], "tiles")))
    lib.HostTiles.restype = ctypes.c_int64
    return lib


def tiles_of(case, gradient, cores):
    """Tiles of each core."""
    params = host.tile(host.shapes_of(case), cores, "grad" if gradient else "block").params
    assert params.segment_tokens > 0
    mask = None if case.atten_mask is None else np.ascontiguousarray(case.atten_mask).view(np.uint8)
    kept = [np.ascontiguousarray(case.topk_indices), mask, case.q_ends, case.kv_ends]
    arrays = Arrays(ctypes.addressof(params), *(None if each is None else each.ctypes.data for each in kept))
    most_strips = 8  # each entry alone in a tile of 12 numbers, and empty pieces
    out = np.empty((2 * case.topk_indices.size * 12 + 1000) * most_strips, np.int64)
    found = []
    for core in range(cores):
        count = library().HostTiles(
            ctypes.byref(params), ctypes.byref(arrays), int(gradient), ctypes.c_int64(core), ctypes.c_int64(cores),
            out.ctypes.data_as(INTS),
        )  # fmt: skip
        found.append(list(read(out[:count].tolist())))
    return found


def read(numbers):
    while numbers:
        *fields, tokens = numbers[:10]
        entries = numbers[10 : 10 + 2 * tokens]
        yield Tile(*fields, tuple(zip(entries[::2], entries[1::2])))
        numbers = numbers[10 + 2 * tokens :]


def expected_rows(case):
    """{(token, kv head, slot): visible kv rows of its sequence}, where there are any."""
    found, starts = {}, zip([0, *case.q_ends], case.q_ends, [0, *case.kv_ends], case.kv_ends)
    for q_start, q_end, kv_start, kv_end in starts:
        q_len, kv_len = q_end - q_start, kv_end - kv_start
        for s, head, slot in np.ndindex(q_len, *case.topk_indices.shape[1:]):
            limit = {0: kv_len, 2: s + 1, 3: s + 1 + kv_len - q_len}[case.sparse_mode]
            drop = None if case.atten_mask is None else case.atten_mask[s]
            index = case.topk_indices[q_start + s, head, [slot]]
            rows, _ = reference.visible_rows(index, case.select_block_size, kv_len, limit, drop)
            if len(rows):
                found[q_start + s, head, slot] = rows.tolist()
    return found


def rows_in(tiles):
    found = {}
    for tile in tiles:
        for token, slot in tile.entries:
            rows = [tile.row + r for r in range(tile.rows) if not tile.hidden >> r & 1]
            found.setdefault((token, tile.head, slot), []).extend(rows)
    return {entry: sorted(rows) for entry, rows in found.items()}


def random_case(seed, mask):
    case = random_select_case(np.random.default_rng(seed), DTYPES["float16"], ASCEND)
    if not mask:
        case.atten_mask = None
    return case


def shared_case(seed):
    """Many tokens a block: pieces beyond one, segments beyond one."""
    rng = np.random.default_rng(seed)
    return make_select_case(
        rng, DTYPES["float16"], [int(rng.integers(1, 200)), 30], [90, 40], n2=2, group=int(rng.integers(1, 33)), d1=16,
        d2=16, select_block_size=16, select_block_count=3, sparse_mode=int(rng.choice([0, 2, 3])),
    )  # fmt: skip


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_every_visible_row_is_in_one_tile(seed, gradient):
    case = shared_case(seed) if seed % 4 == 0 else random_case(seed, mask=gradient)
    tiles = [tile for core in tiles_of(case, gradient, CORES[seed % 4]) for tile in core]
    assert rows_in(tiles) == expected_rows(case)
    group = case.head_num // case.key_value_head_num
    for tile in tiles:
        assert len(tile.entries) * group <= 64 and tile.rows <= tile.block_rows
        assert len(tile.entries) <= 1 or (tile.rows == tile.block_rows and tile.hidden == 0)


@pytest.mark.parametrize("seed", range(60))
def test_nothing_beyond_a_mask_is_in_a_tile(seed):
    case = shared_case(seed) if seed % 4 == 0 else random_case(seed, mask=False)
    small, dropped = short_masks(np.random.default_rng(seed), case)
    assert rows_in(tile for core in tiles_of(small, True, CORES[seed % 4]) for tile in core) == expected_rows(dropped)


@pytest.mark.parametrize("seed", range(20))
def test_pieces_of_the_gradient_do_not_depend_on_the_cores(seed):
    """Each is on one core, opens once, and has the same tiles in the same order."""
    case = shared_case(seed) if seed % 2 == 0 else random_case(seed, mask=True)
    whole = None
    for cores in CORES:
        by_piece = {}
        for core, tiles in enumerate(tiles_of(case, True, cores)):
            for tile in tiles:
                by_piece.setdefault((tile.segment, tile.piece), []).append((core, tile))
        for parts in by_piece.values():
            assert len({core for core, _ in parts}) == 1
            assert [tile.opens for _, tile in parts] == [1] + [0] * (len(parts) - 1)
        found = {piece: [tile._replace(first=0) for _, tile in parts] for piece, parts in by_piece.items()}
        whole = whole or found
        assert found == whole


@pytest.mark.parametrize("seed", range(8))
def test_thousands_of_gradient_tilings(seed):
    """Strips fit into L0C, a segment into the index; the workspace is enough for all that lies in it."""
    rng = np.random.default_rng(seed)
    for _ in range(500):
        group, n2 = int(rng.integers(1, 33)), int(2 ** rng.integers(0, 7))
        d1, d2, size = (16 * int(rng.integers(1, most)) for most in (17, 17, 9))
        count, t1, t2 = int(rng.integers(1, 33)), int(10 ** (6 * rng.random())), int(10 ** (6 * rng.random()))
        attention = host.AttentionShapes(
            head_num=n2 * group, key_value_head_num=n2, d1=d1, d2=d2, select_block_size=size, select_block_count=count
        )
        batch = int(rng.integers(1, 50))
        plan = host.tile(host.SelectShapes(attention=attention, t1=t1, t2=t2, batch=batch, has_q_lens=True), 24, "grad")
        tokens = plan.params.segment_tokens
        assert 1 <= tokens <= max(t1, 1) and tokens * -(-count // 8) * 8 <= 8192
        strips = next(s for s in range(1, 9) if rows_of_strip(size, s) * (d1 + d2) * 4 <= 81920 and size <= 64 * s)
        assert rows_of_strip(size, strips) * strips >= size
        needed = needed_workspace(plan, n2, group, d1, d2, count, strips, rows_of_strip(size, strips))
        assert needed <= plan.workspace_bytes <= 1.02 * needed + 4096 * 40
        assert plan.block_dim == 24


def rows_of_strip(size, strips):
    return -(-size // (16 * strips)) * 16


def needed_workspace(plan, n2, group, d1, d2, count, strips, strip_rows):
    """Bytes of all that the kernel keeps there, rounded to nothing."""
    params, tokens = plan.params, plan.params.segment_tokens
    blocks, entries = n2 * params.max_blocks, tokens * n2 * count
    full_piece = 8 * (64 // 2 // group * 2)
    pieces = strips * (min(blocks, entries) + entries // full_piece)
    segment = blocks * 8192 // 8 + tokens * n2 * group * 32 + entries * strips * group * d1 * 4
    segment += pieces * strip_rows * (d1 + d2) * 4
    carried = n2 * params.kv_rows * (d1 + d2) * 4 if params.tokens > tokens else 0
    fetched = 4 * 64 * 2 * sum(width if width <= 128 else 256 for width in (d1, d2))
    return 2 * segment + 3 * blocks * 32 + carried + plan.block_dim * (3 * 64 * strip_rows * 12 + fetched)
