# SPDX-License-Identifier: Apache-2.0
"""The operators of compression on the twin."""

import numpy as np

from ascendc import device

BYTES_A_CYCLE = 1490 / 1.85  # of all memory: hbm_gbs of tests/twin/src/timing_table.h over the clock


def run_compress(input, weight, size, stride, ends=None, windows=None, **options):
    """output, and the launch's result; windows: rows of row_template."""
    template = None if windows is None else np.zeros(windows, np.uint8)
    tensors = {"input": input, "weight": weight, "actual_seq_len": _lengths(ends), "row_template": template}
    return _run("NsaCompress", tensors, _sizes(size, stride), **options)


def run_compress_infer(
    input, weight, slot_mapping, size, stride, page, table, lens, q_lens=None, cache_layout="BSND", **options
):
    """rows, slots, and the launch's result."""
    tensors = {"input": input, "weight": weight, "slot_mapping": slot_mapping, "block_table": table}
    tensors.update(actual_seq_len=_lengths(lens), actual_seq_qlen=_lengths(q_lens))
    attributes = {**_sizes(size, stride), "page_block_size": page, "cache_layout": cache_layout}
    return _run("NsaCompressInfer", tensors, attributes, **options)


def _run(operator, tensors, attributes, **options):
    contiguous = {name: None if array is None else np.ascontiguousarray(array) for name, array in tensors.items()}
    outputs, launched = device.run(operator, contiguous, attributes, **options)
    return *outputs.values(), launched


def _sizes(size, stride):
    return {"compress_block_size": size, "compress_stride": stride}


def _lengths(lengths):
    return None if lengths is None else np.asarray(lengths, np.int64)


def run_compress_grad(grad, input, weight, size, stride, ends=None, **options):
    """input_grad, weight_grad, and the launch's result."""
    tensors = {"grad": grad, "input": input, "weight": weight, "actual_seq_len": _lengths(ends)}
    return _run("NsaCompressGrad", tensors, _sizes(size, stride), **options)
