# SPDX-License-Identifier: Apache-2.0
"""The tilings over thousands of shapes: budgets, cores, workspace, what is refused; segments cover every token."""

import math

import numpy as np
import pytest

from ascendc import host
from ascendc.schedule import segments
from ms_nsa import registry

L1_BYTES, MOST_ENTRIES = 524288 - 256, 8192
CORES = (1, 3, 20, 24, 25)


def attention(**changes):
    values = {"head_num": 8, "key_value_head_num": 2, "d1": 192, "d2": 128, "select_block_size": 64}
    values.update(select_block_count=16, sparse_mode=0, default_scale=True, scale_value=0.0)
    return host.AttentionShapes(**{**values, **changes})


def select_shapes(t1=100, t2=3000, batch=3, has_lens=True, **changes):
    lens = {"has_q_lens": has_lens, "has_kv_lens": has_lens}
    return host.SelectShapes(attention=attention(**changes), t1=t1, t2=t2, batch=batch if has_lens else 1, **lens)


def infer_shapes(layout=1, batch=3, leading=(3, 2), num_blocks=50, page_block_size=64, max_blocks=9, **changes):
    return host.InferShapes(
        attention=attention(**changes), layout=layout, batch=batch, leading=leading, num_blocks=num_blocks,
        page_block_size=page_block_size, max_blocks=max_blocks, has_q_lens=True,
    )  # fmt: skip


def log_uniform(rng, largest):
    return int(largest ** rng.random())


def random_attention(rng):
    n2, group = log_uniform(rng, 64), int(rng.integers(1, 33))
    scale = {"default_scale": bool(rng.integers(2)), "scale_value": float(rng.normal())}
    return {
        "head_num": n2 * group,
        "key_value_head_num": n2,
        "d1": 16 * int(rng.integers(1, 17)),
        "d2": 16 * int(rng.integers(1, 17)),
        "select_block_size": 16 * int(rng.integers(1, 9)),
        "select_block_count": int(rng.integers(1, 33)),
        **dict(zip(("atten_mask_rows", "atten_mask_cols"), ((0, 0), (0, 0), (700, 5000))[int(rng.integers(3))])),
        "sparse_mode": int(rng.choice([0, 2, 3])),
        **scale,
    }


def random_shapes(seed):
    rng = np.random.default_rng(seed)
    if seed % 2:
        has_lens = bool(rng.integers(2))
        sizes = {"t1": log_uniform(rng, 10**6) - 1, "t2": log_uniform(rng, 10**7) - 1, "batch": log_uniform(rng, 3072)}
        return select_shapes(**sizes, has_lens=has_lens, **random_attention(rng))
    batch, layout = log_uniform(rng, 3072), int(rng.integers(3))
    leading = (log_uniform(rng, 9999), 1) if layout == 2 else (batch, int(rng.integers(1, 9)))
    pages = {"page_block_size": 16 * int(rng.integers(1, 65)), "num_blocks": log_uniform(rng, 10**6)}
    return infer_shapes(layout, batch, leading, max_blocks=log_uniform(rng, 10**5), **pages, **random_attention(rng))


def round_up(value, unit):
    return -(-value // unit) * unit


def check_params(shapes, params):
    given = shapes.attention
    assert params.group == given.head_num // given.key_value_head_num and params.kv_heads == given.key_value_head_num
    dims = ("d1", "d2", "select_block_size", "select_block_count")
    for name in (*dims, "atten_mask_rows", "atten_mask_cols", "sparse_mode"):
        assert getattr(params, name) == getattr(given, name)
    scale = 1 / math.sqrt(given.d1) if given.default_scale else given.scale_value
    assert params.scale_value == np.float32(scale)
    rows = given.select_block_count * given.select_block_size
    assert rows <= 1 / params.weight_scale < 2 * rows and math.frexp(params.weight_scale)[0] == 0.5


def check_budgets(params):
    """Two steps, each in two slots, in L1; a step cuts no select block; a segment's mask has a bit for each entry."""
    chunk, rows = params.chunk_rows, round_up(params.group, 16)
    assert 0 < chunk <= 256 and chunk % params.select_block_size == 0
    assert 4 * (chunk * (params.d1 + params.d2) + rows * (params.d1 + chunk)) <= L1_BYTES
    assert params.segment_tokens * round_up(params.select_block_count, 8) <= MOST_ENTRIES


def needed_workspace(params, cores):
    """Bytes of all that the kernels keep in workspace, rounded to nothing."""
    if params.segment_tokens == 0:
        step = params.group * params.chunk_rows
        products, statistics = 4 * 8 * params.group * params.d2, 2 * 2 * 2 * 8 * 16
        bundles = params.bundles * 2 * (-(-params.group // 2) * params.d2 + 64)
        return cores * (2 * step * (4 + 2) + (products + statistics + bundles) * 4)
    units = params.kv_heads * -(-params.kv_rows // params.select_block_size)
    entries = params.segment_tokens * params.kv_heads * params.select_block_count
    segment = units * (MOST_ENTRIES // 8 + 32) + entries * params.group * (params.d2 + 16) * 4
    fetched = 4 * 64 * 2 * (params.d1 if params.d1 <= 128 else 256)
    return 2 * segment + cores * (3 * 64 * params.select_block_size * (4 + 2) + fetched)


@pytest.mark.parametrize("seed", range(8))
def test_thousands_of_shapes(seed):
    for index in range(500):
        shapes = random_shapes(500 * seed + index)
        cores = CORES[index % len(CORES)]
        schedules = ("best", "token", "block") if isinstance(shapes, host.SelectShapes) else ("best",)
        for schedule in schedules:
            plan = host.tile(shapes, cores, schedule)
            check_params(shapes, plan.params)
            check_budgets(plan.params)
            assert 1 <= plan.block_dim <= cores
            needed = needed_workspace(plan.params, plan.block_dim)
            assert needed <= plan.workspace_bytes <= 1.02 * needed + 4096 * (plan.block_dim + 8)
            assert schedule != "token" or plan.params.segment_tokens == 0


@pytest.mark.parametrize("seed", range(300))
def test_segments_cover_every_token_once(seed):
    rng = np.random.default_rng(seed)
    q_lens = rng.integers(0, rng.choice([2, 40, 900]), int(rng.integers(1, 9)))
    kv_lens = rng.integers(0, 500, len(q_lens))
    sizes = {"t1": int(q_lens.sum()), "t2": int(kv_lens.sum()), "batch": len(q_lens)}
    count, size = int(rng.integers(1, 33)), 16 * int(rng.integers(1, 9))
    changes = {"d1": 32, "d2": 32, "select_block_count": count, "select_block_size": size}
    params = host.tile(select_shapes(**sizes, **changes), 20, "block").params
    assert params.segment_tokens > 0
    starts = np.cumsum(q_lens) - q_lens
    covered = []
    for row, tokens, index, kv_len in segments(params, np.cumsum(q_lens), np.cumsum(kv_lens)).tolist():
        assert 0 < tokens <= params.segment_tokens
        sequence = int(np.searchsorted(np.cumsum(q_lens), row, side="right"))
        assert index == row - starts[sequence] and index + tokens <= q_lens[sequence]
        assert kv_len == kv_lens[sequence]
        covered.extend(range(row, row + tokens))
    assert covered == list(range(sizes["t1"]))


def at_limit(rule, beyond):
    """Changes of the shapes that keep `rule` of op_info just so, or break it by the least step."""
    quantity, relation, number = rule.split()
    value = int(number) + beyond * (16 if relation == "max" and quantity != "G" else 1 if relation == "max" else 8)
    name = {"D1": "d1", "D2": "d2"}.get(quantity, quantity)
    return {"head_num": 2 * value} if quantity == "G" else {name: value}


@pytest.mark.parametrize("operator", ["NsaSelectAttention", "NsaSelectedAttentionInfer"])
def test_kernel_limits_of_op_info_are_those_of_the_tilings(operator):
    """What op_info promises for the kernels is taken, what it refuses is refused."""
    make = {"NsaSelectAttention": select_shapes, "NsaSelectedAttentionInfer": infer_shapes}[operator]
    rules = set(registry.load(operator)["limits"]["ascend_kernels"])
    for rule in rules - {"atten_mask_rank max 2"}:  # the tilings do not see ranks (test_op_host)
        host.tile(make(**at_limit(rule, 0)), 20)
        with pytest.raises(ValueError, match=f"^{registry.load(operator)['ascend_name']}: .* must be .*, got "):
            host.tile(make(**at_limit(rule, 1)), 20)


@pytest.mark.parametrize("seed", range(20))
def test_limits_of_the_documents_lie_within_the_kernels(seed):
    rng = np.random.default_rng(seed)
    n2, group = int(rng.integers(1, 257)), int(rng.integers(1, 17))
    heads = {"head_num": n2 * group, "key_value_head_num": n2}
    host.tile(select_shapes(batch=3072, **heads), 24)
    size = 16 * int(rng.integers(1, 9))
    host.tile(infer_shapes(batch=3072, page_block_size=64 << seed % 2, select_block_size=size, **heads), 24)


BROKEN = [
    (select_shapes(key_value_head_num=0), "key_value_head_num must be at least 1, got 0"),
    (select_shapes(head_num=7), "head_num must be a multiple of key_value_head_num, got 7"),
    (select_shapes(head_num=66), "head_num / key_value_head_num must be at most 32, got 33"),
    (select_shapes(d1=0), "the head dim of query and key must be a multiple of 16 up to 256, got 0"),
    (select_shapes(d2=200), "the head dim of value must be a multiple of 16 up to 256, got 200"),
    (select_shapes(select_block_count=0), "select_block_count must be from 1 to 2147483647, got 0"),
    (select_shapes(sparse_mode=4), "sparse_mode must be 0, 2 or 3, got 4"),
]


@pytest.mark.parametrize(("shapes", "sentence"), BROKEN)
def test_what_is_wrong_gets_a_sentence(shapes, sentence):
    with pytest.raises(ValueError) as error:
        host.tile(shapes, 20)
    assert str(error.value) == f"MsNsaSelectAttention: {sentence}"
    with pytest.raises(ValueError, match="the number of AI cores must be at least 1, got 0"):
        host.tile(select_shapes(), 0)
