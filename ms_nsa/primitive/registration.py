# SPDX-License-Identifier: Apache-2.0
"""Registers an operator with MindSpore: inputs, outputs, attributes and every combination of dtypes."""

import itertools

from mindspore.ops import CustomRegOp, DataType

from ms_nsa import registry
from ms_nsa.registry import load

_DATA_TYPES = {
    "float16": DataType.F16_Default,
    "bfloat16": DataType.BF16_Default,
    "float32": DataType.F32_Default,
    "int32": DataType.I32_Default,
    "int64": DataType.I64_Default,
    "uint8": DataType.U8_Default,
    "bool": DataType.BOOL_Default,
}


def _registration(operator, name, device, attributes=None):
    registration = CustomRegOp(name)
    for index, tensor in enumerate(registry.inputs(operator, device)):
        optional = device == "ascend" and tensor.get("optional")
        registration.input(index, tensor["name"], "optional" if optional else "required")
    for index, tensor in enumerate(registry.outputs(operator, device, attributes)):
        registration.output(index, tensor["name"], "required")
    return registration


def dtype_rows(operator, device, attributes=None):
    """Every combination of dtypes, a row of DataType for inputs and outputs."""
    tensors = registry.inputs(operator, device) + registry.outputs(operator, device, attributes)
    for dtype in load(operator)["dtypes"][device]:
        choices = [[dtype] if tensor["dtype"] == "T" else tensor["dtype"] for tensor in tensors]
        for row in itertools.product(*choices):
            yield [_DATA_TYPES[name] for name in row]


def cpu_registration(operator, attributes):
    registration = _registration(operator, registry.kernel_name(operator, attributes), "cpu", attributes)
    for attribute in registry.attributes(operator, "cpu"):
        name, kind = attribute["name"], attribute["type"]
        registration.attr(name, "required", kind, value=attributes[name])
    for row in dtype_rows(operator, "cpu", attributes):
        registration.dtype_format(*row)
    return registration.target("CPU").get_op_info()


def ascend_registration(operator):
    """The attributes have no values here, because calls pass them as inputs after the tensors."""
    registration = _registration(operator, load(operator)["ascend_name"], "ascend")
    for attribute in registry.attributes(operator, "ascend"):
        registration.attr(attribute["name"], "required", "int" if "choices" in attribute else attribute["type"])
    for row in dtype_rows(operator, "ascend"):
        registration.dtype_format(*row)
    return registration.target("Ascend").get_op_info()
