# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from twin import faults, twin


@pytest.fixture(scope="module")
def vector_add():
    return twin.compile_kernel(faults.KERNELS / "vector_add.cpp")


@pytest.mark.parametrize("length", [1, 15, 640, 5003])
@pytest.mark.parametrize("blocks,seed", [(1, 0), (3, 1), (7, 2)])
def test_vector_add(vector_add, length, blocks, seed):
    rng = np.random.default_rng(length)
    x, y = rng.standard_normal((2, length)).astype(np.float16)
    tiling = np.array([length, 640], np.uint32)
    arguments = [x, y, twin.output(length, np.float16), None, tiling]
    result = vector_add.launch("vector_add", arguments, block_dim=blocks, seed=seed, preempt=3 if seed else 0)
    np.testing.assert_array_equal(result.outputs[0], x + y)
    assert result.timing["bytes"]["GM->UB"] == 2 * result.timing["bytes"]["UB->GM"] == 2 * x.nbytes


@pytest.fixture(scope="module")
def faults_vector():
    return twin.compile_kernel(faults.KERNELS / "faults_vector.cpp")


def test_correct_version_of_the_faulty_kernel(faults_vector):
    x, y = np.random.default_rng(0).standard_normal((2, 1024)).astype(np.float32)
    arguments = [x, y, twin.output(x.size, np.float32), None, np.array([0, x.size], np.uint32)]
    result = faults_vector.launch("faults_vector", arguments, block_dim=2)
    np.testing.assert_allclose(result.outputs[0], np.exp(2 * x + y), rtol=1e-6)
