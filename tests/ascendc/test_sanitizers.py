# SPDX-License-Identifier: Apache-2.0
"""The operators' kernels, and the twin that runs them, compiled by clang++ with address and undefined-behaviour
sanitizers: whole launches in both dtypes and schedules, ragged, with poisoned inputs."""

import pathlib

import pytest

from twin import toolchains

HERE = pathlib.Path(__file__).resolve().parent
HALVES = ("float16", "bfloat16")
SELECTION = [
    *(f"test_infer.py::test_random[{seed}-{dtype}]" for seed, dtype in ((1, "float16"), (2, "bfloat16"))),
    "test_infer.py::test_tails[7]",
    *(f"test_{operator}.py::test_beyond_a_mask_all_is_dropped[401-float16]" for operator in ("infer", "select")),
    "test_infer.py::test_multi_token[TND]",
    *(f"test_select.py::test_{order}_outer[1-float16]" for order in ("token", "block")),
    *(f"test_select.py::test_{order}_outer[5-bfloat16]" for order in ("token", "block")),
    *(f"test_select.py::test_groups[{schedule}-5]" for schedule in ("token", "block")),
    *(f"test_{name}.py::test_random[5-{half}]" for name in ("window", "compress_attention") for half in HALVES),
    *(f"test_{name}_infer.py::test_random[5-{half}]" for name in ("window", "compress_attention") for half in HALVES),
    *(f"test_ranged_grad.py::test_random[2-{half}-{rule}]" for half in HALVES for rule in ("window", "compressed")),
    *(f"test_compress{form}.py::test_random[5-{half}]" for form in ("", "_grad", "_infer") for half in HALVES),
]


@pytest.mark.slow
def test_kernels():
    toolchains.run_tests(*(str(HERE / test) for test in SELECTION), **toolchains.sanitized("clang++"))
