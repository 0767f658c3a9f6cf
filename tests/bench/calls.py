# SPDX-License-Identifier: Apache-2.0
"""What a call costs before its work: our smallest calls against a MindSpore custom operator that does nothing."""

from dataclasses import replace

import mindspore as ms
from mindspore import ops
from mindspore.ops import CustomRegOp, DataType

from bench import inputs, measure, operators, peaks
from bench.cases import DECODE, FORWARD, DecodeCase, TrainingCase

_DATA_TYPES = {
    "BFloat16": DataType.BF16_Default,
    "Float16": DataType.F16_Default,
    "Float32": DataType.F32_Default,
    "Int32": DataType.I32_Default,
    "Int64": DataType.I64_Default,
    "UInt8": DataType.U8_Default,
}
_ROW = 50  # calls of one kind in a row, so that caches and threads are as in a loop of them

SMALL_FORWARD = TrainingCase("small forward", FORWARD, 1, t1=16, t2=256, select_block_count=4)
SMALL_DECODE = DecodeCase(
    "small decode", DECODE, 1, n2=1, batch=1, sequences=1, kv_len=128, select_block_count=1, select_block_size=16
)
LIMITS = {SMALL_FORWARD.name: 30e-6, SMALL_DECODE.name: 15e-6}  # seconds above the bare call


def bare_call(name, tensors, outputs):
    """A function that starts a custom operator with these inputs and outputs, and without any work."""
    registration = CustomRegOp(name)
    for index in range(len(tensors)):
        registration.input(index, f"input{index}")
    for index in range(len(outputs)):
        registration.output(index, f"output{index}")
    registration.dtype_format(*(_DATA_TYPES[str(tensor.dtype)] for tensor in [*tensors, *outputs]))
    shapes, dtypes = [output.shape for output in outputs], [output.dtype for output in outputs]

    def infer_shape(*_):
        return tuple(shapes) if len(shapes) > 1 else shapes[0]

    def infer_dtype(*_):
        return tuple(dtypes) if len(dtypes) > 1 else dtypes[0]

    function = f"{peaks.library_path()}:{name}"
    info = registration.target("CPU").get_op_info()
    operator = ops.Custom(function, infer_shape, infer_dtype, "aot", None, info)
    return lambda: operator(*tensors)


def _absent():
    """The empty mask and lengths that the Cells pass on where an argument is None."""
    return ms.Tensor(shape=(0, 0), dtype=ms.uint8), ms.Tensor(shape=(0,), dtype=ms.int64)


def bare_forward(made, call):
    """The bare call that corresponds to a forward call."""
    mask, lengths = _absent()
    tensors = [operators.tensor(getattr(made, name)) for name in ("query", "key", "value", "topk_indices")]
    return bare_call("BareForward", [*tensors, mask, lengths, lengths], operators.await_result(call()))


def bare_decode(call):
    """The bare call that corresponds to a decode call."""
    mask, lengths = _absent()
    query, key, value, topk, table, kv_len = call.arguments(0)
    return bare_call(
        "BareDecode", [query, key, value, topk, mask, table, lengths, kv_len], [operators.await_result(call())]
    )


def seconds_above(call, bare, repeats):
    """Median of what a call takes above the bare call, and of the bare call, from rows of both in turn."""
    above, bare_seconds = [], []
    for _ in range(max(repeats, 5)):
        ours, nothing = (measure.median([measure.seconds_of(run) for _ in range(_ROW)]) for run in (call, bare))
        above.append(ours - nothing)
        bare_seconds.append(nothing)
    return measure.median(above), measure.median(bare_seconds)


def seconds_after(before, call, repeats):
    """Median of a call after something else that fills the caches, as its own work would."""
    seconds = []
    for _ in range(_ROW * max(repeats, 5)):
        before()
        seconds.append(measure.seconds_of(call))
    return measure.median(seconds)


def small_call(case):
    """A small case's inputs, its call and the bare call with the same tensors."""
    if case.operator == DECODE:
        made = inputs.decode_inputs(case)
        call = operators.make_call(case, made)
        return made, call, bare_decode(call)
    made = inputs.select_inputs(case)
    call = operators.make_call(case, made)
    return made, call, bare_forward(made, call)


SMALL_CASES = (SMALL_FORWARD, replace(SMALL_FORWARD, name="small forward G=4", group=4), SMALL_DECODE)
