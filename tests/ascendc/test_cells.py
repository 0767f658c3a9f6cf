# SPDX-License-Identifier: Apache-2.0
"""The Cells on Ascend as far as a machine without an NPU goes: what is constructed, inferred, joined and reported."""

import copy
import functools
import importlib
import os
import pickle
import re
import warnings

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn, ops
from mindspore.ops._utils import arg_handler

import ms_nsa
from ascendc import inference, op_host
from ascendc.cann import toolkit
from ascendc.conftest import machine
from ms_nsa import backend, checks, registry
from ms_nsa.primitive import ascend, call_arguments, first_error, make, vendor
from support import DTYPES, make_paged_case, make_select_case
from support.run_cells import MODES, run_mode

CASE_SIZES = {"n2": 2, "group": 4, "d1": 32, "d2": 16, "select_block_size": 16, "select_block_count": 3}


def test_the_package_comes_first_on_the_search_path(npu, package, monkeypatch):
    for _ in range(2):
        assert vendor.activate() is None
        assert os.environ["ASCEND_CUSTOM_OPP_PATH"] == f"{package.vendor}:/some/other/package"
    monkeypatch.delenv("ASCEND_CUSTOM_OPP_PATH")
    vendor.activate()
    assert os.environ["ASCEND_CUSTOM_OPP_PATH"] == str(package.vendor)
    assert vendor.wanted()


WRONG = [
    ({"chip": "ascend310p"}, "the chip must be ascend910_93 or ascend910b, got ascend310p"),
    ({"chip": ""}, "the chip must be ascend910_93 or ascend910b, got none"),
    ({"cann": "/nowhere"}, "ASCEND_HOME_PATH must name CANN's folder (source its set_env.sh), got /nowhere"),
]


@pytest.mark.parametrize(("differs", "sentence"), WRONG)
def test_what_does_not_fit_is_said(package, monkeypatch, differs, sentence):
    machine(monkeypatch, package, **differs)
    assert vendor.activate() == f"ms_nsa: {sentence}"
    with pytest.raises(RuntimeError) as error:
        ms_nsa.NsaSelectAttention(8)
    assert str(error.value) == f"ms_nsa: {sentence}"
    assert os.environ["ASCEND_CUSTOM_OPP_PATH"] == "/some/other/package"


def test_another_release_of_cann_is_refused(package, monkeypatch, tmp_path):
    for version, fits in [("9.1.3", True), ("9.10.0", False), ("8.5.0", False)]:
        path = tmp_path / version / "compiler" / "version.info"
        path.parent.mkdir(parents=True)
        path.write_text(f"Version={version}\nversion_dir=cann\n")
        machine(monkeypatch, package, cann=str(tmp_path / version))
        assert (vendor.problem() is None) == fits
        if not fits:
            assert vendor.problem().startswith("ms_nsa: CANN must be 9.1, which compiled the Ascend kernels")
            assert vendor.problem().endswith(f"got {version}")


def test_without_a_package_the_installation_is_named(package, monkeypatch, tmp_path):
    machine(monkeypatch, package)
    monkeypatch.setattr(vendor, "_FOLDER", tmp_path / "vendors" / "ms_nsa")
    assert not vendor.wanted()
    with pytest.raises(RuntimeError, match=r"^ms_nsa: the installation must hold Ascend kernels: install it from"):
        ms_nsa.NsaSelectedAttentionInfer(8, 2, 64, 16, 128)


def test_the_report_names_the_package(npu, capsys, monkeypatch, package):
    backend.main()
    rows = {line[:15].strip(): line[16:] for line in capsys.readouterr().out.splitlines()}
    assert rows["ascend package"] == f"for ascend910_93 and ascend910b, built with CANN {toolkit.VERSION}"
    assert rows["cann"] == toolkit.VERSION
    assert rows["ascend kernels"] == "fit this machine (ascend910b)"
    machine(monkeypatch, package, chip="ascend310p")
    backend.main()
    assert "the chip must be ascend910_93 or ascend910b, got ascend310p" in capsys.readouterr().out


def test_import_activates_the_package_or_warns(npu, package, monkeypatch):
    monkeypatch.setattr(vendor, "wanted", lambda: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(ms_nsa)
    assert os.environ["ASCEND_CUSTOM_OPP_PATH"].startswith(f"{package.vendor}:")
    machine(monkeypatch, package, chip="ascend310p")
    with pytest.warns(RuntimeWarning, match="the chip must be"):
        importlib.reload(ms_nsa)


CELLS = {
    "NsaSelectAttention": lambda: ms_nsa.NsaSelectAttention(8, 0.3, 64, 16, 3),
    "NsaSelectAttentionGrad": lambda: ms_nsa.NsaSelectAttentionGrad(8, 0.3, 64, 16, 3),
    "NsaSelectedAttentionInfer": lambda: ms_nsa.NsaSelectedAttentionInfer(8, 2, 64, 16, 128, 0.3, "TND", 2),
}
VALUES = {
    "NsaSelectAttention": (8, 64, 16, 3, 0, 0.3, 0),
    "NsaSelectAttentionGrad": (8, 64, 16, 3, 0, 0.3, 0),
    "NsaSelectedAttentionInfer": (8, 2, 64, 16, 128, 2, 0, 0.3, 2, 0, 0, 0),
}
SHAPES = {
    "NsaSelectAttention": [(9, 8, 192), (70, 2, 192), (70, 2, 128), (9, 2, 16), (0,) * 7, (3,), (3,)],
    "NsaSelectAttentionGrad": [
        *[(9, 8, 128), (9, 8, 192), (70, 2, 192), (70, 2, 128), (9, 8, 128), (9, 8, 8), (9, 8, 8), (9, 2, 16)],
        *[(0,) * 7, (6,), (9, 8, 8), (9, 8, 8)],
    ],
    "NsaSelectedAttentionInfer": [
        *[(9, 8, 192), (7, 128, 384), (7, 128, 256), (9, 2, 16), (0,) * 7, (3, 5), (3,), (3,)],
    ],
}
OUTPUTS = {
    "NsaSelectAttention": ((9, 8, 128), (9, 8, 8), (9, 8, 8), (8,)),
    "NsaSelectAttentionGrad": ((9, 8, 192), (70, 2, 192), (70, 2, 128), (8,)),
    "NsaSelectedAttentionInfer": ((9, 8, 128), (9, 8, 8), (9, 8, 8), (8,)),
}


def primitive_of(cell):
    return cell._known._node._primitive


@pytest.mark.parametrize("debug", [None, "0", "1"])
@pytest.mark.parametrize("operator", CELLS)
def test_cells_construct_the_operators_of_the_package(npu, monkeypatch, operator, debug):
    if debug is not None:
        monkeypatch.setenv("MS_NSA_DEBUG", debug)
    cell, op_type = CELLS[operator](), registry.load(operator)["ascend_name"]
    for node in (cell._known._node, cell._dynamic._node):
        assert node._values == (*VALUES[operator][:-1], int(debug or 0))
        attributes = node._primitive.attrs
        assert attributes["reg_op_name"] == op_type and attributes["func_type"] == "aot"
        tensors = [tensor["name"] for tensor in registry.inputs(operator, "ascend")]
        names = [attribute["name"] for attribute in registry.attributes(operator, "ascend")]
        assert attributes["input_names"] == [*tensors, *names]
        assert attributes["multi_output"]
        assert attributes["custom_callback_func"].endswith(f".so:{op_type}")
        numbers = ["int64_t"] * (len(names) - 1)
        numbers.insert(names.index("scale_value"), "double" if op_type in op_host.registered() else "float")
        outputs = ["aclTensor*"] * len(registry.outputs(operator, "ascend"))
        assert attributes["custom_inputs_type"] == ["aclTensor*"] * len(tensors) + numbers + outputs
    assert primitive_of(cell).attrs.get("cpp_infer_shape") is None
    assert cell._dynamic._node._primitive.attrs["cpp_infer_shape"]
    assert cell._dynamic._node._primitive.attrs["cpp_infer_type"]


@pytest.mark.parametrize("operator", CELLS)
def test_inference_in_python(npu, operator):
    """MindSpore shows the attributes to the functions too, as inputs without a shape."""
    info = registry.inputs(operator, "ascend")
    dtypes = [ms.bfloat16 if t["dtype"] == "T" else getattr(ms, t["dtype"][0]) for t in info]
    tensors = [{"shape": shape, "dtype": dtype} for shape, dtype in zip(SHAPES[operator], dtypes)]
    scalars = [{"shape": (), "dtype": ms.int64}] * len(VALUES[operator])
    primitive = primitive_of(CELLS[operator]())
    found = primitive.__infer__(*tensors, *scalars)
    assert found["shape"] == OUTPUTS[operator]
    kinds = [t["dtype"] for t in registry.outputs(operator, "ascend")]
    assert found["dtype"] == tuple(ms.bfloat16 if kind == "T" else getattr(ms, kind[0]) for kind in kinds)
    wrong = [{**tensors[0], "dtype": ms.float32}, *tensors[1:]]
    with pytest.raises(TypeError, match=f"^{operator}: "):
        primitive.__infer__(*wrong, *scalars)
    query = [t["name"] for t in info].index("query")
    wide = [dict(tensor) for tensor in tensors]
    wide[query]["shape"] = (9, 7, 192)
    with pytest.raises(ValueError, match=f"^{operator}: "):
        primitive.__infer__(*wide, *scalars)


@pytest.mark.parametrize("operator", CELLS)
def test_inference_in_the_library(operator):
    """For graphs with dynamic shapes: all extents known, the number of sequences unknown, the rows unknown."""
    attributes = dict(zip([a["name"] for a in registry.attributes(operator, "ascend")], VALUES[operator]))
    paged = {"layout": "TND", "cache_layout": "BSND"} if "layout" in attributes else {}
    attributes.update(paged, limits="", return_softmax_lse=0)
    shapes, outputs = SHAPES[operator], OUTPUTS[operator]
    assert inference.infer_shapes(operator, shapes, attributes) == [*outputs]
    unknown = [tuple(-1 if len(shape) == 1 else extent for extent in shape) for shape in shapes]
    assert inference.infer_shapes(operator, unknown, attributes) == [*outputs]
    *ranks, record = inference.infer_shapes(operator, [(-1,) * len(shape) for shape in shapes], attributes)
    assert [len(shape) for shape in ranks] == [3] * (len(outputs) - 1) and record == first_error.SHAPE
    names = [tensor["name"] for tensor in registry.inputs(operator, "ascend")]
    last = max(place for place, name in enumerate(names) if name.startswith("actual_seq"))
    wrong = [*shapes[:last], (5,), *shapes[last + 1 :]]
    with pytest.raises(ValueError, match=rf"^{operator}: actual_seq_kvlen must"):
        inference.infer_shapes(operator, wrong, attributes)


@pytest.mark.parametrize("operator", CELLS)
def test_type_inference_in_the_library(operator):
    def number(kind):
        return arg_handler.dtype_to_type_id("", "", ms.bfloat16 if kind == "T" else getattr(ms, kind[0]))

    inputs, outputs = ([number(t["dtype"]) for t in listed(operator, "ascend")]
                       for listed in (registry.inputs, registry.outputs))  # fmt: skip
    assert inference.infer_types(operator, inputs) == outputs


def test_limits_on_ascend_are_those_of_the_kernels(npu):
    rules = registry.load("NsaSelectAttention")["limits"]
    for limits, key in (("auto", "ascend_kernels"), ("ascend", "ascend")):
        attributes, device = training_attributes(64, 16, limits)
        assert device == "ascend" and attributes["limits"] == ";".join(rules[key])


class NodeOnCpu(nn.Cell):
    """Takes the place of an Ascend operator's node: the CPU's primitive, and a record behind its outputs."""

    def __init__(self, primitive, record):
        super().__init__(auto_prefix=False)
        self.primitive = primitive
        self.record = ms.Tensor(record, ms.int64)

    @ms.jit
    def construct(self, *tensors):
        outputs = self.primitive(*tensors)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        return (*outputs, self.record)


NOTHING = [0] * 8


def in_ascend_cells(operator, attributes, device, gradient=None, records=()):
    """CPU primitives in the Cells that wrap the Ascend ones: how calls reach them is what a CPU can show."""
    cell = ascend.cell_of(operator)
    record = dict(records).get(operator, NOTHING)
    made = cpu_make(operator, attributes, device)
    return tuple(cell(operator, NodeOnCpu(primitive, record), attributes, gradient) for primitive in made)


cpu_make = make.make_primitives


def training_results(mode, duplicate=None):
    """Forward outputs and gradients of one case, of the Cell or of its duplicate."""
    case = make_select_case(np.random.default_rng(3), DTYPES["float32"], [3, 4], [40, 50], **CASE_SIZES)
    tensors = [ms.Tensor(array) for array in (case.query, case.key, case.value)]
    indices = ms.Tensor(case.topk_indices)
    lengths = [ms.Tensor(np.array(each, np.int64)) for each in (case.actual_seq_qlen, case.actual_seq_kvlen)]
    cell = ms_nsa.NsaSelectAttention(8, None, 16, 3)
    cell = duplicate(cell) if duplicate else cell

    def loss(query, key, value):
        return (cell(query, key, value, indices, None, *lengths)[0] ** 2).sum()

    with run_mode(mode):
        outputs = cell(*tensors, indices, None, *lengths)
        return [tensor.asnumpy() for tensor in (*outputs, *ms.grad(loss, (0, 1, 2))(*tensors))]


@pytest.mark.parametrize("debug", "01")
@pytest.mark.parametrize("mode", MODES)
def test_calls_and_gradients_pass_through_the_cells(monkeypatch, mode, debug):
    expected = training_results(mode)
    monkeypatch.setattr(make, "make_primitives", in_ascend_cells)
    monkeypatch.setenv("MS_NSA_DEBUG", debug)
    found = training_results(mode)
    assert len(found) == len(expected) == 6
    for mine, right in zip(found, expected):
        np.testing.assert_array_equal(mine, right)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda cell: pickle.loads(pickle.dumps(cell))])
def test_copies_of_the_cells(monkeypatch, duplicate):
    expected = training_results("pynative")
    monkeypatch.setattr(make, "make_primitives", in_ascend_cells)
    for mine, right in zip(training_results("pynative", duplicate), expected):
        np.testing.assert_array_equal(mine, right)
    made = ascend.ascend_primitive("NsaSelectAttention", training_attributes()[0], "ascend", True)
    other = duplicate(made)
    assert (other is not made, other.attrs, other.func) == (True, made.attrs, made.func)


def training_attributes(size=16, count=3, limits="auto"):
    sizes = {"head_num": 8, "scale_value": None, "select_block_size": size, "select_block_count": count}
    return checks.operator_attributes("NsaSelectAttention", limits, sparse_mode=0, **sizes)


@pytest.mark.parametrize("operator", ["NsaSelectAttention", "NsaSelectAttentionGrad"])
def test_a_record_is_raised_where_python_runs(monkeypatch, operator):
    """From a forward or a backward pass in PyNative mode; without debugging nobody looks, a graph drops it."""
    expected = training_results("pynative")
    records = {operator: [7, 0, 4, 1, 2, 77, 3, 0]}
    monkeypatch.setattr(make, "make_primitives", functools.partial(in_ascend_cells, records=records))
    for mode, debug in (("pynative", "0"), ("graph", "0"), ("graph", "1")):
        monkeypatch.setenv("MS_NSA_DEBUG", debug)
        for found, right in zip(training_results(mode), expected):
            np.testing.assert_array_equal(found, right)
    sentence = f"{operator}: topk_indices must be below ceil(Sk / select_block_size) = 3, got 77 at token 4, kv head 1"
    with pytest.raises(RuntimeError, match=f"^{re.escape(sentence)}, slot 2"):
        training_results("pynative")


@pytest.mark.parametrize("value", ["", "2", "yes"])
def test_what_the_variable_may_be_is_said(monkeypatch, value):
    monkeypatch.setenv("MS_NSA_DEBUG", value)
    for make_cell in CELLS.values():
        with pytest.raises(RuntimeError) as error:
            make_cell()
        assert str(error.value) == f"ms_nsa: MS_NSA_DEBUG must be 0 or 1, got {value or 'nothing'}"


def test_dynamic_shapes_pass_through_the_cells(monkeypatch):
    sizes = {"page_block_size": 16, **CASE_SIZES}
    case = make_paged_case(np.random.default_rng(4), DTYPES["float32"], "BSND", 2, None, [40, 0, 33], **sizes)
    arrays = case.query, case.key, case.value, case.topk_indices, case.block_table
    lengths = np.array(case.actual_seq_kvlen, np.int64)
    inputs = [*map(ms.Tensor, arrays), None, ms.Tensor(lengths)]

    def result(unknown):
        cell = ms_nsa.NsaSelectedAttentionInfer(8, 2, 16, 3, 16)
        if unknown:
            shapes = [(None, *tensor.shape[1:]) for tensor in inputs if tensor is not None]
            dtypes = [tensor.dtype for tensor in inputs if tensor is not None]
            tensors = [ms.Tensor(shape=shape, dtype=dtype) for shape, dtype in zip(shapes, dtypes)]
            cell.set_inputs(*tensors[:5], None, tensors[5])
        with run_mode("graph"):
            return cell(*inputs).asnumpy()

    expected = result(unknown=False)
    monkeypatch.setattr(make, "make_primitives", in_ascend_cells)
    np.testing.assert_array_equal(result(unknown=True), expected)


class Joined(nn.Cell):
    def construct(self, actual_seq_qlen, actual_seq_kvlen, query, key):
        return ascend.join_lengths(actual_seq_qlen, actual_seq_kvlen, query, key)


NONE = call_arguments.no_lengths().asnumpy()
LENGTHS = [
    ([2, 5], [9, 11], [2, 5, 9, 11]),
    (NONE, NONE, NONE),
    ([5], NONE, [5, 11]),
    (NONE, [11], [5, 11]),
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("qlen", "kvlen", "joined"), LENGTHS)
def test_lengths_are_joined(mode, qlen, kvlen, joined):
    given = [ms.Tensor(np.array(each, np.int64)) for each in (qlen, kvlen)]
    with run_mode(mode):
        found = Joined()(*given, ops.zeros((5, 2)), ops.zeros((11, 2)))
    assert found.dtype == ms.int64
    np.testing.assert_array_equal(found.asnumpy(), joined)


def test_lengths_of_unknown_number_are_joined():
    cell = Joined()
    unknown = ms.Tensor(shape=(None,), dtype=ms.int64)
    rows = ms.Tensor(shape=(None, 2), dtype=ms.float32)
    cell.set_inputs(unknown, unknown, rows, rows)
    for qlen, kvlen in (([2, 5], [9, 11]), ([5], [11])):
        with run_mode("graph"):
            found = cell(ms.Tensor(qlen, ms.int64), ms.Tensor(kvlen, ms.int64), ops.zeros((5, 2)), ops.zeros((11, 2)))
        np.testing.assert_array_equal(found.asnumpy(), [*qlen, *kvlen])
