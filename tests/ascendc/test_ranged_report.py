# SPDX-License-Identifier: Apache-2.0
"""With debugging the gradients of the window and of compressed attention name what they cannot raise, in the words of
the CPU's operators."""

import mindspore as ms
import numpy as np
import pytest

import ms_nsa
from ascendc.ranged_grad import forward, run_grad
from ascendc.test_ranged_grad import COMPRESSED, WINDOW, make
from ms_nsa.primitive import first_error

SIZES = {"n2": 1, "group": 2, "d1": 32, "d2": 16}
LENGTHS = [((-1, 65), (300, 370)), ((70, 65), (300, 370)), ((60, 64), (300, 370)), ((60, 65), (300, 299))]


def found_in(arguments, saved, changes):
    grad = np.ones(saved[0].shape, np.float16)
    launched = run_grad({**arguments, **changes}, grad, saved=saved, debug=True)[-1]
    operator = "NsaWindowAttentionGrad" if "window_size" in arguments else "NsaCompressAttentionGrad"
    return first_error.sentence(operator, launched.first_error)


def of_forward(arguments, changes):
    """What the CPU's forward raises, in the gradient's name."""
    arguments = {**arguments, **changes}
    tensors = [ms.Tensor(arguments[name]) for name in ("query", "key", "value")]
    lengths = [ms.Tensor(np.array(arguments[name])) for name in ("actual_seq_qlen", "actual_seq_kvlen")]
    if "window_size" in arguments:
        call = ms_nsa.NsaWindowAttention(2, window_size=arguments["window_size"])
        rest = lengths
    else:
        rule = {name: arguments[name] for name in ("compress_block_size", "compress_stride", "sparse_mode")}
        call = ms_nsa.NsaCompressAttention(2, select_block_size=16, select_block_count=3, **rule)
        mask = arguments["atten_mask"]
        rest = (None, None if mask is None else ms.Tensor(mask), *lengths)
    with pytest.raises(RuntimeError) as raised:
        call(*tensors, *rest)[0].asnumpy()
    return f"{raised.value}\n".replace("Attention:", "AttentionGrad:")


@pytest.mark.parametrize("ends", LENGTHS)
@pytest.mark.parametrize("rule", [WINDOW, COMPRESSED], ids=["window", "compressed"])
def test_lengths(ends, rule):
    arguments = make(np.random.default_rng(1), "float16", [60, 5], [300, 70], **SIZES, **rule)
    changes = dict(zip(("actual_seq_qlen", "actual_seq_kvlen"), ends))
    assert f"{found_in(arguments, forward(arguments), changes)}\n" in of_forward(arguments, changes)


@pytest.mark.parametrize("shape, key_rows", [((59, 17), 25), ((60, 16), 25), ((60, 17), 19)])
def test_windows(shape, key_rows):
    arguments = make(np.random.default_rng(1), "float16", [60, 5], [300, 70], **SIZES, **COMPRESSED)
    changes = {"atten_mask": np.zeros(shape, np.uint8)}
    changes.update({name: np.ones((key_rows, 1, width), np.float16) for name, width in (("key", 32), ("value", 16))})
    assert f"{found_in(arguments, forward(arguments), changes)}\n" in of_forward(arguments, changes)
