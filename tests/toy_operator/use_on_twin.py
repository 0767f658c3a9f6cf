# SPDX-License-Identifier: Apache-2.0
"""Runs the toy operator's entries on the twin, as op_host registers and tiles them."""

import numpy as np

from ascendc import device, op_host

for operator, given, made in (("ToyScale", "x", "y"), ("ToyScaleGrad", "grad", "dx")):
    registered = op_host.registered()[f"MsNsa{operator}"]
    assert [tensor["name"] for tensor in registered["inputs"] + registered["outputs"]] == [given, made, "first_error"]
    array, attributes = np.arange(42, dtype=np.float16).reshape(3, 2, 7), {"default_scale": 0, "scale_value": 0.5}
    outputs, launched = device.run(operator, {given: array}, attributes)
    assert (outputs[made] == array / 2).all() and not launched.reports, operator
    for wrong in ((2, 7), (3, 1, 4097)):
        try:
            device.run(operator, {given: np.zeros(wrong, np.float16)}, attributes)
        except ValueError:
            pass
        else:
            raise AssertionError(wrong)
