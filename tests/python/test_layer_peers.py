# SPDX-License-Identifier: Apache-2.0
"""The layer and its oracle against what two public implementations of it compute.

support/peers has their parameters, inputs and results, under the names of this layer's parameters, and says which
commit they come from. What needs a GPU there ran through stand-ins: the windows of both, fla's pooling and offsets of
chunks, XunhaoLai's table of rotary frequencies. XunhaoLai's position embedding of compressed rows is 0.
"""

import pathlib

import mindspore as ms
import numpy as np
import pytest
from mindspore import Tensor

import ms_nsa
from ms_nsa.layer_reference import Layer

PEERS = pathlib.Path(__file__).resolve().parents[1] / "support" / "peers"
BLOCKS = {"compress_block_size": 16, "select_block_size": 16, "select_block_count": 4}
FLA = {"head_num": 16, "key_value_head_num": 1, "compress_stride": 16, "window_size": 20, "compress": "mean"}
XL = {"head_num": 4, "key_value_head_num": 2, "compress_stride": 8, "window_size": 20 + 1}  # theirs has a row more
FORMS = {
    "flash_linear_attention": {**BLOCKS, **FLA, "compress_rope": "before"},
    "xunhaolai_weighted": {**BLOCKS, **XL, "compress": "weighted"},
    "xunhaolai_linear": {**BLOCKS, **XL, "compress": "linear"},
}


def golden(name):
    """Inputs x and ends, the result, and the parameters."""
    arrays = dict(np.load(PEERS / f"{name}.npz"))
    assert len(str(arrays.pop("commit"))) == 40
    x, ends, output = (arrays.pop(key) for key in ("x", "ends", "output"))
    return x.astype(np.float32), tuple(ends.tolist()), output, arrays


def largest_error(output, expected):
    return np.abs(output - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", FORMS)
def test_the_oracle_is_theirs(name):
    x, ends, expected, parameters = golden(name)
    assert largest_error(Layer(parameters, **FORMS[name])(x, ends), expected) < 3e-6
    off_by_one = {**FORMS[name], "window_size": FORMS[name]["window_size"] - 1}
    assert largest_error(Layer(parameters, **off_by_one)(x, ends), expected) > 1e-2


@pytest.mark.parametrize("name", FORMS)
def test_the_layer_is_theirs(name):
    x, ends, expected, parameters = golden(name)
    layer = ms_nsa.NativeSparseAttention(x.shape[1], key_head_dim=8, gate_bias=False, **FORMS[name])
    assert set(layer.parameters_dict()) == set(parameters)
    for parameter in layer.trainable_params():
        parameter.set_data(Tensor(parameters[parameter.name].astype(np.float32)))
    assert largest_error(layer(Tensor(x, ms.float32), ends).asnumpy(), expected) < 1e-5
