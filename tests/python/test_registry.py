# SPDX-License-Identifier: Apache-2.0
"""op_info, the primitives, the Cells' signatures and the C++ side name the same things in the same order."""

import inspect
import re

import pytest

import ms_nsa
from ms_nsa import registry
from ms_nsa.primitive import first_error, registration
from support.malformed import CALLS

OPERATORS = ("NsaSelectAttention", "NsaSelectAttentionGrad", "NsaSelectedAttentionInfer")


@pytest.mark.parametrize("operator", OPERATORS)
def test_cells_take_the_inputs_that_are_registered(operator):
    parameters = set(inspect.signature(getattr(ms_nsa, operator).construct).parameters) - {"self"}
    assert parameters == {tensor["name"] for tensor in registry.load(operator)["inputs"]}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("device", ["cpu", "ascend"])
def test_dtype_rows_are_complete(operator, device):
    rows = list(registration.dtype_rows(operator, device))
    assert len(rows) == 2 * len(registry.load(operator)["dtypes"][device])  # two dtypes of atten_mask
    tensors = registry.inputs(operator, device) + registry.outputs(operator, device)
    assert all(len(row) == len(tensors) for row in rows)


def test_lengths_of_the_gradient_are_joined_on_ascend():
    on_cpu, on_ascend = ([t["name"] for t in registry.inputs("NsaSelectAttentionGrad", d)] for d in ("cpu", "ascend"))
    assert on_cpu[-4:] == ["actual_seq_qlen", "actual_seq_kvlen", "softmax_max_grad", "softmax_sum_grad"]
    assert on_ascend == [*on_cpu[:-4], "actual_seq_lens", *on_cpu[-2:]]


@pytest.mark.parametrize("operator", OPERATORS)
def test_attributes_on_ascend_are_numbers(operator):
    """MindSpore loses the strings that it hands to an aclnn operator in some versions."""
    attributes = registry.attributes(operator, "ascend")
    assert all(attribute["type"] in ("int", "float") or "choices" in attribute for attribute in attributes)
    values = {attribute["name"]: index for index, attribute in enumerate(attributes)}
    chosen = [*range(len(attributes))]
    if operator == "NsaSelectedAttentionInfer":
        values.update(layout="TND", cache_layout="BNSD")
        chosen[-4:-2] = 2, 1
    assert registry.ascend_values(operator, values) == tuple(chosen)


@pytest.mark.parametrize("operator", OPERATORS)
def test_debugging_comes_last_and_on_ascend_only(operator):
    for listed in (registry.outputs, registry.attributes):
        everything = registry.with_all_outputs(operator, {}) if listed is registry.outputs else ()
        on_cpu, on_ascend = ([item["name"] for item in listed(operator, device, *([everything] * bool(everything)))]
                             for device in ("cpu", "ascend"))  # fmt: skip
        extra = "first_error" if listed is registry.outputs else "debug"
        assert on_ascend == [*(name for name in on_cpu if name != "limits"), extra]
    record = registry.outputs(operator, "ascend")[-1]
    assert (record["dtype"], record["shape"]) == (["int64"], str([*first_error.SHAPE]))


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_limit_has_a_call_that_breaks_it(operator):
    """A rule about a quantity that C++ does not know would be no rule at all."""
    phrases = {"max": "be at most {}", "in": "be {}", "multiple": "be a multiple of {}"}
    broken = {call.rule for call in CALLS if call.operator == operator}
    for rule in registry.load(operator)["limits"]["ascend"]:
        name, relation, *operands = rule.split()
        sentence = f"{operator}: {name} must {phrases[relation].format(' or '.join(operands))}"
        # An operand that is a quantity itself is followed by its value.
        pattern = rf"{re.escape(sentence)}( \(\d+\))? within the limits asked for"
        assert any(re.fullmatch(pattern, found) for found in broken), rule


def test_the_gradient_has_the_limits_of_the_forward():
    limits = [registry.load(name)["limits"] for name in ("NsaSelectAttention", "NsaSelectAttentionGrad")]
    assert limits[0] == limits[1]
