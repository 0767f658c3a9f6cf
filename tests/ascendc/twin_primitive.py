# SPDX-License-Identifier: Apache-2.0
"""Takes the place of an Ascend primitive, so that a Cell's call reaches the kernel: on the twin, tiled by op_host."""

import mindspore as ms
import numpy as np

from ascendc import device, op_host
from ascendc.cann import toolkit
from ms_nsa import registry
from ms_nsa.primitive import inference
from support import DTYPES
from support.run_cells import to_array
from twin import twin

AIC_CORES = 3


class TwinPrimitive:
    """Called with the tensors and attribute values of an Ascend primitive; gives the operator's outputs.

    primitive: the one whose place it takes; its inference must say what op_host's says.
    """

    def __init__(self, operator, primitive):
        self.operator, self.primitive = operator, primitive

    def __call__(self, *given):
        infos = registry.inputs(self.operator, "ascend")
        tensors, values = given[: len(infos)], given[len(infos) :]
        outputs = self._outputs(infos, tensors, values)
        call = op_host.Call(self._op_type, _shapes(infos, tensors), values)
        launched = device.launch(
            toolkit.snake(self._op_type),
            inference.dtype_name(tensors[0].dtype),
            [_bits(to_array(tensor)) for tensor in tensors],
            [twin.output(shape, _bits(np.zeros(0, dtype)).dtype) for shape, dtype in outputs],
            call.tile(AIC_CORES),
            registry.load(self.operator)["dtype_of"],
            aic_cores=AIC_CORES,
        )
        arrays = [array.view(dtype) for array, (_, dtype) in zip(launched.outputs, outputs)]
        return *map(ms.Tensor, arrays), ms.Tensor(launched.first_error, ms.int64)

    @property
    def _op_type(self):
        return registry.load(self.operator)["ascend_name"]

    def _outputs(self, infos, tensors, values):
        """Shape and NumPy's dtype of every output but the record."""
        call = op_host.Call(self._op_type, _shapes(infos, tensors), values)
        types = op_host.infer_types(self._op_type, [inference.dtype_name(tensor.dtype) for tensor in tensors])
        known = [{"shape": tensor.shape, "dtype": tensor.dtype} for tensor in tensors]
        told = self.primitive.__infer__(*known, *({"shape": (), "dtype": ms.int64} for _ in values))
        assert list(told["shape"]) == call.infer_shapes()
        assert [inference.dtype_name(dtype) for dtype in told["dtype"]] == types
        return [(shape, np.dtype(DTYPES.get(name, name))) for shape, name in zip(told["shape"][:-1], types)]


def _shapes(infos, tensors):
    return {info["name"]: tensor.shape for info, tensor in zip(infos, tensors)}


def _bits(array):
    """The twin moves bytes: 16-bit floats go in and out as integers, and flags too."""
    kinds = {"float16": np.uint16, "bfloat16": np.uint16, "bool": np.uint8}
    return array.view(kinds.get(array.dtype.name, array.dtype))
