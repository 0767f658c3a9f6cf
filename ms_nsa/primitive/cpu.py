# SPDX-License-Identifier: Apache-2.0
"""The primitive of a CPU kernel, and how Python waits while the kernel runs."""

import functools

from ms_nsa import native, op_reader
from ms_nsa.copies import CopyableCustom, copyable
from ms_nsa.primitive.gradients import make_bprop
from ms_nsa.primitive.inference import infer_functions
from ms_nsa.primitive.registration import cpu_registration
from ms_nsa.registry import kernel_name, load

_PATIENCE_MS = 200  # for a call that failed before its kernel started


def cpu_function(operator, attributes):
    return f"{native.library_path()}:{kernel_name(operator, attributes)}"


def _inference_of_calls(infer_shape, infer_dtype):
    """What MindSpore asks a primitive in every PyNative call; depends on shapes and dtypes."""

    @functools.lru_cache(maxsize=1024)
    def infer(shapes, dtypes):
        return {"shape": infer_shape(*shapes), "dtype": infer_dtype(*dtypes), "value": None}

    return infer


class CpuKernel(CopyableCustom):
    """A primitive that caches inference in PyNative mode and does not wait for results in a busy loop.

    MindSpore reads results in a busy loop, which takes a processor away from the kernel. So Python sleeps while a long
    kernel runs, and helps with the work of a shorter one. Very short calls return at once (csrc/short_calls.h).
    """

    def __init__(self, operator, attributes, infer_shape, infer_dtype, *args):
        super().__init__(cpu_function(operator, attributes), infer_shape, infer_dtype, *args)
        self._operator, self._attributes = operator, attributes
        self._work_inputs = op_reader.work_inputs(operator)
        self._waits = functools.lru_cache(maxsize=1024)(self._find_wait)
        self._infer, self._last_answer = _inference_of_calls(infer_shape, infer_dtype), (None, None)

    def __infer__(self, *inputs):
        """Infers from the inputs after casts of mixed precision, as MindSpore passes them. Tries the last answer first.

        Tensor types compare and hash slowly; element types are singletons.
        """
        asked = [tensor["shape"] for tensor in inputs], [tensor["dtype"].element_type() for tensor in inputs]
        known, answer = self._last_answer
        if asked != known:
            answer = self._infer(tuple(map(tuple, asked[0])), tuple(asked[1]))
            self._last_answer = asked, answer
        return answer

    def __call__(self, *inputs):
        wait = self._waits(*[inputs[index].shape for index in self._work_inputs])
        if wait is None:
            return super().__call__(*inputs)
        ended = native.library().MsNsaEndedRuns()
        outputs = super().__call__(*inputs)
        wait(ended, _PATIENCE_MS)
        return outputs

    def _find_wait(self, *known):
        """The library function that waits for the kernel of a call with these input shapes, or None."""
        shapes = [op_reader.ABSENT] * len(load(self._operator)["inputs"])
        for index, shape in zip(self._work_inputs, known):
            shapes[index] = tuple(shape)
        library = native.library()
        work = op_reader.work(self._operator, self._attributes, shapes)
        waiting = library.MsNsaWaiting(self._operator.encode(), work)
        return (None, library.MsNsaJoinRun, library.MsNsaAwaitRun)[waiting]


@copyable
def cpu_primitive(operator, attributes, device, gradient, known):
    registration = cpu_registration(operator, attributes)
    further = "aot", make_bprop(gradient), registration
    if not known:
        return CopyableCustom(cpu_function(operator, attributes), None, None, *further)
    return CpuKernel(operator, attributes, *infer_functions(operator, attributes, device), *further)
