# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from twin import faults, twin


@pytest.fixture(scope="module")
def matmul_scale():
    return twin.compile_kernel(faults.KERNELS / "matmul_scale.cpp")


def run(kernel, m, n, k, blocks, **options):
    rng = np.random.default_rng(m * 1000 + n)
    a = rng.standard_normal((m, k)).astype(np.float16)
    b = rng.standard_normal((k, n)).astype(np.float16)
    tiling = np.zeros(1, np.dtype([("m", "u4"), ("n", "u4"), ("k", "u4"), ("scale", "f4")]))
    tiling[0] = (m, n, k, 0.125)
    arguments = [a, b, twin.output((m, n), np.float16), twin.workspace(blocks * 2 * 64 * 96 * 4), tiling]
    result = kernel.launch("matmul_scale", arguments, block_dim=blocks, **options)
    expected = 0.125 * (a.astype(np.float64) @ b.astype(np.float64))
    np.testing.assert_allclose(result.outputs[0], expected, rtol=2e-3, atol=2e-3)
    return result


@pytest.mark.parametrize("m,n,k", [(1, 1, 1), (17, 33, 15), (65, 97, 81), (200, 111, 163), (130, 300, 40)])
@pytest.mark.parametrize("blocks,seed", [(1, 0), (3, 5)])
def test_matmul_scale(matmul_scale, m, n, k, blocks, seed):
    run(matmul_scale, m, n, k, blocks, seed=seed, preempt=5 if seed else 0)


def test_repeats_bitwise(matmul_scale):
    outputs = [run(matmul_scale, 70, 100, 90, 2, seed=seed).outputs[0] for seed in (1, 2, 3)]
    assert all((o == outputs[0]).all() for o in outputs)


def test_times_do_not_depend_on_schedule(matmul_scale):
    times = {run(matmul_scale, 70, 100, 90, 2, seed=seed).timing["modelled_cycles"] for seed in (0, 7)}
    assert len(times) == 1
