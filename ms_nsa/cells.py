# SPDX-License-Identifier: Apache-2.0
"""The base class of the operators' Cells, and the cache of Cells that the functional forms use."""

import functools
import inspect

from mindspore import Tensor, nn

from ms_nsa import checks, registry
from ms_nsa.primitive import call_arguments, make


class LengthsCell(nn.Cell):
    """A Cell that takes lengths in any form, in both modes."""

    _lengths, _lengths_at = (), ()  # names and positions of the lengths among the arguments
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
        inputs = tuple(_for_graphs(value) if at in self._lengths_at else value for at, value in enumerate(inputs))
        return inputs, {name: _for_graphs(value) if name in self._lengths else value for name, value in named.items()}


class OperatorCell(LengthsCell):
    """A Cell of one operator, which converts the arguments that users give.

    The constructor of a subclass calls ``_make_operator``. Its `construct` passes its own parameters, in their order,
    to ``self._call(...)``. op_info maps each parameter to an input of the operator by name.
    """

    def _make_operator(self, operator, attributes, device, gradient=None, further=()):
        """Makes the operator's primitives; the arguments are those of :func:`make.make_primitives`.

        `further` names the inputs that `construct` passes to ``_call`` after its own parameters.
        """
        self._operator, self._device = operator, device
        self._known, self._dynamic = make.make_primitives(operator, attributes, device, gradient)
        parameters = [*inspect.signature(self.construct).parameters, *further]
        inputs = registry.load(operator)["inputs"]
        self._inputs = tuple(
            (tensor["name"], parameters.index(tensor["name"]), *call_arguments.way_to_give(tensor)) for tensor in inputs
        )
        self._typed_by = parameters.index(registry.load(operator)["dtype_of"])
        self._lengths = tuple(tensor["name"] for tensor in inputs if tensor.get("given_as") == "lengths")
        self._lengths_at = tuple(parameters.index(name) for name in self._lengths)

    def _call(self, *given):
        inputs, like = (), given[self._typed_by]
        for name, place, kind, absent in self._inputs:
            value = given[place]
            if value is None or kind != "tensor":
                value = call_arguments.as_input(self._operator, name, kind, value, absent, like)
            elif not isinstance(value, Tensor):
                checks.fail_tensor(self._operator, name, value)
            inputs += (value,)
        operator = self._known
        if call_arguments.shapes_unknown(inputs):
            operator = self._dynamic
            call_arguments.check_dtypes(self._operator, self._device, call_arguments.dtypes_of(inputs))
        return operator(*inputs)


class MixedInputsCell(OperatorCell):
    """A Cell with inputs in float32 beside inputs of any dtype. Mixed precision casts all inputs of a Cell alike: here
    to float32, because 16 bits would be refused for the former."""

    def add_flags(self, **flags):
        if flags.get("fp16") or flags.get("bf16"):
            flags = {**flags, "fp16": False, "bf16": False, "fp32": True}
        return super().add_flags(**flags)


def _for_graphs(lengths):
    """Lengths in a form that avoids recompiling: Graph mode recompiles for every list and for new values of an array.

    Invalid lengths are returned unchanged; a later check reports them. In PyNative mode the inputs stay unchanged,
    because MindSpore identifies the Cell to differentiate by its inputs.
    """
    if isinstance(lengths, list):
        return tuple(lengths)
    return checks.int64_of_array(lengths) if checks.is_int_array(lengths) else lengths


class CellCache:
    """Returns a Cell for the given arguments, a cached one if possible. Keeps the `capacity` most recently used Cells.

    A Cell that raised is dropped, because MindSpore does not run a graph again after it has failed.
    """

    def __init__(self, make, capacity=256):
        self._make, self._capacity = make, capacity
        self._cells = {}

    def __call__(self, *arguments):
        key = arguments, tuple(map(type, arguments))  # True and 1.0 are not 1 here
        try:
            cell = self._cells.pop(key, None)
        except TypeError:  # unhashable arguments are invalid; the Cell raises the error that names them
            return self._make(*arguments)
        if cell is None:
            cell = self._make(*arguments)
            cell._on_error = functools.partial(self._cells.pop, key, None)
        while len(self._cells) >= self._capacity:
            self._cells.pop(next(iter(self._cells)))
        self._cells[key] = cell
        return cell


def cached(make):
    """A function that looks up the Cell for its arguments in a CellCache.

    Graph mode parses a plain function or object, but it calls what lru_cache wraps. Here lru_cache stores nothing.
    """
    return functools.lru_cache(maxsize=0)(CellCache(make))
