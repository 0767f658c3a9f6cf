# SPDX-License-Identifier: Apache-2.0
"""What a core knows about itself, the forms of tiling, the L2 hint, the mixes of cores, and a launch from C++."""

import numpy as np
import pytest

from twin import faults, twin

TILE, NUMBERS = 128, 64
KERNEL = faults.KERNELS / "api_state.cpp"


def numbers(cores=1):
    return twin.output(cores * NUMBERS, np.int32, "numbers")


@pytest.fixture(scope="module")
def api():
    return twin.compile_kernel(KERNEL, ["VECTORS=2"], halves=["vector"])


def test_vector_core(api):
    x = np.random.default_rng(1).standard_normal(TILE).astype(np.float32)
    arguments = [x, twin.output(2 * TILE, np.float32), numbers()]
    out, got = api.launch("state_vector", arguments, timing=False).outputs
    np.testing.assert_array_equal(out, np.tile(x, 2))
    # HasTensorInQue, GetTensorCountInQue, VacantInQue, HasIdleBuffer of a queue of two buffers.
    queue = [[0, 0, 1, 1], [0, 0, 1, 0], [1, 2, 0, 0], [1, 1, 1, 0], [0, 0, 1, 1]]
    tensors = [TILE, TILE - TILE // 4, 2 * TILE, 1, 32, 24, TILE, TILE // 2]
    events, addresses = [1, 1, 1], [0, 0]
    expected = [*np.ravel(queue), *tensors, *events, *addresses]
    np.testing.assert_array_equal(got[: len(expected)], expected)


@pytest.mark.parametrize("key,task_type,answer", [(7, "AIV_ONLY", 70), (8, "MIX_AIV_1_0", 80)])
def test_tiling(api, key, task_type, answer):
    tiling = np.array([123, -5], np.int32)
    launched = api.launch("state_tiling", [numbers(), tiling], task_type=task_type, tiling_key=key, timing=False)
    np.testing.assert_array_equal(launched.outputs[0][:3], [123, -5, answer])


def test_declared_type_must_fit(api):
    with pytest.raises(twin.TwinError, match="task_type"):
        api.launch("state_tiling", [numbers(), np.zeros(2, np.int32)], task_type="AIV_ONLY", tiling_key=8)


@pytest.mark.parametrize("bypass", [0, 1])
def test_l2_hint(api, bypass):
    x = np.zeros(16384, np.float32)
    timing = api.launch("state_cache", [x, np.array([bypass, 0], np.uint32)]).timing
    assert timing["hbm_bytes"] == x.nbytes * (1 + bypass)
    assert timing["l2_hit_bytes"] == x.nbytes * (1 - bypass)


@pytest.mark.parametrize("vectors", [1, 2])
@pytest.mark.parametrize("blocks,seed", [(1, 0), (3, 4), (5, 9)])
def test_mix(vectors, blocks, seed):
    """AIC:AIV 1:1 and 1:2: indices, ratio, SyncAll over all cores, a flag among the cube cores."""
    kernel = twin.compile_kernel(KERNEL, [f"VECTORS={vectors}"])
    cores = blocks * (1 + vectors)
    x = np.random.default_rng(blocks).standard_normal(TILE).astype(np.float32)
    arguments = [x, twin.output((cores + 2 * blocks, TILE), np.float32), numbers(cores)]
    task_type = f"MIX_AIC_1_{vectors}"
    launched = kernel.launch("state_mix", arguments, blocks, task_type, seed=seed, preempt=3 * (seed > 0))
    out, got = launched.outputs
    np.testing.assert_array_equal(out, np.tile(x, (cores + 2 * blocks, 1)))
    cube = [[i, blocks, 0, 1] for i in range(blocks)]
    vector = [[i, blocks, i % vectors, vectors] for i in range(blocks * vectors)]
    np.testing.assert_array_equal(got.reshape(cores, NUMBERS)[:, :4], cube + vector)
    assert launched.timing["bytes"]["L1->GM"] == 3 * blocks * x.nbytes


def test_launch_from_cpp(tmp_path):
    """The C interface, from a program of its own."""
    kernel = twin.compile_kernel(faults.KERNELS / "vector_add.cpp", halves=["vector"])
    twin.run_program(twin.HERE / "launch_from_cpp.cpp", tmp_path, [kernel.objects["vector"], 1, 15, 5003])
