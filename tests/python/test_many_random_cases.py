# SPDX-License-Identifier: Apache-2.0
"""The long suite: many random cases."""

import numpy as np
import pytest

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
