# SPDX-License-Identifier: Apache-2.0
"""Reads op_info: one JSON file per operator, the single source of names, order, dtypes and limits.

`inputs` lists the inputs of the CPU kernels; on Ascend some are joined into one (`joined_on_ascend`). Entries with
`devices` exist only on those devices. An output with `if` exists if the attribute of that name is set; the CPU kernel
then has its own name, with a suffix from `suffixes`. The Ascend operator always has this output and fills it in that
case. An attribute with `choices` is passed to Ascend as the index of its value in `choices`.
"""

import functools
import json
import pathlib

from ms_nsa.op_validation import validate

_PACKAGE = pathlib.Path(__file__).resolve().parent
_FOLDERS = (_PACKAGE / "op_info", _PACKAGE.parent / "op_info")  # installed, source tree


@functools.cache
def load(operator):
    """The op_info of `operator` as a dict, which the caller must not change."""
    for folder in _FOLDERS:
        path = folder / f"{operator}.json"
        if path.is_file():
            return _read(path)
    raise RuntimeError(f"ms_nsa: op_info/{operator}.json must exist, got no such file in {_FOLDERS[0]}")


def has_gradient(operator):
    """Whether op_info has an operator for the gradient of `operator`."""
    return any((folder / f"{operator}Grad.json").is_file() for folder in _FOLDERS)


def _read(path):
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # of JSON or of UTF-8
        rule = f"be JSON as it was installed, got {error}"
        raise RuntimeError(f"ms_nsa: {path} must {rule}; install the package again") from None
    validate(info)
    return info


def inputs(operator, device):
    """The inputs of `operator` on "cpu" or "ascend", in order."""
    info = load(operator)
    joined, listed = info.get("joined_on_ascend"), _on(device, info["inputs"])
    if device == "cpu" or joined is None:
        return listed
    first = joined["joins"][0]
    places = [joined if tensor["name"] == first else tensor for tensor in listed]
    return [tensor for tensor in places if tensor["name"] not in joined["joins"]]


def outputs(operator, device, values=None):
    """The outputs of `operator` on "cpu" or "ascend", in order; without `values` only those always present."""
    listed, ascend = _on(device, load(operator)["outputs"]), device == "ascend"
    return [item for item in listed if ascend or "if" not in item or (values and values[item["if"]])]


def with_all_outputs(operator, values):
    """The attribute values with which the CPU operator has all outputs of the Ascend operator."""
    return {**values, **{item["if"]: 1 for item in load(operator)["outputs"] if "if" in item}}


def kernel_name(operator, values):
    """The name of the kernel for these attributes in the CPU library."""
    suffixes = load(operator).get("suffixes", {})
    return operator + "".join(suffix for name, suffix in suffixes.items() if values[name])


def attributes(operator, device):
    """The attributes of `operator` on "cpu" or "ascend", in order."""
    return _on(device, load(operator)["attributes"])


def _on(device, listed):
    return [item for item in listed if device in item.get("devices", (device,))]


def ascend_values(operator, values):
    """The attribute values in the order and form that the Ascend operator takes, from the values by name."""
    chosen = ((attribute.get("choices"), values[attribute["name"]]) for attribute in attributes(operator, "ascend"))
    return tuple(choices.index(value) if choices else value for choices, value in chosen)
