# SPDX-License-Identifier: Apache-2.0
"""The twin's own tests with the other compiler and with sanitizers."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

from twin import toolchains

HERE = str(pathlib.Path(__file__).resolve().parent)
BROKEN = """
#include "kernel_operator.h"
extern "C" __global__ __aicore__ void broken(GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_AIV_ONLY);
  GET_TILING_DATA_WITH_STRUCT(int32_t, which, tiling);
  int32_t* numbers = new int32_t[4];
  numbers[which == 1 ? 4 : 0] = which;
  if (which == 2) numbers[0] += 0x7fffffff;
  AscendC::TPipe pipe;
  AscendC::TBuf<AscendC::TPosition::VECCALC> buffer;
  pipe.InitBuffer(buffer, 32);
  buffer.Get<int32_t>().SetValue(0, numbers[0]);
  delete[] numbers;
}
"""
LAUNCH = """
import sys
import numpy as np
from twin import twin
kernel = twin.compile_kernel(sys.argv[1], halves=["vector"])
kernel.launch("broken", [np.array([int(sys.argv[2])], np.int32)])
"""


@pytest.mark.slow
def test_clang():
    toolchains.run_tests(HERE, TWIN_CXX="clang++")


@pytest.mark.slow
def test_sanitizers():
    toolchains.run_tests(HERE, **toolchains.sanitized("g++"))


@pytest.mark.slow
@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize(
    "which,finding",
    [(0, None), (1, "heap-buffer-overflow|with insufficient space"), (2, "signed integer overflow")],
    ids=["correct", "beyond the end", "overflow"],
)
def test_sanitizers_see_a_fault(compiler, which, finding, tmp_path):
    """In a kernel's own C++, which the twin's rules do not cover."""
    source = tmp_path / "broken.cpp"
    source.write_text(BROKEN)
    environment = {**os.environ, **toolchains.sanitized(compiler), "PYTHONPATH": str(pathlib.Path(HERE).parent)}
    command = [sys.executable, "-c", LAUNCH, str(source), str(which)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode == 0) == (finding is None), done.stderr
    assert finding is None or re.search(finding, done.stderr)
