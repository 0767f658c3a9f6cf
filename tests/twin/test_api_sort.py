# SPDX-License-Identifier: Apache-2.0
"""Sort32 and MrgSort: pairs in descending order of score, ties in the order of the source."""

import numpy as np
import pytest

from twin import faults, twin

TILING = np.dtype([("lists", "i8"), ("queues", "i8"), ("repeats", "i8"), ("suspend", "i8"), ("lengths", "i8", 4)])


def call(x, lengths, repeats=1, suspend=0):
    """Pairs after Sort32 and after MrgSort, as (score, index) arrays."""
    tiling = np.zeros(1, TILING)
    tiling["lists"], tiling["queues"], tiling["repeats"], tiling["suspend"] = (
        len(x) // 32,
        len(lengths),
        repeats,
        suspend,
    )
    tiling["lengths"][0, : len(lengths)] = lengths
    index = np.arange(len(x), dtype=np.uint32)[::-1] + 7
    arguments = [x, index, twin.output(2 * len(x), np.float32), twin.output(2 * len(x), np.float32, "merged"), None]
    kernel = twin.compile_kernel(faults.KERNELS / "api_sort.cpp")
    found = kernel.launch("api_sort", [*arguments, tiling], timing=False).outputs
    return index, *((pairs[::2], pairs.view(np.uint32)[1::2]) for pairs in found)


def in_order(scores, indices):
    order = np.argsort(-scores, kind="stable")
    return scores[order], indices[order]


@pytest.mark.parametrize("lengths,repeats", [((32, 32), 1), ((5, 32, 1), 1), ((32, 7, 32, 3), 1), ((32,) * 4, 2)])
def test_sort_and_merge(lengths, repeats):
    x = np.random.default_rng(len(lengths)).integers(0, 9, 256).astype(np.float32)  # with many ties
    index, sorted_pairs, merged = call(x, lengths, repeats)
    lists = [in_order(x[i : i + 32], index[i : i + 32]) for i in range(0, 256, 32)]
    for found, expected in zip(sorted_pairs, (np.concatenate(each) for each in zip(*lists))):
        np.testing.assert_array_equal(found, expected)
    for repeat in range(repeats):
        queues = [[part[:n] for part in lists[4 * repeat + i]] for i, n in enumerate(lengths)]
        expected = in_order(*(np.concatenate(each) for each in zip(*queues)))
        at = repeat * sum(lengths)
        for found, wanted in zip(merged, expected):
            np.testing.assert_array_equal(found[at : at + sum(lengths)], wanted)


def test_suspension_ends_with_the_first_queue_that_is_exhausted():
    x = np.concatenate([np.arange(32), np.arange(32) + 0.5]).astype(np.float32)
    _, _, merged = call(x, (2, 32), suspend=1)
    np.testing.assert_array_equal(merged[0][:5], [31.5, 31, 30.5, 30, 0])


@pytest.mark.parametrize("change", [{"lengths": (32, 32, 32), "repeats": 2}, {"lengths": (32,)}])
def test_what_the_hardware_does_not_take_is_reported(change):
    with pytest.raises(twin.TwinError, match=r"\[range\]"):
        call(np.zeros(256, np.float32), **change)
