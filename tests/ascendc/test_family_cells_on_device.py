# SPDX-License-Identifier: Apache-2.0
"""The Cells of compression and of the family's gradients, called as on a device: their kernels run on the twin."""

import mindspore as ms
import numpy as np
import pytest

import ms_nsa
from ascendc import compress
from ascendc.ranged_grad import forward, run_grad
from ascendc.test_compress_infer import random_case
from ascendc.test_ranged_grad import COMPRESSED, WINDOW, make


def tensors(*arrays):
    return [None if array is None else ms.Tensor(np.asarray(array)) for array in arrays]


def same(found, expected):
    assert [each.asnumpy().tobytes() for each in found] == [each.tobytes() for each in expected]


def test_compression(on_twin):
    on_twin("1")
    rng, ends = np.random.default_rng(1), np.array([90, 150])
    input, weight = (rng.standard_normal(shape).astype(np.float16) for shape in ((150, 2, 16), (32, 2)))
    grad = rng.standard_normal((9, 2, 16)).astype(np.float16)
    expected = compress.run_compress(input, weight, 32, 16, ends)[:1]
    same([ms_nsa.NsaCompress(32, 16)(*tensors(input, weight, ends))], expected)
    expected = compress.run_compress_grad(grad, input, weight, 32, 16, ends)[:2]
    same(ms_nsa.NsaCompressGrad(32, 16)(*tensors(grad, input, weight, ends)), expected)
    cache, weight, slots, size, stride, page, table, lens, q_lens = random_case(5, "float16")
    expected = compress.run_compress_infer(cache, weight, slots, size, stride, page, table, lens, q_lens)[:2]
    cell = ms_nsa.NsaCompressInfer(size, stride, page)
    same(cell(*tensors(cache, weight, slots, table, lens, q_lens)), expected)


@pytest.mark.parametrize("rule", [WINDOW, COMPRESSED], ids=["window", "compressed"])
def test_gradients(on_twin, rule):
    on_twin("1")
    arguments = make(np.random.default_rng(2), "float16", [30, 5], [200, 70], n2=1, group=2, d1=32, d2=16, **rule)
    saved = forward(arguments)
    grad = np.random.default_rng(3).standard_normal(saved[0].shape).astype(np.float16)
    expected = run_grad(arguments, grad, saved=saved)[:3]
    if "window_size" in rule:
        cell, mask = ms_nsa.NsaWindowAttentionGrad(2, rule["window_size"]), []
    else:
        cell, mask = ms_nsa.NsaCompressAttentionGrad(2, None, 32, 16, 3), [None]
    rows = tensors(grad, *(arguments[name] for name in ("query", "key", "value")), *saved)
    ends = tensors(*(np.array(arguments[name]) for name in ("actual_seq_qlen", "actual_seq_kvlen")))
    same(cell(*rows, *mask, *ends), expected)
