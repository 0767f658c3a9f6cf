"""The long suite: many random cases, and tensors beyond 2^31 elements."""

import os

import numpy as np
import pytest

import ms_nsa
from ms_nsa import reference
from support import BARS, check_gradients, random_paged_case, random_select_case, run_cells

CASES = 500


@pytest.mark.slow
@pytest.mark.parametrize("operator", ["forward", "gradient", "inference"])
def test_random_cases(dtype, operator, record_property):
    draw = random_paged_case if operator == "inference" else random_select_case
    worst = {}
    for seed in range(CASES):
        case = draw(np.random.default_rng([2026, seed]), dtype, poison=bool(seed % 2))
        if operator == "gradient":
            ratios = check_gradients(case, *run_cells.run_gradients(case))
        else:
            outputs = run_cells.run_forward(case)
            ratios = run_cells.check_forward(case, *outputs)
        worst = {name: max(ratio, worst.get(name, 0)) for name, ratio in ratios.items()}
    record_property("worst RMS ratios", worst)
    print(f"{operator} {np.dtype(dtype).name}: worst RMS ratios of {CASES} cases", worst)
    bars = BARS[np.dtype(dtype).name]
    for name, ratio in worst.items():
        kind = {"attention_out": "out", "dq": "grad", "dk": "grad", "dv": "grad"}.get(name, name)
        assert ratio <= bars[kind].rms


@pytest.mark.slow
def test_tensors_beyond_two_to_the_31_elements():
    """Offsets of rows near the end do not fit in 32 bits."""
    n2, d1, rows = 16, 256, 2**31 // (16 * 256) + 300
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if free < 12 * 2**30:
        pytest.skip(f"needs 12 GiB of free memory, got {free / 2**30:.1f}")
    rng = np.random.default_rng(0)
    key = np.zeros((rows, n2, d1), np.float16)
    key[-200:] = rng.standard_normal((200, n2, d1))
    assert key.size > 2**31
    value = rng.standard_normal((rows, n2, 3)).astype(np.float16)
    query = rng.standard_normal((5, n2, d1)).astype(np.float16)
    last = -(-rows // 64) - 1
    topk = np.broadcast_to(np.int32([0, last - 1, last]), (5, n2, 3)).copy()
    cell = ms_nsa.NsaSelectAttention(n2, None, 64, 3)
    outputs = [run_cells.to_array(out) for out in cell(*map(run_cells.to_tensor, (query, key, value, topk)))]
    tail = (last - 1) * 64
    picked = np.concatenate([key[:64], key[tail:]]), np.concatenate([value[:64], value[tail:]])
    small = np.broadcast_to(np.int32([0, 1, 2]), topk.shape)
    expected = reference.select_attention(query, *picked, small, None, 64)
    np.testing.assert_allclose(outputs[0], expected[0], rtol=4e-3, atol=2e-3)
    np.testing.assert_allclose(outputs[2], expected[2], rtol=1e-3)
