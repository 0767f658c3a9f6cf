# SPDX-License-Identifier: Apache-2.0
"""The tiling of the dense schedule: steps, tiles and buffers for all sizes that the kernels take."""

import numpy as np
import pytest

from ascendc import dense, host

L1, UB = 524288 - 256, 184 * 1024


def tiling_of(group, d1, d2, t2, **sizes):
    attention = host.AttentionShapes(
        head_num=group, key_value_head_num=1, d1=d1, d2=d2, sparse_mode=3,
        select_block_size=sizes.pop("block", 0), select_block_count=sizes.pop("count", 0),
    )  # fmt: skip
    shapes = dense.DenseShapes(attention=attention, t1=1000, t2=t2, batch=1, need_output=True, **sizes)
    return dense.tile(shapes, 24).params


def check_buffers(params, group, d1, d2):
    rows, half = params.attention.chunk_rows, params.tile_tokens // 2 * group
    assert 16 <= rows <= 128 and rows % 16 == 0 and half <= 32 and params.tile_tokens >= 2
    queries, table, step = 2 * 64 * d1 * 2, params.part_blocks * rows * 2, rows * (d1 + d2 + 64) * 2
    assert queries + table + 3 * step <= L1
    loads = 2 * 32 * 128 * 4 + 2 * 2048 * 4 + 2 * 32 * 4 + 32 * d1 * 2
    stores = 2 * 32 * 128 * 2 + 2 * 2048 * 2 + 2 * 32 * 8 * 4 + 2 * 96 * 4 + 32 * 64 * 4 + 32 * 8 * 4 + 16 * 32 * 4
    importance = params.tile_tokens // 2 * params.most_blocks * 4 + 1024 * 4 if params.step_blocks else 0
    assert loads + stores + 32 * d2 * 4 + importance <= UB


@pytest.mark.parametrize("seed", range(4))
def test_hundreds_of_choices(seed):
    """Blocks begin alike in every step; a step's table and partial sums have room; 128K rows do, too."""
    rng = np.random.default_rng(seed)
    for _ in range(300):
        group, (d1, d2) = int(rng.integers(1, 33)), 16 * rng.integers(1, 17, 2)
        stride, block = (16 * int(rng.integers(1, 9)) for _ in range(2))
        size = int(rng.integers(stride // 16, 9)) * 16
        params = tiling_of(
            group, d1, d2, 131072 // stride, block=block, count=16, key_rule=dense.COMPRESSED,
            compress_block_size=size, compress_stride=stride,
        )  # fmt: skip
        rows = params.attention.chunk_rows
        assert params.step_blocks * block == rows * stride and params.step_blocks % 8 == 0
        assert params.part_blocks * block >= (rows - 1) * stride + size and params.part_blocks <= 128
        assert params.most_blocks >= (params.most_steps - 1) * params.step_blocks + params.part_blocks
        assert params.most_blocks % 64 == 0 and params.most_steps * rows >= 131072 // stride
        check_buffers(params, group, d1, d2)


def test_windows():
    for d1 in range(16, 257, 48):
        for d2 in range(16, 257, 48):
            check_buffers(tiling_of(4, d1, d2, 5000, key_rule=dense.WINDOW, window_size=512), 4, d1, d2)
    check_buffers(tiling_of(32, 256, 256, 5000, key_rule=dense.WINDOW, window_size=512), 32, 256, 256)
