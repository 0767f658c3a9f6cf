# SPDX-License-Identifier: Apache-2.0
"""NsaWindowAttentionInfer on the twin: against the reference, and what the twin's rules say (they raise)."""

import mindspore as ms
import numpy as np
import pytest

import ms_nsa
from ascendc.paged_family import (
    WINDOW,
    check_results,
    expected_window,
    random_sizes,
    run,
    window_call,
)
from ms_nsa.primitive import first_error
from support.run_cells import to_arrays

CORES = (1, 3, 20, 24)
HALVES = ("float16", "bfloat16")
LARGEST = 2**31 - 1


def check(tensors, attributes, **options):
    found, launched = run(WINDOW, tensors, attributes, **options)
    if attributes["return_softmax_lse"]:
        check_results(tensors, found, expected_window(tensors, attributes))
    return found, launched


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(12))
def test_random(seed, dtype):
    rng = np.random.default_rng([5, seed])
    q_lens, kv_lens, sizes = random_sizes(rng)
    window = int(rng.choice([1, 16, 17, 100, 513]))
    call = window_call(rng, dtype, q_lens, kv_lens, window, **sizes)
    check(*call, aic_cores=CORES[seed % 4], seed=seed, preempt=7 * (seed % 2), debug=seed % 3 == 0)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(100, 160))
def test_random_long(seed, dtype):
    test_random(seed, dtype)


@pytest.mark.parametrize("d1,d2,group", [(16, 256, 32), (256, 256, 31), (192, 128, 4)])
@pytest.mark.parametrize("form", ["BSND", "BNSD"])
def test_sizes(d1, d2, group, form):
    sizes = {"d1": d1, "d2": d2, "group": group, "form": form, "page": 48}
    check(*window_call(np.random.default_rng(d1), "bfloat16", [1, 2], [333, 40], 300, **sizes), aic_cores=3)


@pytest.mark.parametrize("cores", [2, 24])
@pytest.mark.parametrize("window", [1500, LARGEST])
def test_one_sequence_over_many_cores(cores, window):
    call = window_call(np.random.default_rng(3), "float16", [2], [2100], window, n2=1, group=3, page=128, spare=0)
    check(*call, aic_cores=cores, seed=cores, preempt=4)


def test_without_lengths_of_queries_every_sequence_has_them_all():
    tensors, attributes = window_call(np.random.default_rng(4), "float16", [2, 2], [70, 33], 40, layout="BSND")
    found, _ = check({**tensors, "actual_seq_qlen": None}, attributes)
    other, _ = check(tensors, attributes)
    np.testing.assert_array_equal(found["attention_out"], other["attention_out"])


def test_repeats_are_bitwise_equal():
    call = window_call(np.random.default_rng(6), "float16", [1, 3], [900, 300], 512, group=4)
    runs = [run(WINDOW, *call, aic_cores=20, seed=seed, preempt=3)[0] for seed in range(3)]
    for name in ("attention_out", "softmax_max", "softmax_sum"):
        assert len({found[name].tobytes() for found in runs}) == 1


def test_statistics_are_left_alone_where_nobody_asked():
    call = window_call(np.random.default_rng(6), "float16", [1], [90], 50, statistics=False)
    found, _ = run(WINDOW, *call)
    assert np.isnan(found["softmax_max"]).all() or (found["softmax_max"].view(np.uint32) == 2**32 - 1).all()
    asked, _ = check(call[0], {**call[1], "return_softmax_lse": 1})
    np.testing.assert_array_equal(found["attention_out"], asked["attention_out"])


def cpu_sentence(tensors, attributes):
    """What the CPU's Cell raises."""
    names = [name for name in attributes if name not in ("default_scale", "scale_value", "return_softmax_lse")]
    cell = ms_nsa.NsaWindowAttentionInfer(**{name: attributes[name] for name in names})
    with pytest.raises(RuntimeError) as raised:
        cell(**{name: ms.Tensor(array) for name, array in tensors.items()}).asnumpy()
    return str(raised.value).splitlines()[0]


WRONG = [
    ("actual_seq_qlen", 0, -1),
    ("actual_seq_qlen", 1, 4),
    ("actual_seq_kvlen", 0, -3),
    ("actual_seq_kvlen", 1, 2**40),
    ("block_table", (0, 4), -7),
    ("block_table", (1, 1), LARGEST),
]


@pytest.mark.parametrize(("name", "place", "value"), WRONG)
def test_what_is_wrong_contributes_nothing_and_is_named(name, place, value):
    call = window_call(np.random.default_rng(8), "float16", [2, 1], [75, 20], 30, layout="BSND", s=3)
    tensors, attributes = {key: np.nan_to_num(array) for key, array in call[0].items()}, call[1]
    tensors[name][place] = value
    found, launched = run(WINDOW, tensors, attributes)
    assert np.isfinite(found["attention_out"].astype(np.float32)).all() and launched.first_error == [-1] * 8
    _, launched = run(WINDOW, tensors, attributes, debug=True)
    sentence = first_error.sentence(WINDOW, launched.first_error, "BSND")
    assert cpu_sentence(tensors, attributes).endswith(f"Error message is {sentence}")
    _, launched = run(WINDOW, *call, debug=True)
    assert launched.first_error == [0] * 8


@pytest.mark.parametrize("cache_layout", ["BSND", "BNSD"])
def test_the_cell_runs_on_a_device(on_twin, cache_layout):
    tensors, attributes = window_call(np.random.default_rng(9), "bfloat16", [1, 2], [75, 20], 30, form=cache_layout)
    on_twin("1")
    cell = ms_nsa.NsaWindowAttentionInfer(
        4, 2, 30, 16, layout="TND", cache_layout=cache_layout, return_softmax_lse=True
    )
    given = {name: ms.Tensor(array) for name, array in tensors.items() if array.dtype.name != "bfloat16"}
    given.update({name: ms.Tensor(tensors[name].astype(np.float32), ms.bfloat16) for name in ("query", "key", "value")})
    results = to_arrays(cell(**given))
    names = "attention_out", "softmax_max", "softmax_sum"
    check_results(tensors, dict(zip(names, results)), expected_window(tensors, attributes))


def test_decode_reaches_the_bandwidth():
    """Modelled: at a batch of windows the slowest core takes at most 1.15 times its busiest pipe."""
    sizes = {"n2": 4, "group": 4, "d1": 192, "d2": 128, "page": 128}
    call = window_call(np.random.default_rng(1), "bfloat16", [1] * 8, [1000] * 8, 512, **sizes)
    _, launched = run(WINDOW, *call, aic_cores=6, checks=False)
    busiest = max(max(core["busy"].values()) for core in launched.timing["cores"])
    assert launched.timing["modelled_cycles"] <= 1.15 * busiest
