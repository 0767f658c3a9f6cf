# SPDX-License-Identifier: Apache-2.0
"""Proves the comparison of chosen blocks: rounding may swap equals, nothing else passes."""

import numpy as np
import pytest

from ms_nsa.family_reference import nsa_compress_attention
from support.compare_topk import check_topk_indices, wrong_choice
from support.family_cases import random_compressed_arguments

NAN = np.nan
IMPORTANCE = np.array([0.5, 3.0, 0.1, 2.0, 2.0 + 1e-9, 1.0])
FORCED = np.arange(6) == 2


@pytest.mark.parametrize("seed", range(20))
def test_the_oracle_is_right(seed):
    arguments = random_compressed_arguments(np.random.default_rng([41, seed]))
    topk_indices = nsa_compress_attention(**arguments)[1]
    check_topk_indices(topk_indices, arguments, np.float32)
    if (topk_indices >= 0).any():
        topk_indices[np.unravel_index(topk_indices.argmax(), topk_indices.shape)] += 1000
        with pytest.raises(AssertionError, match="blocks below"):
            check_topk_indices(topk_indices, arguments, np.float32)


@pytest.mark.parametrize("row", [[1, 2, 4], [1, 2, 3]])
def test_equals_within_rounding_are_right(row):
    assert not wrong_choice(np.array(row), IMPORTANCE, FORCED, 1e-5)


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ([1, 2, 5], "must hold the most important blocks [1, 4]"),
        ([1, 3, 4], "must hold the forced blocks [2]"),
        ([2, 1, 4], "must ascend"),
        ([1, 1, 2], "must ascend"),
        ([1, 2, -1], "must hold 3 blocks below 6, then -1"),
        ([1, 2, 6], "must hold 3 blocks below 6, then -1"),
        ([0, 1, 2, 3, 4, 5, 5], "must hold 6 blocks below 6, then -1"),
        ([0, 1, 2, 3, 4, 5, -2], "must hold 6 blocks below 6, then -1"),
    ],
)
def test_wrong_choices(row, problem):
    assert wrong_choice(np.array(row), IMPORTANCE, FORCED, 1e-5) == problem


@pytest.mark.parametrize(
    ("importance", "right", "wrong"),
    [
        ([0.0, 0, 0, 0], [0, 1, 2], [0, 2, 3]),  # nothing visible: the smaller blocks
        ([NAN, NAN, NAN, NAN], [0, 1, 2], [0, 2, 3]),
        ([NAN, 0, 0, NAN], [0, 2, 3], [0, 1, 2]),  # 2 is forced, then NaN before 0
        ([1.0, 2, 0, NAN], [1, 2, 3], [0, 2, 3]),
    ],
)
def test_what_does_not_depend_on_rounding_is_exact(importance, right, wrong):
    importance, forced = np.array(importance), np.arange(4) == 2
    assert not wrong_choice(np.array(right), importance, forced, 1e-5)
    assert wrong_choice(np.array(wrong), importance, forced, 1e-5)
