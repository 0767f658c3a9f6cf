# SPDX-License-Identifier: Apache-2.0
"""With debugging the window and compressed attention name what they cannot raise, in the words of the CPU's."""

import numpy as np
import pytest

from ascendc import test_compress_attention, test_window
from ascendc.dense import run_compress_attention, run_window
from ms_nsa.primitive import first_error

SIZES = {"n2": 1, "group": 2, "d1": 16, "d2": 16}
LENGTHS = [
    ({"actual_seq_qlen": (-1, 30)}, "actual_seq_qlen must not be negative, got -1 at entry 0"),
    ({"actual_seq_qlen": (31, 30)}, "actual_seq_qlen must not decrease, got 30 at entry 1 after 31"),
    ({"actual_seq_qlen": (10, 29)}, "actual_seq_qlen must end at T1 = 30, got 29"),
    ({"actual_seq_kvlen": (99, 90)}, "actual_seq_kvlen must not decrease, got 90 at entry 1 after 99"),
    ({}, None),
]


@pytest.mark.parametrize(
    "changes,words", [*LENGTHS, ({"actual_seq_kvlen": (9, 99)}, "actual_seq_kvlen must end at T2 = 90, got 99")]
)
def test_window_attention(changes, words):
    arguments = test_window.arguments_of(np.random.default_rng(1), "float16", [10, 20], [40, 50], **SIZES)
    launched = run_window({**arguments, **changes}, aic_cores=1, debug=True)[-1]
    found = first_error.sentence("NsaWindowAttention", launched.first_error)
    assert found == (words and f"NsaWindowAttention: {words}")


MASKS = [
    ({"actual_seq_kvlen": (40, 200)}, "key must have at least 10 rows, got 4"),
    ({"atten_mask": np.zeros((19, 9))}, "atten_mask must cover [max Sq, max windows] = [20, 2], got [19, 9]"),
    ({"topk_mask": np.zeros((20, 1))}, "topk_mask must cover [max Sq, max blocks] = [20, 4], got [20, 1]"),
]


@pytest.mark.parametrize("changes,words", [*LENGTHS, *MASKS])
def test_compressed_attention(changes, words):
    arguments = test_compress_attention.arguments_of(
        np.random.default_rng(1), "float16", [10, 20], [40, 50], block=16, count=3, **SIZES
    )
    launched = run_compress_attention({**arguments, **changes}, aic_cores=1, debug=True)[-1]
    found = first_error.sentence("NsaCompressAttention", launched.first_error)
    assert found == (words and f"NsaCompressAttention: {words}")
