# SPDX-License-Identifier: Apache-2.0
"""Files of cases for tests/cpp/kernel_runner.cpp: little-endian 64-bit words and raw arrays."""

from dataclasses import dataclass

import numpy as np

SELECT, SELECT_GRAD, PAGED, COMPRESS, COMPRESS_GRAD, PAGED_COMPRESS, COMPRESS_ATTENTION = range(7)
GATED_SUM, GATED_SUM_GRAD, ROTATE, SUM, PRODUCT, CAST = range(7, 13)
DTYPES = ("float16", "bfloat16", "float32")
STAT_LANES = 8
_SELECTED = 0, 0, 0, 0  # key rule, window_size, compress_block_size, compress_stride


@dataclass
class Call:
    """One kernel call; the order of sizes and inputs is the runner's."""

    operator: int
    sizes: tuple
    scale: float
    inputs: tuple  # arrays, None where the argument is absent
    outputs: tuple  # (shape, dtype) each


def select_call(case):
    statistics = (*case.query.shape[:2], STAT_LANES), np.float32
    outputs = (case.attention_out_shape, case.dtype), statistics, statistics
    return Call(SELECT, _select_sizes(case), case.scale, _select_inputs(case), outputs)


def select_grad_call(case):
    """The gradient, given the oracle's forward results in the case's dtype."""
    inputs = (*_select_inputs(case), case.grad, *case.saved, *(case.statistics_grad or (None, None)))
    outputs = tuple((array.shape, case.dtype) for array in (case.query, case.key, case.value))
    return Call(SELECT_GRAD, _select_sizes(case), case.scale, inputs, outputs)


def paged_call(case):
    query, key, value = case.query_rows, case.key_rows, case.value_rows
    max_blocks, page = case.block_table.shape[1], case.page_block_size
    sizes = (
        len(case.q_lens), len(query), query.shape[1], key.shape[1], query.shape[2], value.shape[2],
        len(key) // page, page, max_blocks, case.select_block_size, case.select_block_count,
        _mask_cols(case), DTYPES.index(case.dtype.name), case.sparse_mode, _mask_rows(case),
        *_SELECTED, int(case.cache_layout == "BNSD"), 0, 0, 0, 0,
    )  # fmt: skip
    inputs = (
        query, case.key, case.value, case.topk_rows, _mask(case), case.block_table,
        case.query_start, case.q_lens, np.array(case.actual_seq_kvlen, np.int64),
    )  # fmt: skip
    outputs = (((*query.shape[:2], value.shape[2]), case.dtype),)
    if case.return_softmax_lse:
        outputs += (((*query.shape[:2], STAT_LANES), np.float32),) * 2
    return Call(PAGED, sizes, case.scale, inputs, outputs)


def write_calls(path, calls):
    with open(path, "wb") as file:
        for call in calls:
            _write_words(file, call.operator, len(call.sizes), *call.sizes)
            file.write(np.array(call.scale, "<f8").tobytes())
            _write_words(file, len(call.inputs))
            for array in call.inputs:
                _write_words(file, -1 if array is None else array.nbytes)
                file.write(b"" if array is None else np.ascontiguousarray(array).tobytes())
            _write_words(file, len(call.outputs), *(_nbytes(*output) for output in call.outputs))


def read_outputs(path, calls, runs):
    """For each call and each of its runs, the tuple of outputs."""
    with open(path, "rb") as file:
        results = [[tuple(_read(file, *output) for output in call.outputs) for _ in range(runs)] for call in calls]
        assert not file.read(1), "the runner wrote more than the calls' outputs"
    return results


def _select_sizes(case):
    (t1, n1, d1), (t2, n2, _), d2 = case.query.shape, case.key.shape, case.value.shape[2]
    return (
        len(case.q_ends), t1, t2, n1, n2, d1, d2, case.select_block_size, case.select_block_count,
        _mask_cols(case), DTYPES.index(case.dtype.name), case.sparse_mode, *_SELECTED,
    )  # fmt: skip


def _select_inputs(case):
    return case.query, case.key, case.value, case.topk_indices, _mask(case), case.q_ends, case.kv_ends


def _mask(case):
    return None if case.atten_mask is None else case.atten_mask.astype(np.uint8)


def _mask_cols(case):
    return 0 if case.atten_mask is None else case.atten_mask.shape[-1]


def _mask_rows(case):
    """Of one sequence's own mask; 0 where all share one."""
    return case.atten_mask.shape[1] if np.ndim(case.atten_mask) == 3 else 0


def _write_words(file, *words):
    file.write(np.array(words, "<i8").tobytes())


def _nbytes(shape, dtype):
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def _read(file, shape, dtype):
    size = _nbytes(shape, dtype)
    data = file.read(size)
    assert len(data) == size, "the runner wrote less than the calls' outputs"
    return np.frombuffer(data, dtype).reshape(shape)
