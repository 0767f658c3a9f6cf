"""Runs the operators' kernels on the host twin with the tiling that the host code computes."""

import functools

import numpy as np

from ascendc import host
from twin import twin

KERNELS = host.ASCENDC / "op_kernel"
TYPES = {"float16": "half", "bfloat16": "bfloat16_t"}


@functools.cache
def kernel(operator, dtype):
    return twin.compile_kernel(
        KERNELS / f"{operator}.cpp", [f"DTYPE_QUERY={TYPES[dtype]}"], [host.ASCENDC / "common", KERNELS]
    )


def _launch(entry, case, inputs, outputs, aic_cores, options, schedule="best"):
    plan = host.tile(host.shapes_of(case), aic_cores, schedule)
    arguments = [
        *inputs,
        *outputs,
        twin.workspace(plan.workspace_bytes),
        np.frombuffer(bytes(plan.params), np.uint8),
    ]
    return kernel(entry, case.dtype.name).launch(
        entry, arguments, block_dim=plan.block_dim, aic_cores=aic_cores, **options
    )


def _bits(array):
    """The twin moves bytes: 16-bit floats go in and out as integers."""
    return array.view(np.uint16)


def _mask(case):
    return None if case.atten_mask is None else case.atten_mask.view(np.uint8)


def _lengths(lengths):
    return None if lengths is None else np.array(lengths, np.int64)


def run_infer(case, aic_cores=3, **options):
    """attention_out and the launch's result."""
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
    outputs = [twin.output(case.attention_out_shape, np.uint16, "attention_out")]
    launched = _launch("ms_nsa_selected_attention_infer", case, inputs, outputs, aic_cores, options)
    return launched.outputs[0].view(case.dtype), launched


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
