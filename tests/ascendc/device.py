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


def run_infer(case, aic_cores=3, **options):
    """attention_out and the launch's result."""
    params, block_dim, workspace = host.tile_infer(host.shapes_of(case), aic_cores)
    bits = np.uint16
    arguments = [
        case.query.view(bits),
        case.key.view(bits),
        case.value.view(bits),
        case.topk_indices,
        None if case.atten_mask is None else case.atten_mask.view(np.uint8),
        case.block_table,
        None if case.actual_seq_qlen is None else np.array(case.actual_seq_qlen, np.int64),
        np.array(case.actual_seq_kvlen, np.int64),
        twin.output(case.attention_out_shape, bits, "attention_out"),
        twin.workspace(workspace),
        np.frombuffer(bytes(params), np.uint8),
    ]
    entry = "ms_nsa_selected_attention_infer"
    launched = kernel(entry, case.dtype.name).launch(
        entry, arguments, block_dim=block_dim, aic_cores=aic_cores, **options
    )
    return launched.outputs[0].view(case.dtype), launched
