# SPDX-License-Identifier: Apache-2.0
"""What the training layer and its decode twin share: parameters, projections, rotary positions, compression.

On the CPU MindSpore has Cast in bfloat16, but neither Reshape nor Slice nor AddN, and its casts are slow (casts.py). So
projections give and take heads, and operators of the house read what others of them return.
"""

import copy

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from mindspore.common.initializer import Normal, initializer

from ms_nsa import cells, checks, layer_checks, layer_on_ascend
from ms_nsa.casts import make_cast
from ms_nsa.projection import Projection, make_project
from ms_nsa.rotation import make_rotate
from ms_nsa.shared import Shared

NAME = "NativeSparseAttention"
_WEIGHTS = Normal(0.02)
_SIZES = (
    "head_num",
    "key_value_head_num",
    "compress_block_size",
    "compress_stride",
    "select_block_size",
    "select_block_count",
    "init_blocks",
    "local_blocks",
    "window_size",
)


class Rotary(nn.Cell):
    """Rotary positions: elements `i` and ``i + D / 2`` of a head turn by ``position * theta ** (-2 i / D)``."""

    def __init__(self, width, theta):
        super().__init__()
        half = width // 2
        self.frequency = ms.Tensor(theta ** (-np.arange(half) / half), ms.float32)
        self.rotate = make_rotate()

    def construct(self, x, positions):
        return self.turn(x, self.angles(positions))

    def angles(self, positions):
        """Cosines and sines of positions, for any number of turns."""
        angle = positions.astype(ms.float32).reshape(-1, 1, 1) * self.frequency
        return ops.cos(angle), ops.sin(angle)

    def turn(self, x, angles):
        return self.rotate(x, *angles)


class Sigmoid(cells.MixedInputsCell):
    """Of every element by itself. MindSpore's own on the CPU rounds otherwise where another element is NaN: a later
    token would change the bits of earlier ones."""

    def construct(self, x):
        return ops.reciprocal(1 + ops.exp(-x))  # 1 / x takes four times as long

    def bprop(self, x, out, dout):
        return (dout * out * (1 - out),)


def make_sigmoid():
    """That for the device in use."""
    return nn.Sigmoid() if layer_on_ascend.in_use() else Sigmoid()


class Compression(nn.Cell):
    """Parameters of the compression of keys or of values, and how a window becomes a row.

    Args:
        compress (str or Cell): as in the layer.
        sizes (tuple): compress_block_size, key_value_head_num and the width of a row.
        dtype (mindspore.dtype): of the parameters.
    """

    def __init__(self, compress, sizes, dtype):
        super().__init__()
        rows, heads, width = self.sizes = sizes
        self.pools = isinstance(compress, str) and compress != "linear"
        self.has_weight, self.linear = compress in ("weighted", "linear"), compress == "linear"
        if compress == "weighted":
            self.weight = ms.Parameter(ms.Tensor(np.full((rows, heads), 1 / rows), dtype))
        if self.linear:  # the mean, and noise that tells the rows apart
            mean = np.tile(np.eye(width) / rows, (rows, 1))
            noise = initializer(_WEIGHTS, (heads, rows * width, width), ms.float32).init_data().asnumpy()
            self.weight = ms.Parameter(ms.Tensor(mean + noise / rows, dtype))
            self.project = make_project()
        if not isinstance(compress, str):
            self.cell = compress

    def pooling_weight(self, dtype):
        """The weights of the pooling operators; None: the mean."""
        return self.weight.astype(dtype) if self.has_weight else None

    def construct(self, windows, dtype):
        """windows [W, N2, rows, D] to [W, N2, D], where it is no pooling; both in float32."""
        if not self.linear:
            return self.cell(windows).astype(ms.float32)
        rows, heads, width = self.sizes
        weights, parts = self.weight.astype(ms.float32), ()
        for head in range(heads):
            weight = weights[head].transpose(1, 0).astype(dtype)
            part = self.project(windows[:, head].reshape((-1, rows * width)).astype(dtype), weight)
            parts += (part.astype(ms.float32),)
        return ops.stack(parts, 1)


class LayerCell(cells.LengthsCell):
    """Parameters and projections of the layer, under the same names in training and in decoding."""

    def _make(self, layer):
        """Makes all but the operators from the arguments of the layer; returns those that the operators have too."""
        sizes = {name: layer[name] for name in _SIZES}
        _check(sizes, layer)
        self.hidden_size = layer["hidden_size"]
        self.head_num, self.key_value_head_num = sizes["head_num"], sizes["key_value_head_num"]
        self.key_head_dim = layer["key_head_dim"]
        self.value_head_dim = layer["value_head_dim"] or layer["key_head_dim"]
        self.compress_block_size, self.compress_stride = sizes["compress_block_size"], sizes["compress_stride"]
        self.compute_dtype, self.independent_kv = layer["compute_dtype"], layer["independent_kv"]
        self._make_projections(layer)
        self._make_rotary(layer["compress_rope"], layer["rope_theta"])
        self._make_compression(layer["compress"], layer["param_dtype"])
        self.shared_twice = Shared(2)
        self.cast = make_cast()
        return sizes

    def _make_projections(self, layer):
        dtype, bias = layer["param_dtype"], "zeros" if layer["has_bias"] else None
        rows = {"query": (self.head_num, self.key_head_dim)}
        for name in ("", "compress_", "window_") if self.independent_kv else ("",):
            rows[name + "key"] = self.key_value_head_num, self.key_head_dim
            rows[name + "value"] = self.key_value_head_num, self.value_head_dim
        for name, (heads, width) in rows.items():
            projection = Projection(self.hidden_size, heads * width, _WEIGHTS, bias, dtype, heads)
            setattr(self, "to_" + name, projection)
        gate = _gate_bias(layer, self.head_num)
        weights = _WEIGHTS if gate is None else "zeros"
        self.sigmoid = make_sigmoid()
        self.to_gates = Projection(self.hidden_size, self.head_num * 3, weights, gate, dtype)
        self.to_out = Projection(self.head_num * self.value_head_dim, self.hidden_size, _WEIGHTS, bias, dtype)

    def _make_rotary(self, compress_rope, theta):
        self.rotary = theta if callable(theta) or theta is None else Rotary(self.key_head_dim, theta)
        self.compress_rotary = compress_rope if callable(compress_rope) else self.rotary
        self.rotates_before = compress_rope == "before"
        self.rotates_after = compress_rope == "after" or callable(compress_rope)
        self.rotates_query = compress_rope != "none"

    def _make_compression(self, compress, dtype):
        rows = self.compress_block_size, self.key_value_head_num
        of_values = copy.deepcopy(compress)
        self.compress_key = Compression(compress, (*rows, self.key_head_dim), dtype)
        self.compress_value = Compression(of_values, (*rows, self.value_head_dim), dtype)

    def _rows(self, x):
        """x as [T, hidden_size] in the dtype of computation."""
        if x.ndim == 3:
            x = self.cast(x, ms.float32).reshape((-1, self.hidden_size))
        return self._narrow(x)

    def _angles(self, positions):
        """What `_rotate` takes for these positions; the layer's own angles are computed once for all tensors."""
        return self.rotary.angles(positions) if isinstance(self.rotary, Rotary) else positions

    def _rotate(self, x, angles):
        if self.rotary is None:
            return x
        if isinstance(self.rotary, Rotary):
            return self.rotary.turn(x, angles)
        return self._turn(self.rotary, x, angles)

    def _turn(self, rotary, x, positions):
        """Rows turned, in the dtype of computation; those of users are given float32."""
        if isinstance(rotary, Rotary):
            return rotary(x, positions)
        return self._narrow(rotary(self.cast(x, ms.float32), positions))

    def _narrow(self, x):
        return self.cast(x, self.compute_dtype)

    def _gates(self, x):
        """[T, N1, 3]."""
        logits = self.to_gates(self.cast(x, ms.float32))
        return self.sigmoid(logits).reshape((x.shape[0], self.head_num, 3))

    def _output(self, attention_out, like):
        rows = self.to_out(self._narrow(attention_out))
        if like.ndim == 3:
            rows = self.cast(rows, ms.float32).reshape(like.shape)
        return self.cast(rows, like.dtype)


def _gate_bias(layer, head_num):
    """Tensor of the bias of the gates, per head and branch; None: there is none."""
    given = layer["gate_bias_init"]
    if not layer["gate_bias"]:
        if given is not None:
            checks.fail(ValueError, NAME, "gate_bias_init", "be None without gate_bias", given)
        return None
    values = np.asarray(0.0 if given is None else given)
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        checks.fail(TypeError, NAME, "gate_bias_init", "be None or finite floats", given)
    if values.shape not in ((), (3,), (head_num, 3)):
        checks.fail(ValueError, NAME, "gate_bias_init", f"be one float, 3, or [{head_num}, 3]", given)
    return ms.Tensor(np.broadcast_to(values, (head_num, 3)).reshape(-1), layer["param_dtype"])


def _check(sizes, layer):
    layer_checks.check_sizes(NAME, hidden_size=layer["hidden_size"], key_head_dim=layer["key_head_dim"], **sizes)
    if layer["value_head_dim"] is not None:
        checks.size_up_to(2**31 - 1, NAME, "value_head_dim", layer["value_head_dim"])
    if not isinstance(layer["compress"], nn.Cell):
        layer_checks.check_choice(NAME, "compress", layer["compress"], layer_checks.COMPRESS)
    if not callable(layer["compress_rope"]):
        layer_checks.check_choice(NAME, "compress_rope", layer["compress_rope"], layer_checks.ROTARY)
    for argument in ("independent_kv", "gate_bias", "has_bias"):
        layer_checks.check_switch(NAME, argument, layer[argument])
    for argument in ("param_dtype", "compute_dtype"):
        layer_checks.check_dtype(NAME, argument, layer[argument])
    theta = layer["rope_theta"]
    if theta is None or callable(theta):
        return
    if isinstance(theta, bool) or not isinstance(theta, (int, float)):
        checks.fail(TypeError, NAME, "rope_theta", "be a float, a callable or None", theta)
    if not 0 < theta < float("inf"):
        checks.fail(ValueError, NAME, "rope_theta", "be positive and finite", theta)
    if layer["key_head_dim"] % 2:
        checks.fail(ValueError, NAME, "key_head_dim", "be even for rotary positions", layer["key_head_dim"])
