# SPDX-License-Identifier: Apache-2.0
"""The primitive of a CPU kernel, and how Python spends the time while it runs."""

import functools

from ms_nsa import native
from ms_nsa.copies import CopyableCustom
from ms_nsa.registry import kernel_name, load

_PATIENCE_MS = 200  # for a call that failed before its kernel started


@functools.lru_cache(maxsize=4096)
def _item_bounds(operator, group, rows):
    """Items, a token and a kv head each, from which on Python's thread joins a call, and on which it is long."""
    library = native.library()
    arguments = operator.encode(), group, rows
    return library.MsNsaSharedItems(*arguments), library.MsNsaLongItems(*arguments)


def cpu_function(operator, attributes):
    return f"{native.library_path()}:{kernel_name(operator, attributes)}"


def _inference_of_calls(infer_shape, infer_dtype):
    """What MindSpore asks a primitive for in every call in PyNative mode, by shapes and dtypes."""

    @functools.lru_cache(maxsize=1024)
    def infer(shapes, dtypes):
        return {"shape": infer_shape(*shapes), "dtype": infer_dtype(*dtypes), "value": None}

    return infer


class CpuKernel(CopyableCustom):
    """A primitive whose calls in PyNative mode know what was inferred before, and do not wait in a busy loop.

    MindSpore's readers of a result do, which takes a processor away from a kernel that could use it. So Python sleeps
    while a long kernel runs, and joins in the work of a shorter one. Very short calls return at once
    (csrc/short_calls.h).
    """

    def __init__(self, operator, attributes, infer_shape, infer_dtype, *args):
        super().__init__(cpu_function(operator, attributes), infer_shape, infer_dtype, *args)
        names = [tensor["name"] for tensor in load(operator)["inputs"]]
        self._key_at, self._indices_at = names.index("key"), names.index("topk_indices")
        self._operator, self._head_num = operator, attributes["head_num"]
        self._block_count = attributes["select_block_count"]
        self._selected_rows = self._block_count * attributes["select_block_size"]
        self._page_rows = attributes.get("page_block_size", 1)
        self._infer, self._last_answer = _inference_of_calls(infer_shape, infer_dtype), (None, None)

    def __infer__(self, *inputs):
        """Of what MindSpore passes, which mixed precision has cast already; the last answer is kept, then the others.

        The types of tensors compare and hash slowly, those of elements are single objects.
        """
        asked = [tensor["shape"] for tensor in inputs], [tensor["dtype"].element_type() for tensor in inputs]
        known, answer = self._last_answer
        if asked != known:
            answer = self._infer(tuple(map(tuple, asked[0])), tuple(asked[1]))
            self._last_answer = asked, answer
        return answer

    def __call__(self, *inputs):
        wait = self._wait(inputs[self._key_at], inputs[self._indices_at])
        if wait is None:
            return super().__call__(*inputs)
        ended = native.library().MsNsaEndedRuns()
        outputs = super().__call__(*inputs)
        wait(ended, _PATIENCE_MS)
        return outputs

    def _wait(self, key, topk_indices):
        """The library's function that waits for such a call's kernel, or None."""
        if topk_indices.ndim < 3 or key.ndim < 3:
            return None  # an error
        group = self._head_num // max(topk_indices.shape[-2], 1)
        rows = min(self._selected_rows, key.shape[0] * self._page_rows)
        shared, long = _item_bounds(self._operator, group, rows)
        items = topk_indices.size // self._block_count
        if items < shared:
            return None
        return native.library().MsNsaJoinRun if items < long else native.library().MsNsaAwaitRun
