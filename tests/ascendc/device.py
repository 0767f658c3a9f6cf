# SPDX-License-Identifier: Apache-2.0
"""Runs the operators' kernels on the host twin with the tiling that the host code computes."""

import functools

import numpy as np

from ascendc import host, op_host
from ascendc.cann import toolkit
from ms_nsa import registry
from ms_nsa.primitive import first_error
from twin import twin

KERNELS = host.ASCENDC / "op_kernel"
TYPES = {"float16": "half", "bfloat16": "bfloat16_t"}


@functools.cache
def kernel(operator, dtype, typed_by="query"):
    """typed_by: the input whose dtype it is; CANN tells a kernel the dtypes of all inputs."""
    defined = [f"DTYPE_{typed_by.upper()}={TYPES[dtype]}"]
    return twin.compile_kernel(KERNELS / f"{operator}.cpp", defined, [host.ASCENDC / "common", KERNELS])


def launch(entry, dtype, inputs, outputs, plan, typed_by="query", **options):
    """The launch's result, with the operator's last output apart: the record first_error.

    plan: host.Plan, or what op_host made of a call.
    """
    arguments = [
        *inputs,
        *outputs,
        twin.output(first_error.SHAPE, np.int64, "first_error"),
        twin.workspace(plan.workspace_bytes),
        np.frombuffer(bytes(plan.params), np.uint8),
    ]
    launched = kernel(entry, dtype, typed_by).launch(entry, arguments, block_dim=plan.block_dim, **options)
    launched.first_error = launched.outputs.pop().tolist()
    return launched


def run(operator, tensors, attributes, aic_cores=3, debug=False, **options):
    """{output's name: array} and the launch's result: an operator of op_info as op_host registers and tiles it.

    tensors: arrays by name, None or nothing for what is absent. attributes: by name, without those that a Cell adds.
    """
    info, op_type = registry.load(operator), registry.load(operator)["ascend_name"]
    inputs = [(each["name"], tensors.get(each["name"])) for each in registry.inputs(operator, "ascend")]
    values = op_host.values_of(op_type, {**attributes, "debug": int(debug)})
    call = op_host.Call(op_type, {name: None if array is None else array.shape for name, array in inputs}, values)
    plan = call.tile(aic_cores)
    if plan is None:
        raise ValueError(f"{op_type}: the tiling refused, see stderr")
    master = tensors[info["dtype_of"]].dtype
    names = [each["name"] for each in registry.outputs(operator, "ascend")][:-1]
    types = [each["dtype"] for each in registry.outputs(operator, "ascend")]
    types = [master if kind == "T" else np.dtype(kind[0]) for kind in types]
    outputs = [twin.output(*each) for each in zip(call.infer_shapes(), map(_plain, types), names)]
    given = [None if array is None else array.view(_plain(array.dtype)) for _, array in inputs]
    launched = launch(
        toolkit.snake(op_type), master.name, given, outputs, plan, info["dtype_of"], aic_cores=aic_cores, **options
    )
    return {name: out.view(kind) for name, out, kind in zip(names, launched.outputs, types)}, launched


def _plain(dtype):
    """The twin moves bytes: 16-bit floats go in and out as integers, and flags too."""
    return {"float16": np.uint16, "bfloat16": np.uint16, "bool": np.uint8}.get(dtype.name, dtype)


def _launch(entry, case, inputs, outputs, aic_cores, options, schedule="best"):
    options = dict(options)
    shapes = host.shapes_of(case, debug=options.pop("debug", False))
    plan = host.tile(shapes, aic_cores, schedule)
    return launch(entry, case.dtype.name, inputs, outputs, plan, aic_cores=aic_cores, **options)


def _bits(array):
    """The twin moves bytes: 16-bit floats go in and out as integers."""
    return array.view(np.uint16)


def _mask(case):
    return None if case.atten_mask is None else case.atten_mask.view(np.uint8)


def _lengths(lengths):
    return None if lengths is None else np.array(lengths, np.int64)


def run_infer(case, aic_cores=3, **options):
    """attention_out, with return_softmax_lse softmax_max and softmax_sum, and the launch's result."""
    inputs = [
        _bits(case.query),
        _bits(case.key),
        _bits(case.value),
        case.topk_indices,
        _mask(case),
        case.block_table,
        _lengths(case.actual_seq_qlen),
        _lengths(case.actual_seq_kvlen),
    ]
    tokens = case.attention_out_shape[: 1 if case.layout == "TND" else 2]
    outputs = [twin.output(case.attention_out_shape, np.uint16, "attention_out")]
    outputs += [twin.output((*tokens, case.head_num, 8), np.float32, name) for name in ("softmax_max", "softmax_sum")]
    launched = _launch("ms_nsa_selected_attention_infer", case, inputs, outputs, aic_cores, options)
    attention_out, *statistics = launched.outputs
    return attention_out.view(case.dtype), *(statistics if case.return_softmax_lse else ()), launched


def run_select(case, aic_cores=3, schedule="best", **options):
    """attention_out, softmax_max, softmax_sum, and the launch's result."""
    inputs = [
        _bits(case.query),
        _bits(case.key),
        _bits(case.value),
        case.topk_indices,
        _mask(case),
        _lengths(case.actual_seq_qlen),
        _lengths(case.actual_seq_kvlen),
    ]
    statistics = (*case.query.shape[:2], 8)
    outputs = [
        twin.output(case.attention_out_shape, np.uint16, "attention_out"),
        twin.output(statistics, np.float32, "softmax_max"),
        twin.output(statistics, np.float32, "softmax_sum"),
    ]
    launched = _launch("ms_nsa_select_attention", case, inputs, outputs, aic_cores, options, schedule)
    attention_out, *rest = launched.outputs
    return attention_out.view(case.dtype), *rest, launched


def run_select_grad(case, aic_cores=3, saved=None, **options):
    """dq, dk, dv, and the launch's result; saved: attention_out, softmax_max, softmax_sum of the forward."""
    attention_out, softmax_max, softmax_sum = saved or case.saved
    lengths = [_lengths(ends) for ends in (case.actual_seq_qlen, case.actual_seq_kvlen) if ends is not None]
    inputs = [
        *map(_bits, (case.grad, case.query, case.key, case.value, attention_out)),
        softmax_max,
        softmax_sum,
        case.topk_indices,
        _mask(case),
        np.concatenate(lengths) if lengths else None,
        *(case.statistics_grad or (None, None)),
    ]
    shapes = {"dq": case.query.shape, "dk": case.key.shape, "dv": case.value.shape}
    outputs = [twin.output(shape, np.uint16, name) for name, shape in shapes.items()]
    launched = _launch("ms_nsa_select_attention_grad", case, inputs, outputs, aic_cores, options, "grad")
    return *(output.view(case.dtype) for output in launched.outputs), launched
