# SPDX-License-Identifier: Apache-2.0
"""What the operators' Cells share, and the Cells behind the functional forms."""

import functools

from mindspore import nn

from ms_nsa import checks

_LENGTHS = ("actual_seq_qlen", "actual_seq_kvlen")


class OperatorCell(nn.Cell):
    """A Cell of one operator, which takes lengths as users have them."""

    _lengths_at = 0  # position of actual_seq_qlen; actual_seq_kvlen follows
    _on_error = None  # called when a call in Graph mode raises

    def compile_and_run(self, *inputs, **named):
        """A call in Graph mode."""
        inputs, named = self._with_lengths_for_graphs(inputs, named)
        try:
            return super().compile_and_run(*inputs, **named)
        except Exception:
            if self._on_error is not None:
                self._on_error()
            raise

    def _with_lengths_for_graphs(self, inputs, named):
        first = self._lengths_at
        end = first + len(_LENGTHS)
        inputs = (*inputs[:first], *map(_for_graphs, inputs[first:end]), *inputs[end:])
        return inputs, {name: _for_graphs(value) if name in _LENGTHS else value for name, value in named.items()}


def _for_graphs(lengths):
    """Lengths as Graph mode takes them: it compiles for a list at every call, and for an array's values.

    What is wrong is left for the error that names it. In PyNative mode the inputs stay as they are, because MindSpore
    finds by them the Cell that it differentiates.
    """
    if isinstance(lengths, list):
        return tuple(lengths)
    return checks.int64_of_array(lengths) if checks.is_int_array(lengths) else lengths


class CellCache:
    """Makes a Cell for given arguments, or finds the one made before: at most `capacity`, the latest used.

    A Cell that raised is not used again, because MindSpore runs no graph again that failed once.
    """

    def __init__(self, make, capacity=256):
        self._make, self._capacity = make, capacity
        self._cells = {}

    def __call__(self, *arguments):
        key = arguments, tuple(map(type, arguments))  # True and 1.0 are not 1 here
        cell = self._cells.pop(key, None)
        if cell is None:
            cell = self._make(*arguments)
            cell._on_error = functools.partial(self._cells.pop, key, None)
        while len(self._cells) >= self._capacity:
            self._cells.pop(next(iter(self._cells)))
        self._cells[key] = cell
        return cell


def cached(make):
    """A function that finds the Cell for given arguments in a CellCache.

    Graph mode would parse a plain function or object; what functools.lru_cache wraps, here to keep nothing, it calls.
    """
    return functools.lru_cache(maxsize=0)(CellCache(make))
