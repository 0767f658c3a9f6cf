# SPDX-License-Identifier: Apache-2.0
"""NsaCompressAttentionInfer on the twin: attention and the chosen blocks against the reference, and what the twin's
rules say (they raise)."""

import ctypes
import struct

import mindspore as ms
import numpy as np
import pytest

import ms_nsa
from ascendc import device, host, op_host
from ascendc.paged_family import (
    COMPRESSED,
    check_chosen,
    check_results,
    compressed_call,
    expected_compressed,
    random_sizes,
    run,
)
from ms_nsa.primitive import first_error
from support.run_cells import to_arrays

CORES = (1, 3, 20, 24)
HALVES = ("float16", "bfloat16")
NAMES = ("attention_out", "topk_indices", "softmax_max", "softmax_sum")
# l, d, l', n: among them blocks that begin inside a window's stride, and windows that leave rows out between them.
RULES = [(32, 16, 64, 16), (16, 16, 16, 5), (64, 64, 64, 4), (48, 32, 16, 9), (128, 16, 80, 7), (32, 32, 128, 3)]


def check(tensors, attributes, **options):
    found, launched = run(COMPRESSED, tensors, attributes, **options)
    expected = expected_compressed(tensors, attributes)
    check_results(tensors, found, (expected[0], *expected[2:]))
    check_chosen(tensors, attributes, found["topk_indices"], expected[1])
    return found, launched


def rule_of(size, stride, block, count):
    return {"size": size, "stride": stride, "block": block, "count": count}


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(12))
def test_random(seed, dtype):
    rng = np.random.default_rng([6, seed])
    q_lens, kv_lens, sizes = random_sizes(rng)
    rule = rule_of(*RULES[seed % len(RULES)])
    forced = {"init_blocks": int(rng.integers(0, 2)), "local_blocks": int(rng.integers(0, 3))}
    call = compressed_call(rng, dtype, q_lens, kv_lens, **rule, **forced, **sizes)
    check(*call, aic_cores=CORES[seed % 4], seed=seed, preempt=7 * (seed % 2), debug=seed % 3 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(100, 160))
def test_random_long(seed, dtype):
    test_random(seed, dtype)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rules(rule):
    kv_lens = [1, rule[0] - 1, rule[0], rule[2] + 1, 1023]
    check(*compressed_call(np.random.default_rng(7), "float16", [1, 1, 1, 2, 3], kv_lens, **rule_of(*rule)))


@pytest.mark.parametrize("cores", [2, 24])
def test_one_sequence_over_many_cores(cores):
    sizes = {"n2": 1, "group": 16, "d1": 192, "d2": 128, "page": 128, "spare": 0}
    call = compressed_call(np.random.default_rng(3), "bfloat16", [1], [16400], **sizes)
    check(*call, aic_cores=cores, seed=cores, preempt=4)


def test_the_longest_sequences():
    """128K raw rows in the smallest windows and blocks, the most that may be chosen."""
    sizes = {"n2": 1, "group": 1, "d1": 16, "d2": 16, "page": 128}
    rule = rule_of(16, 16, 16, 96)
    check(*compressed_call(np.random.default_rng(4), "float16", [1, 1], [131072, 90], **rule, **sizes), aic_cores=4)


def test_ties_go_to_the_smaller_block():
    """Without a difference of scores the windows weigh the same, and so do all blocks but the first and the last."""
    tensors, attributes = compressed_call(
        np.random.default_rng(5), "float16", [1], [1600], count=9, init_blocks=0, local_blocks=1, group=3
    )
    tensors["query"][:] = 0
    found, _ = check(tensors, attributes)
    assert found["topk_indices"].tolist() == [[[1, 2, 3, 4, 5, 6, 7, 8, 24]] * 2]


def test_nan_comes_first():
    tensors, attributes = compressed_call(np.random.default_rng(5), "float16", [2], [800], count=6, n2=2)
    tensors["query"][1, 1] = np.nan
    found, _ = check(tensors, attributes)
    assert found["topk_indices"][1, 0].tolist() == [0, 1, 2, 3, 11, 12]


def test_no_blocks_are_chosen_where_none_are_wanted():
    call = compressed_call(np.random.default_rng(5), "float16", [1], [300], count=0, init_blocks=0, local_blocks=0)
    found, _ = run(COMPRESSED, *call)
    expected = expected_compressed(*call)
    check_results(call[0], found, (expected[0], *expected[2:]))


def in_rounds(tensors, attributes, tokens, **options):
    """As if the scores of no more than `tokens` tokens had room at a time."""
    op_type = "MsNsaCompressAttentionInfer"
    values = op_host.values_of(op_type, {**attributes, "debug": 0})
    plan = op_host.Call(op_type, {name: array.shape for name, array in tensors.items()}, values).tile(3)
    data, at = bytearray(bytes(plan.params)), ctypes.sizeof(host.AttentionParams) + 8 * 8
    assert struct.unpack_from("<q", data, at)[0] == len(tensors["query"])
    struct.pack_into("<q", data, at, tokens)
    arrays = [array.view(np.uint16 if array.dtype == np.float16 else array.dtype) for array in tensors.values()]
    shapes = [array.shape for array in expected_compressed(tensors, attributes)]
    kinds = np.uint16, np.int32, np.float32, np.float32
    outputs = [device.twin.output(*each) for each in zip(shapes, kinds, NAMES)]
    plan.data = bytes(data)
    launched = device.launch("ms_nsa_compress_attention_infer", "float16", arrays, outputs, plan, **options)
    return dict(zip(NAMES, (launched.outputs[0].view(np.float16), *launched.outputs[1:])))


@pytest.mark.parametrize("tokens", [1, 3])
def test_rounds_change_no_bit(tokens):
    """Sequences that end inside a round, cores that have nothing to do in one."""
    call = compressed_call(np.random.default_rng(2), "float16", [4, 0, 3, 2], [900, 40, 20, 300])
    whole, _ = check(*call)
    for seed in range(3):
        cut = in_rounds(*call, tokens, aic_cores=3, seed=seed, preempt=5)
        assert all(cut[name].tobytes() == whole[name].tobytes() for name in NAMES)


def test_repeats_are_bitwise_equal():
    call = compressed_call(np.random.default_rng(6), "float16", [1, 3], [9000, 300], group=4)
    runs = [run(COMPRESSED, *call, aic_cores=20, seed=seed, preempt=3)[0] for seed in range(3)]
    assert all(len({found[name].tobytes() for found in runs}) == 1 for name in NAMES)


def test_more_rows_than_there_is_room_for_are_refused(capfd):
    tensors, attributes = compressed_call(np.random.default_rng(6), "float16", [1], [300])
    tensors["block_table"] = np.zeros((1, 587), np.int32)
    with pytest.raises(ValueError, match="the tiling refused"):
        run(COMPRESSED, tensors, attributes)
    sentence = "MsNsaCompressAttentionInfer: max_blocks * page_block_size must be at most 9338, got 9392"
    assert capfd.readouterr().err == f"{sentence}\n"


def cpu_sentence(tensors, attributes):
    """What the CPU's Cell raises."""
    names = [name for name in attributes if name not in ("default_scale", "scale_value", "return_softmax_lse")]
    cell = ms_nsa.NsaCompressAttentionInfer(**{name: attributes[name] for name in names})
    with pytest.raises(RuntimeError) as raised:
        cell(**{name: ms.Tensor(array) for name, array in tensors.items()})[0].asnumpy()
    return str(raised.value).splitlines()[0]


WRONG = [
    ("actual_seq_qlen", 0, -1),
    ("actual_seq_qlen", 1, 4),
    ("actual_seq_kvlen", 0, -3),
    ("actual_seq_kvlen", 1, 2**40),
    ("actual_seq_kvlen", 1, 2**20),
    ("block_table", (0, 1), -7),
    ("block_table", (1, 0), 2**31 - 1),
]


@pytest.mark.parametrize(("name", "place", "value"), WRONG)
def test_what_is_wrong_contributes_nothing_and_is_named(name, place, value):
    call = compressed_call(np.random.default_rng(8), "float16", [2, 1], [600, 90], layout="BSND", s=3, count=5)
    tensors, attributes = {key: np.nan_to_num(array) for key, array in call[0].items()}, call[1]
    tensors[name][place] = value
    found, launched = run(COMPRESSED, tensors, attributes)
    assert np.isfinite(found["attention_out"].astype(np.float32)).all() and launched.first_error == [-1] * 8
    assert ((found["topk_indices"] >= -1) & (found["topk_indices"] < 2**20)).all()
    _, launched = run(COMPRESSED, tensors, attributes, debug=True)
    sentence = first_error.sentence(COMPRESSED, launched.first_error, "BSND")
    assert cpu_sentence(tensors, attributes).endswith(f"Error message is {sentence}")
    _, launched = run(COMPRESSED, *call, debug=True)
    assert launched.first_error == [0] * 8


def test_windows_without_a_page_weigh_nothing():
    """The others keep their blocks: a page that is not there is no shift."""
    tensors, attributes = compressed_call(
        np.random.default_rng(9), "float16", [1], [1600], count=4, init_blocks=0, local_blocks=0, group=1, n2=1
    )
    tensors["query"][:] = 0
    tensors["block_table"][0, :3] = -1  # 48 windows: block 12, at row 768, lacks one
    found, _ = run(COMPRESSED, tensors, attributes)
    assert found["topk_indices"].tolist() == [[[13, 14, 15, 16]]]


@pytest.mark.parametrize("statistics", [False, True])
def test_the_cell_runs_on_a_device(on_twin, statistics):
    tensors, attributes = compressed_call(np.random.default_rng(9), "bfloat16", [1, 2], [750, 20], form="BNSD")
    on_twin("1")
    cell = ms_nsa.NsaCompressAttentionInfer(
        4, 2, 64, 16, 16, 32, 16, layout="TND", cache_layout="BNSD", return_softmax_lse=statistics
    )
    given = {name: ms.Tensor(array) for name, array in tensors.items() if array.dtype.name != "bfloat16"}
    given.update({name: ms.Tensor(tensors[name].astype(np.float32), ms.bfloat16) for name in ("query", "key", "value")})
    results, expected = to_arrays(cell(**given)), expected_compressed(tensors, attributes)
    assert len(results) == (4 if statistics else 2)
    check_chosen(tensors, attributes, results[1], expected[1])
    if statistics:
        check_results(tensors, dict(zip(NAMES, results)), (expected[0], *expected[2:]))


@pytest.mark.parametrize(("batch", "n2", "cores"), [(3, 1, 3), pytest.param(64, 4, 24, marks=pytest.mark.slow)])
def test_decode_reaches_the_bandwidth(batch, n2, cores):
    """Modelled: 64K raw rows a sequence; the slowest core takes at most 1.15 times its busiest pipe."""
    sizes = {"n2": n2, "group": 4, "d1": 192, "d2": 128, "page": 128}
    call = compressed_call(np.random.default_rng(1), "bfloat16", [1] * batch, [65536] * batch, **sizes)
    _, launched = run(COMPRESSED, *call, aic_cores=cores, checks=False)
    busiest = max(max(core["busy"].values()) for core in launched.timing["cores"])
    assert launched.timing["modelled_cycles"] <= 1.15 * busiest
