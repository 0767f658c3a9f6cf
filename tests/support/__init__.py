# SPDX-License-Identifier: Apache-2.0
"""What the tests share: cases with the oracle's answers, generators of random cases, comparison, memory."""

from .buffers import guarded, nan_filled, scattered
from .cases import DTYPES, PagedCase, SelectCase
from .compare import BARS, check_forward, check_gradients, compare_tensor
from .generators import (
    ANY,
    ASCEND,
    Profile,
    make_paged_case,
    make_select_case,
    random_paged_case,
    random_select_case,
    short_masks,
)
from .named_cases import NAMED_CASES, PAGED_CASES, SELECT_CASES
from .term_scales import term_scales

__all__ = [
    "ANY",
    "ASCEND",
    "BARS",
    "DTYPES",
    "NAMED_CASES",
    "PAGED_CASES",
    "SELECT_CASES",
    "PagedCase",
    "Profile",
    "SelectCase",
    "check_forward",
    "check_gradients",
    "compare_tensor",
    "guarded",
    "make_paged_case",
    "make_select_case",
    "nan_filled",
    "random_paged_case",
    "random_select_case",
    "scattered",
    "short_masks",
    "term_scales",
]
